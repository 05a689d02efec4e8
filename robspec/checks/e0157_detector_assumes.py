"""Detector whose statements do not fit together.

A match by overlap looks at boxes: the model returns them, and something is known of
them under attack. With free boxes a box walks off its object at no cost in scores, so
that no object is certainly found: say `boxes frozen`, an assumption that every verdict
names, or `boxes proved`. A match by location looks at where locations are: their
`strides`, level after level, give as many as the scores have. Average precision ranks
kept boxes and needs a match by overlap.

Example::

    match overlap 0.5
    boxes free

Mend::

    match overlap 0.5
    boxes frozen
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare the statements with each other and with the model."""
    match, output = spec.of_detector(ast.Match), spec.of_model(ast.Output)
    if match is None or output is None or spec.damaged(match) or spec.task is None or not spec.task.objects:
        return
    if match.name.id == "overlap":
        yield from _overlap(spec, match, output)
    elif match.name.id == "location":
        yield from _location(spec, match, output)


def _overlap(spec: Spec, match: ast.Match, output: ast.Output) -> Iterator[Diagnostic]:
    statement = spec.of_detector(ast.BoxesStatement)
    if output.boxes is None:
        message = "a match by overlap looks at boxes, and the model returns none"
        yield error(__name__, match.span, message, "add `, boxes [4, N]` to the output, or write `match location`")
    elif spec.boxes_mode == "free":
        span = match.span if statement is None else statement.span
        message = "with free boxes no object is certainly found: each walks off at no cost in scores"
        yield error(__name__, span, message, "write `boxes frozen`, which verdicts name, or `boxes proved`")


def _location(spec: Spec, match: ast.Match, output: ast.Output) -> Iterator[Diagnostic]:
    statement = spec.of_detector(ast.Strides)
    if statement is None:
        message = "a match by location needs to know where locations are"
        yield error(__name__, match.span, message, "add `strides 8, 16, 32`, those of the detector's levels")
    nms = spec.of_detector(ast.Nms)
    if nms is not None and nms.name.id == "greedy":
        message = "a match by location counts locations that fire, with no suppression between"
        yield error(__name__, nms.span, message, "write `nms none`")
    found = None if statement is None else spec.values(statement.values)
    sides, shape = spec.of_model(ast.Input), spec.output_shape(output.shape)
    shown = None if sides is None else spec.shape(sides.shape)
    if statement is not None and found and shown is not None and shape is not None and min(found) >= 1:
        steps = [int(s) for s in found]
        count = sum(-(-shown[1] // s) * -(-shown[2] // s) for s in steps)
        if count != shape[1]:
            message = f"these strides give {count} locations, and the scores have {shape[1]}"
            yield error(__name__, statement.span, message, "name every level once, in the order of the scores")
    for block in spec.properties:
        for use in spec.metric_uses(block):
            info = spec.metric(use)
            if info is not None and info.items == "average_precision":
                message = f"`{info.name}` ranks kept boxes, and objects are matched by location"
                yield error(__name__, use.span, message, "write `match overlap 0.5`, or ask for recall")
