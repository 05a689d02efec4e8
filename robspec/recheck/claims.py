"""Fields of a certificate that rounding leaves some room for: they must lie where exact arithmetic says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from robspec.semantics.norm import exact_text

_LARGEST = Fraction(math.nextafter(math.inf, 0.0))
_RATIONAL = re.compile(r"-?[0-9]{1,4000}(/[1-9][0-9]{0,3999})?", re.ASCII)


class Claim(Protocol):
    """A condition on one field."""

    def holds(self, written: object) -> bool:
        """Tell whether what is written is true."""
        ...

    def __str__(self) -> str:
        """What was derived, for the message."""
        ...


def rational(written: object) -> Fraction | float | None:
    """Read an exact value in the one way certificates write it; None for anything else."""
    if written == "inf":
        return math.inf
    if not isinstance(written, str) or not _RATIONAL.fullmatch(written):
        return None
    found = Fraction(written)
    return found if str(found) == written else None


@dataclass(frozen=True, slots=True)
class Between:
    """A certified worst case: never better than the exact one, never worse than that of a budget larger by rounding.

    Args:
        exact: over the relaxed set.
        wide: within the larger budget; the same but where a cost meets the budget to twelve digits.
    """

    exact: Fraction
    wide: Fraction

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        found = rational(written)
        return found is not None and min(self.exact, self.wide) <= found <= max(self.exact, self.wide)

    def __str__(self) -> str:
        one, other = exact_text(self.exact), exact_text(self.wide)
        return one if one == other else f"{one} to {other}"


@dataclass(frozen=True, slots=True)
class Unmoved:
    """A radius where no image changes the logits: infinite, or 0, which the squares of tiny margins round to."""

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        return written in ("inf", "0")

    def __str__(self) -> str:
        return "inf"


@dataclass(frozen=True, slots=True)
class Within:
    """A certified radius: no attack within it suffices, and one just beyond it, by rounding, does.

    Args:
        suffices: whether attacks of a radius suffice, in exact arithmetic.
        beyond: whether they do once the budget is enlarged by what rounding may take away.
        text: what was derived.
    """

    suffices: Callable[[Fraction], bool]
    beyond: Callable[[Fraction], bool]
    text: str

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        found = rational(written)
        if not isinstance(found, Fraction) or found < 0:
            return False
        after = found * (1 + Fraction(1, 2**50)) + Fraction(1, 2**470)
        # No double is beyond the largest, where the search for a radius ends.
        return (found == 0 or not self.suffices(found)) and (found == _LARGEST or self.beyond(after))

    def __str__(self) -> str:
        return self.text
