"""Budget that seems to be in other units than the input, or beyond its range.

Budgets are in the units of the declared input range. An image in [0, 1] attacked
with `budget 8` in linf can become any image at all; mostly 8/255 is meant, 8 grey
levels of an 8-bit image. In other norms a budget grows with the number of values: 8
is much in l2 on 3 x 32 x 32 values, whose largest distance is 55.4, and little on
3 x 256 x 256, where it is 443.

Example::

    input image [3, 256, 256] in [0, 1]
    norm linf
    budget 8

Mend::

    budget 8/255
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import shown, warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

_USUAL_LEVELS = (4, 8, 16)
_MUCH = 8
"""A whole budget reads like grey levels from an eighth of the largest distance on."""


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every budget with the largest distance between two images."""
    ends = spec.input_range
    if ends is None or ends[0] >= ends[1]:
        return
    width = ends[1] - ends[0]
    where = f"an input in [{shown(ends[0])}, {shown(ends[1])}]"
    given = spec.of_model(ast.Input)
    shape = None if given is None else spec.shape(given.shape)
    size = 1 if shape is None else math.prod(shape)
    for block in spec.properties:
        budget, norm = spec.statement(block, ast.Budget), spec.statement(block, ast.NormStatement)
        if budget is None or norm is None:
            continue
        largest = budget.value.stop if isinstance(budget.value, ast.Sweep) else budget.value
        value = spec.value(largest)
        if value is None:
            continue
        exponent = _exponent(spec, norm.norm)
        furthest = float(width) * size**exponent
        name = norm.norm.name
        levels = value.denominator == 1 and width <= 2
        if levels and (2 <= value <= 255 if exponent == 0 else value in _USUAL_LEVELS and value * _MUCH >= furthest):
            message = f"budget {shown(value)} on {where} reads like {shown(value)}/255"
            mend = f"write `{shown(value)}/255` if grey levels are meant"
            yield warning(__name__, largest.span, message, mend)
        elif value > furthest or (value == furthest and largest is budget.value):
            message = f"a budget of {shown(value)} in {name} on {where} allows every image"
            mend = f"no two images are further apart than {furthest:.6g}: write a smaller budget"
            yield warning(__name__, largest.span, message, mend)


def _exponent(spec: Spec, norm: ast.NormName) -> float:
    """The power of the number of values by which distances grow: 1/p."""
    if norm.exponent is not None:
        value = spec.value(norm.exponent)
        return 0.0 if value is None or value < 1 else float(1 / Fraction(value))
    return {"l1": 1.0, "l2": 0.5}.get(norm.name, 0.0)
