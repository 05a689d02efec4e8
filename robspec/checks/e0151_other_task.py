"""Metric or statement of another kind of model.

What a model is for follows from its output. `output logits [K, H, W]` judges every
pixel: the data have `masks`. `output scores [K]` judges images as a whole: the data
have `labels`, and nothing is counted by region or weight. `output score [1]` with an
`annotation` gives each image one number: its metrics rank the scores, and a property
says whose images are attacked. `output scores [K, N]` is of a detector: the data have
`objects`, and its metrics count objects found, missed and wrongly reported.

Example::

    output scores [10]
    masks  "val/masks/*.png"

Mend::

    output scores [10]
    labels "labels.csv"
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.forms import FORMS
from robspec.tasks import Task

_OF_PIXELS = (ast.Masks, ast.Pairs, ast.Layout, ast.Ignore, ast.Map, ast.Region, ast.Weights)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for statements that have no meaning for the declared output."""
    yield from reported(__name__, spec)
    task = spec.task
    if task is None:
        return
    for data in spec.used_data or spec.data_blocks[:1]:
        yield from _data(data, task)
    for block in spec.properties:
        attack = spec.statement(block, ast.AttackStatement)
        if attack is not None and not task.scores:
            message = f"`attack` says whose scores are attacked, and the output is of {task.name}: every image is"
            yield error(__name__, attack.span, message, "leave it out")
        for use in spec.metric_uses(block):
            yield from _use(use, task)


def _data(data: ast.Data, task: Task) -> Iterator[Diagnostic]:
    whole = task.item == "image"
    for statement in data.statements:
        word = type(statement).__name__.lower()
        if task.objects or isinstance(statement, ast.ObjectsStatement):
            yield from _objects(statement, task, word)
            continue
        of_pixels = isinstance(statement, _OF_PIXELS)
        if whole and of_pixels:
            message = f"`{word}` is about pixels, and the output judges images as a whole"
            mend = f"write `{FORMS['labels']}`, or `labels by folder`"
            if not isinstance(statement, (ast.Masks, ast.Pairs, ast.Layout)):
                mend = "leave it out"
            yield error(__name__, statement.span, message, mend)
        elif not whole and isinstance(statement, ast.Labels):
            message = "`labels` are of whole images, and the output judges every pixel"
            yield error(__name__, statement.span, message, f"write `{FORMS['masks']}`, or `output scores [K]`")


def _objects(statement: ast.DataStatement, task: Task, word: str) -> Iterator[Diagnostic]:
    if task.objects and not isinstance(statement, (ast.Images, ast.ObjectsStatement)):
        message = f"`{word}` is not about objects, and the output is of a detector"
        mend = f"write `{FORMS['objects']}`" if word in ("masks", "labels") else "leave it out"
        yield error(__name__, statement.span, message, mend)
    elif not task.objects and isinstance(statement, ast.ObjectsStatement):
        message = f"`objects` are of a detector, and the output is of {task.name}"
        yield error(__name__, statement.span, message, f"write `{FORMS[task.annotation]}`")


def _use(use: ast.MetricReference, task: Task) -> Iterator[Diagnostic]:
    judges = "is of a detector" if task.objects else "judges images as a whole"
    if task.item != "pixel" and use.within is not None:
        message = f"`in` names pixels, and the output {judges}"
        yield error(__name__, use.within.span, message, "leave it out")
    if task.item != "pixel" and use.adjective == "weighted":
        message = f"`weighted` is about pixels, and the output {judges}"
        yield error(__name__, use.span, message, "leave `weighted` out")
