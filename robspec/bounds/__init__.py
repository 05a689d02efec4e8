"""Worst-case bounds by metric family (MATH.md section 3)."""
