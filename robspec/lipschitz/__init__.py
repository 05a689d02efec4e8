"""A model's Lipschitz constant, proved from its own graph (MATH.md section 5)."""
