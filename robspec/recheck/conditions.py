"""Conditions and what they are about: which metrics a property asks for, and what meets an objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from robspec.ir.types import AnyOf, Degraded, Metric, Objective, Property, WorstCaseQuery


def metrics_of(prop: Property) -> Iterator[Metric]:
    """List the metrics a property asks for."""
    if isinstance(prop.query, WorstCaseQuery):
        yield prop.query.metric
    else:
        for objective in prop.query.objectives:
            for leaf in conditions(objective):
                yield leaf.metric


def conditions(objective: Objective) -> Iterator[Degraded]:
    """List the single conditions of an objective."""
    if isinstance(objective, Degraded):
        yield objective
    else:
        for part in objective.parts:
            yield from conditions(part)


def meets(objective: Degraded, clean: Fraction, reached: Fraction) -> bool:
    """Whether a value meets a condition on an image of a clean value."""
    gamma = objective.threshold.at(clean)
    if objective.metric.lower_is_better:
        reached, gamma = -reached, -gamma
    return reached < gamma if objective.strict else reached <= gamma


def met(objective: Objective, clean: Mapping[Metric, Fraction | None]) -> bool | None:
    """Whether the clean image meets an objective.

    Args:
        objective: one condition or several.
        clean: the clean value of every metric in it, None where it is undefined.

    Returns:
        None where a part is undefined and no other decides.
    """
    if isinstance(objective, Degraded):
        value = clean[objective.metric]
        return None if value is None else meets(objective, value, value)
    parts = [met(part, clean) for part in objective.parts]
    decisive = isinstance(objective, AnyOf)
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive
