"""The nearest known word to a mistaken one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word most like a mistaken one.

    Args:
        word: the mistaken word.
        known: the words that would have been right.

    Returns:
        The nearest, or None when none is near.
    """
    by_lower = {name.lower(): name for name in sorted(known)}
    found = difflib.get_close_matches(word.lower()[:100], list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Write the mend for a mistaken word: the nearest known one, else another sentence."""
    found = nearest(word, known)
    return f"did you mean `{found}`?" if found else otherwise
