"""What the compiler, the editor and the reader need to know of a metric."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction


class Takes(enum.Enum):
    """Whether a metric is asked of a class or a class set: never, always, or as the user likes."""

    NEVER = "none"
    ALWAYS = "one or more"
    MAY = "none or more"


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """A built-in metric's public face.

    Args:
        name: how it is written.
        summary: one sentence, for a reader who has never met it.
        formula: over counts of pixels, as shown to the user.
        lower_is_better: the polarity.
        undefined: which images have no value, decided by the annotation alone; empty for none.
        needs_masks: whether it compares with an annotation.
        source: the paper, or the section of the mathematics, it comes from.
        aliases: other names it is written by.
        classes: whether it is asked of classes.
        arguments: names of the numbers it takes, in order.
        low: smallest value it can have.
        high: largest value it can have.
    """

    name: str
    summary: str
    formula: str
    lower_is_better: bool
    undefined: str
    needs_masks: bool
    source: str
    aliases: tuple[str, ...] = ()
    classes: Takes = Takes.NEVER
    arguments: tuple[str, ...] = ()
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(1)
