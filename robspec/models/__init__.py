"""Model files: inspection, loading, export; architectures."""
