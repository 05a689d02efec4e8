"""How many random examples a test runs: its share of the profile's, so that `make test-deep` multiplies them all."""

from __future__ import annotations

from hypothesis import settings

WRITTEN = 40
"""The size of profile that numbers of examples are written for."""
DEFAULT = 16
"""What the default profile runs: what fits in the quarter of an hour that the suite may take."""


def examples(count: int) -> int:
    """Scale a number of examples with the profile.

    Args:
        count: of a profile of 40 examples.

    Returns:
        Two fifths of it, at least 1; 25 times as many under ROBSPEC_HYPOTHESIS=deep.
    """
    return max(count * settings().max_examples // WRITTEN, 1)
