"""Runway scenes as an approaching aircraft sees them, with exact annotations: made input, decided by a seed."""

from __future__ import annotations

from robspec.data.runway.scene import Scene, draw

__all__ = ["Scene", "draw"]
