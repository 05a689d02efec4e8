"""Randomised smoothing: noise, counts of decisions under it, and the tests that make certificates of counts."""
