"""The norms an attack and a Lipschitz constant are measured in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Norm:
    """An l_p norm with an exact exponent.

    Args:
        p: the exponent, at least 1; None is infinity.
    """

    p: Fraction | None

    def __post_init__(self) -> None:
        if self.p is not None and self.p < 1:
            raise ValueError("a norm needs p >= 1")

    @property
    def name(self) -> str:
        """The ASCII spelling of the language: l1, l2, linf, l(1.5)."""
        if self.p is None:
            return "linf"
        if self.p.denominator == 1 and self.p <= 2:
            return f"l{self.p.numerator}"
        return f"l({decimal_text(self.p)})"

    def __str__(self) -> str:
        return self.name


L1 = Norm(Fraction(1))
L2 = Norm(Fraction(2))
LINF = Norm(None)


def decimal_text(value: Fraction) -> str:
    """Write an exact rational the way the language reads it: a finite decimal, else numerator/denominator."""
    denominator = value.denominator
    twos = fives = 0
    while denominator % 2 == 0:
        denominator //= 2
        twos += 1
    while denominator % 5 == 0:
        denominator //= 5
        fives += 1
    if denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * (10**places // value.denominator)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def exact_text(value: Fraction | float) -> str:
    """Write a rational as numerator/denominator however many digits it has: str() ends at 4300 of them."""
    if isinstance(value, float):
        return str(value)
    above, below = (str(Decimal(n)) for n in (value.numerator, value.denominator))
    return above if value.denominator == 1 else f"{above}/{below}"


def directed_text(value: Fraction, places: int, *, up: bool) -> str:
    """Write an exact value with a fixed number of decimals, rounded in a stated direction.

    Args:
        value: exact.
        places: decimals shown.
        up: True to round towards plus infinity, False towards minus infinity.

    Returns:
        A decimal that is never on the wrong side of the value.
    """
    scaled = value * 10**places
    units = math.ceil(scaled) if up else math.floor(scaled)
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def shortest(value: Fraction) -> str:
    """Write a number exactly where it is a short decimal, as the budgets tried are, else rounded down."""
    rounded = directed_text(value, 9, up=False)
    return decimal_text(value) if Fraction(rounded) == value else directed_text(value, 6, up=False)
