"""Benchmarks: each checks that answers are equal before it times them."""
