"""The four order relations, kept strict or non-strict, over exact values."""

from __future__ import annotations

import enum
from fractions import Fraction


class Relation(enum.Enum):
    """An order relation of the language; its value is its ASCII spelling."""

    LE = "<="
    LT = "<"
    GE = ">="
    GT = ">"

    @property
    def strict(self) -> bool:
        """Whether equality fails the relation."""
        return self in (Relation.LT, Relation.GT)

    @property
    def upward(self) -> bool:
        """Whether larger left-hand sides satisfy the relation."""
        return self in (Relation.GE, Relation.GT)

    @property
    def flipped(self) -> Relation:
        """The relation after negating both sides."""
        flips = {
            Relation.LE: Relation.GE,
            Relation.LT: Relation.GT,
            Relation.GE: Relation.LE,
            Relation.GT: Relation.LT,
        }
        return flips[self]

    def holds(self, left: Fraction, right: Fraction) -> bool:
        """Decide `left REL right` exactly."""
        if self is Relation.LE:
            return left <= right
        if self is Relation.LT:
            return left < right
        if self is Relation.GE:
            return left >= right
        return left > right
