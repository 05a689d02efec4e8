"""Annotation of scores that cannot be read.

A model with one score says with `annotation` what a low score and what a high score
stand for, in this order, in place of `classes`. The output has one number, the two
names differ, and neither is `both`, which is a word of `attack`.

Example::

    output     score [2]
    annotation normal | normal

Mend::

    output     score [1]
    annotation normal | anomalous
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the annotation beside the output and the classes."""
    sides, output, classes = (spec.of_model(k) for k in (ast.Annotation, ast.Output, ast.Classes))
    if sides is None:
        return
    if classes is not None:
        message = "a model has `classes` or an `annotation` of its score, not both"
        yield error(__name__, classes.span, message, "leave out `classes`: the annotation names the two sides")
    if isinstance(output, ast.Output) and (len(output.shape) != 1 or spec.value(output.shape[0]) not in (1, None)):
        message = "an `annotation` is of one score for each image"
        yield error(
            __name__, output.span, message, "write `output score [1]`, or `classes` in place of the annotation"
        )
    if isinstance(sides, ast.Annotation):
        if sides.normal.text == sides.anomalous.text:
            message = f"both sides are called `{sides.normal.text}`"
            yield error(__name__, sides.anomalous.span, message, "name what a high score stands for")
        for side in (sides.normal, sides.anomalous):
            if side.text == "both":
                message = "`both` is a word of `attack`"
                yield error(__name__, side.span, message, "choose another name for this side")
