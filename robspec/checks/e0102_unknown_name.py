"""Unknown name.

A name stands where a number belongs, and no parameter of that name is declared
above. In a condition the names `h` (the property's metric), `h0` (its clean value)
and the metrics are known too.

Example::

    param gamma = 0.5
    degraded when h <= gama

Mend::

    degraded when h <= gamma
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._conditions import H0, H
from robspec.checks._constants import Found, Trouble
from robspec.checks._definitions import RESERVED
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast
from robspec.syntax.walk import descend


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report names without a value, unless a skipped statement may have declared them."""
    conditions = [n.span for n in descend(spec.file) if isinstance(n, ast.Comparison)]
    formulas = [s.formula.span for s in spec.file.statements if isinstance(s, ast.Definition)]
    for found in spec.constants.found:
        if found.trouble is not Trouble.UNKNOWN:
            continue
        later = spec.params.get(found.word)
        if later is not None:
            message = f"`{found.word}` is used before it is declared"
            yield error(__name__, found.span, message, f"move its `param` (line {spec.line(later)}) above")
        elif not spec.damaged_outside:
            if any(s.start <= found.span.start < s.end for s in formulas):
                message = f"no parameter, metric or count is called `{found.word}`"
                otherwise = "add it to the parameters of the metric, or declare a param of this name above"
                known = {*spec.params, *spec.metrics, *RESERVED}
                yield error(__name__, found.span, message, did_you_mean(found.word, known, otherwise))
                continue
            inside = any(s.start <= found.span.start < s.end for s in conditions)
            kinds = "parameter or metric" if inside else "parameter"
            message = f"no {kinds} is called `{found.word}`"
            yield error(__name__, found.span, message, _mend(spec, found, inside))


def _mend(spec: Spec, found: Found, inside: bool) -> str:
    known = set(spec.params)
    if inside:
        known |= {H, H0, *spec.metrics}
    elif found.word in (H, H0):
        return f"`{found.word}` has a meaning in `degraded when` only; write a number or a param"
    if found.word in (spec.classes or ()):
        return "it is a class, and classes go in brackets, as in `iou[class]`"
    otherwise = f"declare it above: `param {found.word} = ...`"
    if inside:
        otherwise = "write `h` for the property's metric, or declare a param of this name above"
    return did_you_mean(found.word, known, otherwise)
