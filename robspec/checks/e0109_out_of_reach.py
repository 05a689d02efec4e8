"""Requirement out of reach.

No image can satisfy the requirement, whatever the model: the metric does not take
such values.

Example::

    metric pixel_accuracy
    require worst_case >= 1.2 for all images

Mend::

    require worst_case >= 0.8 for all images
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.semantics.relation import Relation


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Try the best value the metric has."""
    for block in spec.properties:
        info, ends = spec.info_of(block), spec.range_of(spec.metric_of(block))
        if info is None or ends is None or spec.asks_radius(block) is True:
            continue
        for requirement in spec.requirements(block):
            bound, relation = spec.value(requirement.bound), Relation(requirement.relation)
            if bound is None or requirement.measure.quantity != "worst_case":
                continue
            best = ends[0] if info.lower_is_better else ends[1]
            if relation.upward is not info.lower_is_better and not relation.holds(best, bound):
                message = f"`{info.name}` can never be {relation.value} {shown(bound)}"
                mend = f"its values lie between {shown(ends[0])} and {shown(ends[1])}; its best is {shown(best)}"
                yield error(__name__, requirement.bound.span, message, mend)
