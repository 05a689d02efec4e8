"""From per-image intervals to the verdict of a requirement, in exact arithmetic (MATH.md sections 4 and 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from robspec.ir.types import Aggregate, Property, Requirement
from robspec.semantics.norm import directed_text
from robspec.semantics.relation import Relation
from robspec.semantics.statistics import fraction_is_claimed, mean_margin
from robspec.verify.errors import InfiniteMeanError
from robspec.verify.result import ImageResult, RequirementResult, Value, Verdict


def decide(
    prop: Property,
    requirement: Requirement,
    images: Sequence[ImageResult],
    point: int,
    points: int,
    *,
    complete: bool,
) -> RequirementResult:
    """Decide one requirement at one swept point.

    Args:
        prop: the property it belongs to, for messages.
        requirement: what is asked.
        images: every evaluated image, excluded ones included.
        point: index of the swept point.
        points: number of swept points; confidence statements are corrected for it.
        complete: whether the whole data set was evaluated.

    Returns:
        The aggregates and the verdict. Nothing is PROVED without at least one evaluated image.

    Raises:
        InfiniteMeanError: the mean of radii contains infinity.

    Source: MATH.md sections 4 and 7.
    """
    defined = [i for i in images if i.certified[point] is not None]
    if not defined:
        reason = (
            "no image was evaluated: the metric is undefined on every one" if images else "no image was evaluated"
        )
        return RequirementResult(requirement, point, None, None, Verdict.UNKNOWN, reason)
    certified = [_value(i.certified[point]) for i in defined]
    if prop.smoothing is not None:
        return _sampled(prop, requirement, images, defined, certified, point, complete=complete)
    attained = [_value(i.attained[point]) for i in defined]
    if requirement.aggregate is Aggregate.MEAN:
        _refuse_infinity(prop, defined, certified)
    low, high = aggregate(requirement, certified), aggregate(requirement, attained)
    if not complete:
        reason = f"interrupted; these are the {len(images)} images finished"
        return RequirementResult(requirement, point, low, high, Verdict.UNKNOWN, reason)
    if requirement.confidence is not None:
        verdict, reason = _population(requirement, certified, low, points)
        return RequirementResult(requirement, point, low, high, verdict, reason)
    if _met(requirement, low):
        return RequirementResult(requirement, point, low, high, Verdict.PROVED, "the certified bound meets it")
    if not _met(requirement, high):
        alone = requirement.aggregate in (Aggregate.MIN, Aggregate.FRACTION)
        pairs = zip(defined, attained, strict=True)
        names = tuple(i.image for i, v in pairs if not alone or violates(requirement, v))
        found = any(i.attacks and i.attacks[point] for i in defined if i.image in names)
        reason = "stored images within the budget violate it" if found else "the clean images themselves violate it"
        return RequirementResult(requirement, point, low, high, Verdict.REFUTED, reason, names)
    reason = "the requirement lies between the certified bound and what was attained"
    return RequirementResult(requirement, point, low, high, Verdict.UNKNOWN, reason)


def _sampled(
    prop: Property,
    requirement: Requirement,
    images: Sequence[ImageResult],
    defined: Sequence[ImageResult],
    certified: Sequence[Value],
    point: int,
    *,
    complete: bool,
) -> RequirementResult:
    """Decide from samples, which prove and never refute."""
    if requirement.aggregate is Aggregate.MEAN:
        _refuse_infinity(prop, defined, certified)
    low = aggregate(requirement, certified)
    verdict = Verdict.PROVED if complete and _met(requirement, low) else Verdict.UNKNOWN
    if not complete:
        reason = f"interrupted; these are the {len(images)} images finished"
    elif verdict is Verdict.PROVED:
        reason = "what the samples certify meets it"
    else:
        reason = "what the samples certify does not meet it, and samples refute nothing"
    return RequirementResult(requirement, point, low, None, verdict, reason)


def aggregate(requirement: Requirement, values: Sequence[Value]) -> Value:
    """Reduce the values of the evaluated images to the number the requirement speaks of.

    Args:
        requirement: names the aggregate, and for a fraction the relation and bound each image must meet.
        values: at least one; exact rationals or infinity.

    Returns:
        The mean (of one value when pooled), the worst value, the order statistic ceil(level * n), or the satisfied
        fraction; exact.
    """
    if requirement.aggregate in (Aggregate.MEAN, Aggregate.POOLED):
        return sum(values, Fraction(0)) / len(values)
    if requirement.aggregate is Aggregate.MIN:
        return min(values) if requirement.relation.upward else max(values)
    if requirement.aggregate is Aggregate.QUANTILE:
        level = requirement.level if requirement.level is not None else Fraction(1, 2)
        return sorted(values)[max(math.ceil(level * len(values)), 1) - 1]
    return Fraction(sum(not violates(requirement, v) for v in values), len(values))


def _met(requirement: Requirement, value: Value) -> bool:
    if requirement.aggregate is Aggregate.FRACTION:
        return value >= (Fraction(1) if requirement.level is None else requirement.level)
    return _holds(requirement.relation, value, requirement.bound)


def violates(requirement: Requirement, value: Value) -> bool:
    """Tell whether one image's value is not what a requirement on single images asks for."""
    return not _holds(requirement.relation, value, requirement.bound)


def _holds(relation: Relation, value: Value, bound: Fraction) -> bool:
    if isinstance(value, float):
        return relation.upward if value > 0 else not relation.upward
    return relation.holds(value, bound)


def _value(value: Value | None) -> Value:
    if value is None:
        raise ValueError("an undefined value reached an aggregate")
    return value


def _population(
    requirement: Requirement, certified: Sequence[Value], mean: Value, points: int
) -> tuple[Verdict, str]:
    confidence = 1 - (1 - (requirement.confidence or Fraction(0))) / points
    if requirement.aggregate is Aggregate.FRACTION:
        met = sum(not violates(requirement, v) for v in certified)
        level = Fraction(1) if requirement.level is None else requirement.level
        claimed = fraction_is_claimed(met, len(certified), level, confidence)
        reason = f"{met} of {len(certified)} images; exact one-sided binomial test"
    else:
        margin = mean_margin(len(certified), confidence)
        bound = mean - margin if requirement.relation.upward else mean + margin
        claimed = _holds(requirement.relation, bound, requirement.bound)
        shown = directed_text(Fraction(bound), 6, up=not requirement.relation.upward)
        reason = f"confidence bound {shown} on the population mean (Hoeffding, n = {len(certified)})"
    return (Verdict.PROVED if claimed else Verdict.UNKNOWN), reason


def _refuse_infinity(prop: Property, images: Sequence[ImageResult], values: Sequence[Value]) -> None:
    infinite = [i.image for i, v in zip(images, values, strict=True) if v == math.inf]
    if infinite:
        raise InfiniteMeanError(
            f"property {prop.name}",
            f"the mean of radii contains infinity on {len(infinite)} of {len(values)} images (first: {infinite[0]})",
            "require a quantile, a minimum, or `radius >= r for p% of images`",
        )
