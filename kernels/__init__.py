"""Numbers only: arrays in, arrays out; no spec, no model, no files."""
