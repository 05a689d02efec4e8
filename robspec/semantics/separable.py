"""Sums of one-class formulas: the form every metric over several classes must have (MATH.md 3.D)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from robspec.semantics.formula import COUNTS, Polynomial, Ratio

ClassSet: TypeAlias = tuple[str, ...]
NO_CLASS: ClassSet = ()


class NotSeparable(ArithmeticError):
    """Two formulas of different classes were multiplied or divided."""


@dataclass(frozen=True, slots=True)
class Separable:
    """A sum of formulas, each over the counts of one class or of one merged set of classes.

    Args:
        parts: class set and formula, sorted; the empty set stands for what no class enters: numbers and N, the number
            of counted pixels, which is TP + FP + FN + TN of any class.
    """

    parts: tuple[tuple[ClassSet, Ratio], ...]

    @property
    def classes(self) -> tuple[ClassSet, ...]:
        """The class sets that enter."""
        return tuple(key for key, _ in self.parts if key)

    @property
    def constant(self) -> Fraction | None:
        """The value, if it is a number."""
        if not self.parts:
            return Fraction(0)
        return self.parts[0][1].at(0, 0, 0, 0) if len(self.parts) == 1 and _is_number(self.parts[0][1]) else None

    def total(self) -> Ratio:
        """The whole sum as one formula.

        Raises:
            NotSeparable: more than one class enters.
        """
        if len(self.classes) > 1:
            raise NotSeparable
        total = Ratio.constant(Fraction(0))
        for _, part in self.parts:
            total = total + part
        return total


def _is_number(ratio: Ratio) -> bool:
    return all(sum(e) == 0 for p in (ratio.numerator, ratio.denominator) for e, _ in p.terms)


def _collect(parts: Mapping[ClassSet, Ratio]) -> Separable:
    numbers = [r for key, r in parts.items() if not key or _is_number(r)]
    found = {key: r for key, r in parts.items() if key and not _is_number(r)}
    total = Ratio.constant(Fraction(0))
    for number in numbers:
        total = total + number
    if total.numerator:
        found[NO_CLASS] = total
    return Separable(tuple(sorted(found.items(), key=lambda item: item[0])))


class Algebra:
    """Exact arithmetic on sums of one-class formulas.

    A class set and its complement have the same counts in other roles, so with two classes all is about one of them.

    Args:
        classes: every class of the model, or None while unknown.
    """

    def __init__(self, classes: tuple[str, ...] | None) -> None:
        self._all = None if classes is None else frozenset(classes)

    @staticmethod
    def number(value: Fraction) -> Separable:
        """A number."""
        return _collect({NO_CLASS: Ratio.constant(value)})

    @staticmethod
    def pixels() -> Separable:
        """N, the number of counted pixels."""
        return _collect({NO_CLASS: Ratio(Polynomial.count(*COUNTS), Polynomial.constant(1))})

    def count(self, name: str, classes: ClassSet) -> Separable:
        """TP, FP, FN or TN of a class set."""
        if self._all is not None and set(classes) >= self._all:
            return self.pixels() if name == "TP" else self.number(Fraction(0))
        return _collect({tuple(sorted(set(classes))): Ratio(Polynomial.count(name), Polynomial.constant(1))})

    def _other(self, key: ClassSet) -> ClassSet | None:
        return None if self._all is None else tuple(sorted(self._all - set(key)))

    def _aligned(self, value: Separable, like: Separable) -> dict[ClassSet, Ratio]:
        """The parts of a value, those of complements of the classes of another one turned into formulas of these."""
        parts = {}
        for key, ratio in value.parts:
            other = self._other(key) if key and key not in like.classes else None
            if other is not None and other in like.classes:
                parts[other] = ratio.complemented()
            else:
                parts[key] = ratio
        return parts

    def add(self, left: Separable, right: Separable) -> Separable:
        """left + right."""
        parts = dict(left.parts)
        for key, ratio in self._aligned(right, left).items():
            parts[key] = parts[key] + ratio if key in parts else ratio
        return _collect(parts)

    @staticmethod
    def negate(value: Separable) -> Separable:
        """The value times -1."""
        return Separable(tuple((key, -ratio) for key, ratio in value.parts))

    def multiply(self, left: Separable, right: Separable) -> Separable:
        """left * right.

        Raises:
            NotSeparable: a class enters on the left and another one on the right.
        """
        for one, other in ((left, right), (right, left)):
            if not one.classes:
                factor = one.total()
                return _collect({key: ratio * factor for key, ratio in other.parts})
        aligned = _collect(self._aligned(right, left))
        if {*left.classes, *aligned.classes} != {left.classes[0]}:
            raise NotSeparable
        return _collect({left.classes[0]: left.total() * aligned.total()})

    def divide(self, left: Separable, right: Separable) -> Separable:
        """left / right.

        Raises:
            NotSeparable: different classes enter, or several below the bar.
            ZeroDivisionError: the right side is 0 whatever the counts.
        """
        if not right.classes:
            factor = right.total()
            return _collect({key: ratio / factor for key, ratio in left.parts})
        below = right.total()
        one = Ratio.constant(Fraction(1))
        return self.multiply(left, _collect({right.classes[0]: one / below}))
