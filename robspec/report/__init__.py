"""What a finished check looks like, one output format per file."""
