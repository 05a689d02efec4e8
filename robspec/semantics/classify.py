"""What can be proved of a one-class formula: its monotonicity, what it counts, where it is defined, its range.

An attack moves a of the TP to FN and b of the TN to FP. All claims are about phi(TP - a, FP + b, FN + a, TN - b) over
non-negative counts (MATH.md 3.A and 3.C).
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from robspec.semantics.formula import COUNTS, Polynomial, Ratio, factors, lowest, reduced

P = Polynomial.count("TP", "FN")
Q = Polynomial.count("FP", "TN")
_MOVES = {"a": ("TP", "FN"), "b": ("TN", "FP")}
_SEARCHED = 5


class Flip(enum.Enum):
    """One kind of flip: TP that leave the class, or TN that enter it."""

    LEAVE = "leave"
    ENTER = "enter"


class Proof(enum.Enum):
    """How the sign of a derivative was proved."""

    ZERO = "it is 0"
    COEFFICIENTS = "no coefficient has the other sign"
    FACTORS = "each of its factors has one sign, or stands in an even power"


@dataclass(frozen=True, slots=True)
class Slope:
    """The derivative of a formula along one kind of flip.

    Args:
        move: "a" (TP become FN) or "b" (TN become FP).
        numerator: of the derivative; its denominator is the square of the formula's.
        proof: how its sign was proved.
    """

    move: str
    numerator: Polynomial
    proof: Proof


@dataclass(frozen=True, slots=True)
class Classified:
    """A formula whose worst case can be found exactly.

    Args:
        ratio: the formula.
        flips: the kind that changes the value by the same amount each, where no other changes it; None for a value
            that is no such count.
        slopes: the two derivatives with their proofs.
        defined: non-zero exactly on the images it is defined on; None for every image with an annotated pixel.
        worst_when_undefined: an attack can make the denominator 0; that counts as the worst value.
        low: proved lower end of its range, or None.
        high: proved upper end of its range, or None.
    """

    ratio: Ratio
    flips: Flip | None
    slopes: tuple[Slope, Slope]
    defined: Polynomial | None
    worst_when_undefined: bool
    low: Fraction | None
    high: Fraction | None


Counts: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class NotMonotone:
    """A flip that hurts can make the value better, or that it cannot was not proved.

    Args:
        move: "a" or "b".
        numerator: of the derivative along it.
        example: counts before and after one such flip, or None when none was found.
        values: the values there.
    """

    move: str
    numerator: Polynomial
    example: tuple[Counts, Counts] | None
    values: tuple[Fraction, Fraction] | None


@dataclass(frozen=True, slots=True)
class Undefinable:
    """The denominator can vanish on images that the annotation does not tell apart.

    Args:
        counts: counts at which it is 0 or negative; None when none were found and its sign was not proved.
        zero: whether it is 0 there, rather than negative.
    """

    counts: Counts | None
    zero: bool


@dataclass(frozen=True, slots=True)
class Unmoved:
    """No attack changes the value."""


Outcome: TypeAlias = Classified | NotMonotone | Undefinable | Unmoved


def classify(ratio: Ratio, *, lower_is_better: bool) -> Outcome:
    """Prove what can be proved of a formula, so that its worst case is found exactly.

    Args:
        ratio: the formula, in lowest terms, in its own sense.
        lower_is_better: its polarity.

    Returns:
        The proofs; or why there is none.

    Source:
        MATH.md sections 3.A, 3.C and 4.
    """
    steps = {move: _slope(ratio, move) for move in _MOVES}
    if not any(steps.values()):
        return Unmoved()
    negative = next((e for e, c in ratio.denominator.terms if c < 0), None)
    if negative is not None:
        return _negative(ratio)
    proofs = []
    for move, slope in steps.items():
        proof = _sign(slope, positive=lower_is_better)
        if proof is None:
            example = _counterexample(ratio, move, lower_is_better=lower_is_better)
            return NotMonotone(move, slope, *(example or (None, None)))
        proofs.append(Slope(move, slope, proof))
    low, high = bounds(ratio)
    definedness = _definedness(ratio, high if lower_is_better else low)
    if isinstance(definedness, Undefinable):
        return definedness
    defined, worst_when_undefined = definedness
    return Classified(ratio, _counted(ratio, steps), (proofs[0], proofs[1]), defined, worst_when_undefined, low, high)


def moved(polynomial: Polynomial, move: str) -> Polynomial:
    """The derivative of a polynomial along a flip: 0 iff no number of such flips changes it."""
    loses, gains = _MOVES[move]
    return polynomial.derivative(gains) - polynomial.derivative(loses)


def _slope(ratio: Ratio, move: str) -> Polynomial:
    """The numerator of the derivative along a flip, in lowest terms.

    The denominator it has then divides the square of the formula's, which is above 0 for all positive counts if it
    has no negative coefficient; so it has one sign there, and `reduced` makes it the positive one.
    """
    above, below = ratio.numerator, ratio.denominator
    numerator = moved(above, move) * below - above * moved(below, move)
    if numerator and max(above.degree, below.degree) <= 1:
        if not moved(below, move):
            return reduced(moved(above, move), below).numerator
        # A linear denominator that moves is no number; a factor it shared with this would divide what is above it.
        return lowest(numerator, below * below).numerator
    return reduced(numerator, below * below).numerator


def _sign(slope: Polynomial, *, positive: bool) -> Proof | None:
    """A proof that a polynomial is never negative (positive) or never positive, over non-negative counts."""
    if not slope:
        return Proof.ZERO
    wanted = 1 if positive else -1
    if all(c * wanted > 0 for c in slope.coefficients):
        return Proof.COEFFICIENTS
    constant, found = factors(slope)
    sign = 1 if constant > 0 else -1
    for factor, times in found:
        if times % 2 == 0:
            continue
        if not (all(c > 0 for c in factor.coefficients) or all(c < 0 for c in factor.coefficients)):
            return None
        sign *= 1 if factor.coefficients[0] > 0 else -1
    return Proof.FACTORS if sign == wanted else None


def _small() -> Iterator[Counts]:
    """Small counts, the smallest first."""
    every = itertools.product(range(_SEARCHED), repeat=4)
    return iter(sorted(((a, b, c, d) for a, b, c, d in every), key=lambda n: (sum(n), n)))


def after(counts: Counts, move: str) -> Counts | None:
    """The counts after one flip; None where there is nothing left to flip."""
    tp, fp, fn, tn = counts
    if move == "a":
        return (tp - 1, fp, fn + 1, tn) if tp else None
    return (tp, fp + 1, fn, tn - 1) if tn else None


def _counterexample(
    ratio: Ratio, move: str, *, lower_is_better: bool
) -> tuple[tuple[Counts, Counts], tuple[Fraction, Fraction]] | None:
    """Counts where one flip makes the value better."""
    for counts in _small():
        following = after(counts, move)
        if following is None:
            continue
        first, second = ratio.at(*counts), ratio.at(*following)
        if first is not None and second is not None and (second < first if lower_is_better else second > first):
            return (counts, following), (first, second)
    return None


def _negative(ratio: Ratio) -> Undefinable:
    """Counts at which a denominator with a negative coefficient is 0 or negative."""
    for counts in _small():
        value = ratio.denominator.at(*counts)
        if sum(counts) and value <= 0:
            return Undefinable(counts, zero=value == 0)
    return Undefinable(None, zero=False)


def bounds(ratio: Ratio) -> tuple[Fraction | None, Fraction | None]:
    """The range of a quotient whose denominator has no negative coefficient, from its coefficients alone.

    If every term of the numerator has its like in the denominator, the value is a mean of the quotients of their
    coefficients, weighted by the terms.
    """
    above, below = dict(ratio.numerator.terms), dict(ratio.denominator.terms)
    shares = [Fraction(above.get(e, 0), c) for e, c in below.items()]
    more = [c for e, c in above.items() if e not in below]
    low = None if any(c < 0 for c in more) else min(shares)
    high = None if any(c > 0 for c in more) else max(shares)
    return low, high


def _counted(ratio: Ratio, steps: dict[str, Polynomial]) -> Flip | None:
    """The flips of one kind, if each of them lowers the value by the same amount and no other changes it."""
    for move, other, flip in (("a", "b", Flip.LEAVE), ("b", "a", Flip.ENTER)):
        fixed = not moved(ratio.denominator, move) and not moved(moved(ratio.numerator, move), move)
        if not steps[other] and fixed:
            return flip
    return None


def _definedness(ratio: Ratio, worst: Fraction | None) -> tuple[Polynomial | None, bool] | Undefinable:
    """The images a formula is defined on, by the annotation alone.

    A denominator without negative coefficients is 0 exactly where the counts that are 0 kill each of its terms. So it
    is enough to look at the 16 sets of counts that are 0, leaving out those the annotation excludes.
    """
    zeros = [z for z in _sets() if not ratio.denominator.without(z)]
    for needed in ((), (P,), (Q,), (P, Q)):
        if not any(_allowed(z, needed) for z in zeros):
            return _product(needed), False
    if worst is None:
        return _vanishing(zeros, (P, Q))
    gap = ratio.numerator * Polynomial.constant(worst.denominator) - ratio.denominator * Polynomial.constant(
        worst.numerator
    )
    absent: tuple[Polynomial, ...] = tuple(
        p for p, names in ((P, ("TP", "FN")), (Q, ("FP", "TN"))) if not gap.without(names)
    )
    for z in zeros:
        stays = [name for name in z if name in ("TP", "TN")]
        if _allowed(z, absent) and gap.without(stays):
            return _vanishing([z], absent)
    return _product(absent), True


def _sets() -> list[tuple[str, ...]]:
    return [z for size in range(5) for z in itertools.combinations(COUNTS, size)]


def _allowed(zero: tuple[str, ...], needed: tuple[Polynomial, ...]) -> bool:
    """Whether an annotated image that the annotation does not exclude can have exactly these counts at 0."""
    present = Polynomial.count(*COUNTS).without(zero)
    return bool(present) and all(p.without(zero) for p in needed)


def _product(needed: tuple[Polynomial, ...]) -> Polynomial | None:
    if not needed:
        return None
    return needed[0] if len(needed) == 1 else needed[0] * needed[1]


def _vanishing(zeros: list[tuple[str, ...]], needed: tuple[Polynomial, ...]) -> Undefinable:
    zero = next(z for z in zeros if _allowed(z, needed))
    tp, fp, fn, tn = (int(name not in zero) for name in COUNTS)
    return Undefinable((tp, fp, fn, tn), zero=True)
