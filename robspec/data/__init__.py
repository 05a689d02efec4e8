"""Image and mask folders: pairing and streaming."""
