"""Whether values meet the condition of a radius, or a combination of conditions."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from robspec.ir.types import AllOf, Degraded, Metric, Objective


def meets(objective: Degraded, value: Fraction, gamma: Fraction) -> bool:
    """Tell whether a value meets a single condition.

    Args:
        objective: the condition.
        value: of its metric.
        gamma: its threshold, at the clean value.
    """
    if objective.metric.lower_is_better:
        value, gamma = -value, -gamma
    return value < gamma if objective.strict else value <= gamma


def all_met(
    objective: Objective, clean: Mapping[Metric, Fraction | None], values: Mapping[Metric, Fraction | None]
) -> bool:
    """Tell whether an image meets an objective, for sure: an undefined condition is not met.

    Args:
        objective: one condition or several.
        clean: the value of every metric in it on the clean image.
        values: the same on the image asked about.
    """
    if isinstance(objective, Degraded):
        before, after = clean[objective.metric], values[objective.metric]
        return before is not None and after is not None and meets(objective, after, objective.threshold.at(before))
    parts = [all_met(part, clean, values) for part in objective.parts]
    return all(parts) if isinstance(objective, AllOf) else any(parts)
