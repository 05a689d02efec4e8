"""Rules of rounding, one file for operations that round alike; each names its OPERATIONS and answers `charge`."""
