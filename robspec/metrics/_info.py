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
    """A metric's public face.

    Args:
        name: how it is written.
        summary: one sentence, for a reader who has never met it.
        formula: of a metric over the counts of classes: in the language itself, over `parameters` and `arguments`;
            of another metric: words.
        lower_is_better: the polarity.
        undefined: which images have no value, decided by the annotation alone; empty for none.
        source: the paper, or the section of the mathematics, it comes from.
        aliases: other names it is written by.
        classes: whether it is asked of classes.
        arguments: names of the numbers it takes, in order.
        parameters: names of the classes it takes, in order; a single one may be given several, merged into one.
        items: of a metric over all classes, what it counts: "correct" or "predicted" pixels, or "ranked", those whose
            class is among the n largest logits; empty otherwise.
        mean_of: the one-class metric that this one averages over the annotated classes, or empty.
        average: weights of that average: "uniform" or "frequency"; empty otherwise.
        needs_masks: whether it compares with an annotation.
        scores: whether it ranks the scores of images, rather than counting decisions; `items` then names the way.
        low: smallest value of a metric that has no formula in the language.
        high: largest value of a metric that has no formula in the language.
    """

    name: str
    summary: str
    formula: str
    lower_is_better: bool
    undefined: str
    source: str
    aliases: tuple[str, ...] = ()
    classes: Takes = Takes.NEVER
    arguments: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    items: str = ""
    mean_of: str = ""
    average: str = ""
    needs_masks: bool = True
    scores: bool = False
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(1)

    @property
    def has_formula(self) -> bool:
        """Whether its formula is written in the language."""
        return not self.items and not self.mean_of


def one_class(
    name: str,
    summary: str,
    formula: str,
    *,
    source: str,
    undefined: str = "images with no pixel annotated as the class",
    lower_is_better: bool = False,
    aliases: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
) -> MetricInfo:
    """A metric of one class k (or of a set that counts as one), given by its formula."""
    return MetricInfo(
        name=name,
        summary=summary,
        formula=formula,
        lower_is_better=lower_is_better,
        undefined=undefined,
        source=source,
        aliases=aliases,
        classes=Takes.ALWAYS,
        arguments=arguments,
        parameters=("k",),
    )


def mean(
    name: str, summary: str, of: str, *, source: str, average: str = "uniform", aliases: tuple[str, ...] = ()
) -> MetricInfo:
    """A metric that averages a one-class metric over the classes found in the annotation of an image."""
    weights = "" if average == "uniform" else ", weighted with the share of pixels annotated as k"
    return MetricInfo(
        name=name,
        summary=summary,
        formula=f"mean of {of}[k] over the annotated classes k{weights}",
        lower_is_better=False,
        undefined="images with no pixel annotated as one of the classes",
        source=source,
        aliases=aliases,
        classes=Takes.MAY,
        mean_of=of,
        average=average,
    )
