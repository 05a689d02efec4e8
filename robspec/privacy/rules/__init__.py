"""Rules of gradients, one file for operations alike; each names its OPERATIONS and answers `effect`."""
