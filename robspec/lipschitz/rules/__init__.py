"""The bound of each graph node, one node kind per file."""
