"""Segmentation networks that are Lipschitz by design, and their unconstrained twins."""
