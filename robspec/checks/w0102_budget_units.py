"""Budget that seems to be in other units than the input.

Budgets are in the units of the declared input range. An image in [0, 1] attacked
with `budget 8` in linf can become any image at all; mostly 8/255 is meant, 8 grey
levels of an 8-bit image.

Example::

    input image [3, 256, 256] in [0, 1]
    norm linf
    budget 8

Mend::

    budget 8/255
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import shown, warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

_USUAL_LEVELS = (4, 8, 16)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every budget with the width of the input range."""
    ends = spec.input_range
    if ends is None or ends[0] >= ends[1]:
        return
    width = ends[1] - ends[0]
    where = f"an input in [{shown(ends[0])}, {shown(ends[1])}]"
    for block in spec.properties:
        budget, norm = spec.statement(block, ast.Budget), spec.statement(block, ast.NormStatement)
        if budget is None or norm is None:
            continue
        largest = budget.value.stop if isinstance(budget.value, ast.Sweep) else budget.value
        value = spec.value(largest)
        if value is None:
            continue
        if _looks_like_levels(value, width, norm.norm.name):
            message = f"budget {shown(value)} on {where} reads like {shown(value)}/255"
            mend = f"write `{shown(value)}/255` if grey levels are meant"
            yield warning(__name__, largest.span, message, mend)
        elif norm.norm.name == "linf" and (value > width or (value == width and largest is budget.value)):
            message = f"an linf budget of {shown(value)} on {where} allows every image"
            yield warning(__name__, largest.span, message, "write a budget smaller than the input range")


def _looks_like_levels(value: Fraction, width: Fraction, norm: str) -> bool:
    """In linf every whole number from 2 to 255; in other norms, where some make sense, the usual 4, 8 and 16."""
    whole = width <= 2 and value.denominator == 1 and 2 <= value <= 255
    return whole and (norm == "linf" or value in _USUAL_LEVELS)
