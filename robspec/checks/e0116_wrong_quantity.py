"""Requirement about the other question.

A property with a `budget` answers with a `worst_case`, one with `degraded when`
with a `radius`. A requirement is about the answer its property gives.

Example::

    budget 0.1
    require radius >= 0.3 for all images

Mend::

    budget 0.1
    require worst_case >= 0.75 for all images
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare what is required with what is asked."""
    for block in spec.properties:
        radius = spec.asks_radius(block)
        if radius is None:
            continue
        cause, answer = ("degraded when", "radius") if radius else ("budget", "worst_case")
        for requirement in spec.requirements(block):
            if requirement.measure.quantity != answer:
                message = f"with `{cause}` a property answers with a {answer}, not {_with_article(radius)}"
                mend = f"require something of `{answer}`, or write another property"
                yield error(__name__, requirement.measure.span, message, mend)


def _with_article(radius: bool) -> str:
    return "a worst_case" if radius else "a radius"
