"""Requirement that does not say for which images, or says so twice.

`worst_case` and `radius` are one value for each image. A requirement either says of
which images it holds (`for all images`, `for 95% of images`) or makes one number of
them first (`mean(...)`, `min(...)`, `quantile(0.05, ...)`); not both. Where lower
is better, `min` would look at the best image: use `for all images`.

Example::

    require worst_case >= 0.4
    require mean(worst_case) >= 0.75 for all images

Mend::

    require worst_case >= 0.4 for all images
    require mean(worst_case) >= 0.75
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """See that exactly one of aggregate and population is there."""
    for block in spec.properties:
        info = spec.info_of(block)
        if spec.pooled(block):
            continue
        for requirement in spec.requirements(block):
            measure, population = requirement.measure, requirement.population
            text = write.measure(measure)
            if measure.aggregate is None and population is None:
                message = f"`{text}` is one value for each image; this does not say of which images it is required"
                mend = f"add `for all images` or `for 95% of images`, or write `mean({text})`"
                yield error(__name__, requirement.span, message, mend)
            elif measure.aggregate is not None and population is not None:
                message = f"`{text}` is one number for the whole data set, so `for ... images` has no meaning"
                yield error(__name__, population.span, message, "leave out one of the two")
            elif (
                measure.aggregate == "min"
                and measure.quantity == "worst_case"
                and info is not None
                and info.lower_is_better
            ):
                message = f"lower is better for `{info.name}`, so `{text}` is the value of the best image"
                bound = f"worst_case {requirement.relation} {write.expression(requirement.bound)}"
                yield error(__name__, measure.span, message, f"write `{bound} for all images`")
