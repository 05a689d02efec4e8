"""Sorting: a permutation of the entries, both ways, whatever the ties."""

from __future__ import annotations

from robspec.privacy.asked import Asked, Effect

OPERATIONS = ("sort", "msort")


def effect(asked: Asked) -> Effect:
    """Bound by 1: sorted entries are the same entries, and gradients go back where they came from."""
    return asked.one(1.0)
