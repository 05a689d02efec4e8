"""Share, quantile or confidence outside (0, 1).

The share of images, the order of a quantile and a confidence lie strictly between 0
and 1, or between 0% and 100%. All images is written `for all images`; a confidence
of 100% no finite sample can give.

Example::

    require radius >= 0.3 for 95 of images with confidence 100%

Mend::

    require radius >= 0.3 for 95% of images with confidence 99%
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Evaluate every share, order and confidence."""
    for block in spec.properties:
        for requirement in spec.requirements(block):
            order = requirement.measure.order
            if order is not None:
                yield from _outside("the order of a quantile", spec.value(order), order.span, percent=False)
            if isinstance(requirement.population, ast.ShareOfImages):
                yield from _level(spec, "a share of images", requirement.population.level)
            if requirement.confidence is not None:
                yield from _level(spec, "a confidence", requirement.confidence)


def _level(spec: Spec, what: str, level: ast.Level) -> Iterator[Diagnostic]:
    yield from _outside(what, spec.level(level), level.span, percent=level.percent)


def _outside(what: str, value: Fraction | None, span: Span, *, percent: bool) -> Iterator[Diagnostic]:
    if value is None or 0 < value < 1:
        return
    limits = "0% and 100%" if percent else "0 and 1"
    number = f"{shown(value * 100)}%" if percent else shown(value)
    mend = f"write a number above {limits.replace(' and', ' and below')}"
    if value == 1 and what == "a share of images":
        mend = "write `for all images`"
    elif not percent and 1 < value < 100:
        mend = f"write `{number}%`" if what != "the order of a quantile" else f"write `{shown(value / 100)}`"
    yield error(__name__, span, f"{what} lies strictly between {limits}, this is {number}", mend)
