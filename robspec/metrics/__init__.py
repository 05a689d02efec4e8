"""The built-in metrics, one file each: formula, polarity, undefined cases, source."""
