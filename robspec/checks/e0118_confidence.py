"""Confidence that has no meaning.

`with confidence` turns a claim about the images at hand into one about the
population they were drawn from. That is possible for a fraction of images (a
binomial bound) and for the mean of worst cases whose values are known to lie in [0, 1].
It is refused for `min` and `for all images` (no finite sample speaks for every image),
for pooled metrics (one number for the data set), and for means and quantiles of radii,
which have no upper limit; a quantile is stated as a fraction instead.

Source: MATH.md section 4.

Example::

    require min(worst_case) >= 0.4 with confidence 99%
    require quantile(0.05, radius) >= 0.3 with confidence 99%

Mend::

    require worst_case >= 0.4 for 99% of images with confidence 99%
    require radius >= 0.3 for 95% of images with confidence 99%
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast, write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every requirement that states a confidence."""
    for block in spec.properties:
        for requirement in spec.requirements(block):
            if spec.pooled(block):
                if requirement.confidence is not None:
                    message = "a pooled metric is one number for these images, which gives no confidence in others"
                    mend = "leave out `with confidence`, or ask for the metric of each image, without `pooled`"
                    yield error(__name__, requirement.confidence.span, message, mend)
                continue
            confidence, measure = requirement.confidence, requirement.measure
            what = None
            if isinstance(requirement.population, ast.AllImages):
                what = "`for all images`"
            elif measure.aggregate is not None and (measure.aggregate, measure.quantity) != (
                "mean",
                "worst_case",
            ):
                what = f"`{write.measure(measure)}`"
            if confidence is not None and what is None and measure.aggregate == "mean":
                yield from _range(spec, block, confidence)
            if confidence is not None and what is not None:
                share = _share(spec, requirement)
                bound = f"{measure.quantity} {requirement.relation} {write.expression(requirement.bound)}"
                claim = f"{bound} for {share} of images with confidence {write.level(confidence)}"
                mend = f"state a fraction: `{claim}`"
                message = f"a sample gives no confidence in {what}"
                yield error(__name__, confidence.span, message, mend)


def _range(spec: Spec, block: ast.Property, confidence: ast.Level) -> Iterator[Diagnostic]:
    metric = spec.metric_of(block)
    if metric is None or spec.derived(metric) is None:
        return
    ends = spec.range_of(metric)
    if ends is None or ends[0] < 0 or ends[1] > 1:
        known = "are not known to be bounded" if ends is None else f"lie in [{shown(ends[0])}, {shown(ends[1])}]"
        message = f"the values of `{write.metric(metric)}` {known}, not in [0, 1], as confidence in a mean needs"
        mend = "state a fraction of images, or scale the metric to [0, 1]"
        yield error(__name__, confidence.span, message, mend)


def _share(spec: Spec, requirement: ast.Require) -> str:
    order = requirement.measure.order
    value = None if order is None else spec.value(order)
    if value is None or not 0 < value < 1:
        return "95%"
    return f"{shown((1 - value if requirement.relation in ('>=', '>') else value) * 100)}%"
