"""Pooled metric, required of each image.

A pooled metric has one value for the whole data set, so there is one worst case and one
radius. What is required of it names no images, and no mean, minimum or quantile.

Example::

    metric pooled iou[runway]
    require worst_case >= 0.4 for all images

Mend::

    metric pooled iou[runway]
    require worst_case >= 0.4
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for images and aggregates in the requirements of pooled metrics."""
    for block in spec.properties:
        for requirement in spec.requirements(block) if spec.pooled(block) else ():
            measure, population = requirement.measure, requirement.population
            bound = f"{measure.quantity} {requirement.relation} {write.expression(requirement.bound)}"
            message = "a pooled metric has one value for the whole data set, not one for each image"
            mend = f"write `require {bound}`"
            if population is not None:
                yield error(__name__, population.span, message, mend)
            elif measure.aggregate is not None:
                yield error(__name__, measure.span, message, mend)
