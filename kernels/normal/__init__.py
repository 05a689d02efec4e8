"""Normal numbers from random words, exactly."""
