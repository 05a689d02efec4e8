"""Independent restatements in cvxpy: evidence, never a backend."""
