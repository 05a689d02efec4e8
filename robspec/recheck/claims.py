"""Fields of a certificate that rounding leaves some room for: they must lie where exact arithmetic says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from robspec.semantics.norm import exact_text

_LARGEST = Fraction(math.nextafter(math.inf, 0.0))
_RATIONAL = re.compile(r"(-?[0-9]+)(?:/([1-9][0-9]*))?", re.ASCII)
DIGITS = 4000
"""Most digits of a numerator or denominator that is read back to compute with."""
MORE_DIGITS = 20_000
"""The same of a value that is only compared: the mean of a thousand classes pooled over many images has so many."""


class Claim(Protocol):
    """A condition on one field."""

    def holds(self, written: object) -> bool:
        """Tell whether what is written is true."""
        ...

    def __str__(self) -> str:
        """What was derived, for the message."""
        ...


def rational(written: object, digits: int = DIGITS) -> Fraction | float | None:
    """Read an exact value in the one way certificates write it; None for anything else.

    Args:
        written: a field.
        digits: most that the numerator and the denominator may have.
    """
    if written == "inf":
        return math.inf
    match = _RATIONAL.fullmatch(written) if isinstance(written, str) else None
    if match is None or any(len((part or "").lstrip("-")) > digits for part in match.groups()):
        return None
    # int() ends at 4300 digits.
    found = Fraction(*(int(Decimal(part or "1")) for part in match.groups()))
    return found if exact_text(found) == written else None


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
        found = rational(written, MORE_DIGITS)
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


@dataclass(frozen=True, slots=True)
class Unreached:
    """A certified radius of a bound that is looked for anew at every budget; it may be smaller than the largest one.

    Args:
        suffices: whether attacks of a radius may suffice, in exact arithmetic.
        text: what must hold.
    """

    suffices: Callable[[Fraction], bool]
    text: str

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        found = rational(written)
        return isinstance(found, Fraction) and found >= 0 and (found == 0 or not self.suffices(found))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Combined:
    """A radius of several conditions, which follows from the radii written for them (MATH.md 3.F).

    Args:
        every: whether all of them must be met, else one.
        parts: a point for each: claims of its own, or another combination.
    """

    every: bool
    parts: tuple[Any, ...]

    def expected(self, written: object) -> dict[str, Any]:
        """What must be written, given the radii written for the parts; those of other parts are no concern here."""
        told = written.get("parts") if isinstance(written, dict) else None
        rows = told if isinstance(told, list) else []
        found = combined([rational(r.get("certified")) if isinstance(r, dict) else None for r in rows], self.every)
        return {"certified": None if found is None else exact_text(found), "parts": list(self.parts)}

    def __str__(self) -> str:
        return "a radius that follows from those of its parts"


def combined(radii: Sequence[Fraction | float | None], every: bool) -> Fraction | float | None:
    """The radius of several conditions.

    Args:
        radii: of each, None where it is undefined.
        every: whether all must be met, which takes what the dearest takes; else what the cheapest does.

    Returns:
        None where one is undefined and no other decides.

    Source: MATH.md section 3.F.
    """
    known = [r for r in radii if r is not None]
    decisive = math.inf if every else 0
    if not known or (len(known) < len(radii) and decisive not in known):
        return None
    return max(known) if every else min(known)
