"""The one function of a model file: constants folded once, the last sigmoid peeled off, sizes told from numbers."""
