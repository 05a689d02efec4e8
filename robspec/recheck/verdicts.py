"""From the certified values of a certificate to its verdicts, in exact arithmetic (MATH.md sections 4 and 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from robspec.ir.types import Aggregate, Property, Requirement, WorstCaseQuery
from robspec.recheck.claims import MORE_DIGITS, rational
from robspec.semantics.norm import exact_text
from robspec.semantics.relation import Relation
from robspec.semantics.statistics import fraction_is_claimed, mean_margin


def requirements(prop: Property, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Decide every requirement of a property at every swept point.

    Args:
        prop: the property.
        images: what the certificate says of each image.

    Returns:
        For each: its text, the point, the aggregate of the certified values and the verdict.

    Raises:
        ValueError: a value cannot be read.
    """
    query = prop.query
    points = len(query.budgets if isinstance(query, WorstCaseQuery) else query.objectives)
    return [_decided(prop, r, images, p, points) for r in prop.requirements for p in range(points)]


def overall(decided: Sequence[dict[str, Any]]) -> str:
    """The verdict of a property: REFUTED if any requirement is, PROVED if every one is, else UNKNOWN."""
    verdicts = {d["verdict"] for d in decided}
    if "REFUTED" in verdicts:
        return "REFUTED"
    return "PROVED" if verdicts == {"PROVED"} else "UNKNOWN"


def _decided(
    prop: Property, requirement: Requirement, images: Sequence[dict[str, Any]], point: int, points: int
) -> dict[str, Any]:
    certified: list[Fraction | float] = []
    attained: list[Fraction | float] = []
    for image in images:
        written = image["points"][point]["certified"]
        if written is None:
            continue
        found = rational(written, MORE_DIGITS)
        if found is None:
            raise ValueError("a certified value is no exact rational")
        certified.append(found)
        attained.append(_attained(prop, image, point))
    low = high = None
    verdict = "UNKNOWN"
    if certified:
        low, high = _aggregate(requirement, certified), _aggregate(requirement, attained)
        if requirement.confidence is not None:
            verdict = "PROVED" if _population(requirement, certified, low, points) else "UNKNOWN"
        elif _met(requirement, low):
            verdict = "PROVED"
        elif not _met(requirement, high):
            verdict = "REFUTED"
    shown = None if low is None else exact_text(low)
    return {"requirement": requirement.text, "point": point, "certified": shown, "verdict": verdict}


def _attained(prop: Property, image: dict[str, Any], point: int) -> Fraction | float:
    """What the clean image attains; over the reals, at most."""
    if not isinstance(prop.query, WorstCaseQuery):
        return Fraction(0) if image["met"][point] else math.inf
    found = rational(image.get("best", image["clean"]), MORE_DIGITS)
    if found is None:
        raise ValueError("a clean value is no exact rational")
    return found


def _aggregate(requirement: Requirement, values: Sequence[Fraction | float]) -> Fraction | float:
    kind = requirement.aggregate
    if kind in (Aggregate.MEAN, Aggregate.POOLED):
        return math.inf if math.inf in values else sum(values, Fraction(0)) / len(values)
    if kind is Aggregate.MIN:
        return min(values) if requirement.relation.upward else max(values)
    if kind is Aggregate.QUANTILE:
        level = Fraction(1, 2) if requirement.level is None else requirement.level
        return sorted(values)[max(math.ceil(level * len(values)), 1) - 1]
    return Fraction(sum(_holds(requirement.relation, v, requirement.bound) for v in values), len(values))


def _met(requirement: Requirement, value: Fraction | float) -> bool:
    if requirement.aggregate is Aggregate.FRACTION:
        return value >= (1 if requirement.level is None else requirement.level)
    return _holds(requirement.relation, value, requirement.bound)


def _holds(relation: Relation, value: Fraction | float, bound: Fraction) -> bool:
    if relation.upward:
        return value > bound if relation.strict else value >= bound
    return value < bound if relation.strict else value <= bound


def _population(
    requirement: Requirement, certified: Sequence[Fraction | float], mean: Fraction | float, points: int
) -> bool:
    confidence = 1 - (1 - (requirement.confidence or Fraction(0))) / points
    if requirement.aggregate is Aggregate.FRACTION:
        met = sum(_holds(requirement.relation, v, requirement.bound) for v in certified)
        level = Fraction(1) if requirement.level is None else requirement.level
        return fraction_is_claimed(met, len(certified), level, confidence)
    margin = mean_margin(len(certified), confidence)
    bound = mean - margin if requirement.relation.upward else mean + margin
    return _holds(requirement.relation, bound, requirement.bound)
