"""How many random examples a test runs: its share of the profile's, so that `make test-deep` multiplies them all."""

from __future__ import annotations

from hypothesis import settings

DEFAULT = 40
"""What the default profile runs."""


def examples(count: int) -> int:
    """Scale a number of examples with the profile.

    Args:
        count: what the default profile runs.

    Returns:
        The same, 25 times as many under ROBSPEC_HYPOTHESIS=deep.
    """
    return count * settings().max_examples // DEFAULT
