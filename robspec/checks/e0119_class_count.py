"""Number of classes and of output channels differ.

The output has one channel for each class, in the order of `classes`. A model for
two classes may also have a single channel: one logit, positive for the second
class. A detector has one row of scores for each class, and no row for the background.

Example::

    output logits [3, 256, 256]
    classes background, runway

Mend::

    output logits [2, 256, 256]
    classes background, runway
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import count, error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare the two numbers."""
    output, classes = spec.of_model(ast.Output), spec.of_model(ast.Classes)
    shape = None if output is None else spec.output_shape(output.shape)
    if classes is None or shape is None:
        return
    channels, given = shape[0], len(classes.names)
    if spec.task is not None and spec.task.objects:
        if channels != given:
            message = f"{count(given, 'class')} for {count(channels, 'row')} of scores"
            yield error(__name__, classes.span, message, "name one class for each row of the scores, in its order")
        return
    span = Span(classes.names[0].span.start, classes.names[-1].span.end)
    if channels == 1 and given != 2:
        message = f"a model with one output channel tells two classes apart, {given} given"
        yield error(__name__, span, message, "name two classes, or give the output a channel for each class")
    elif channels > 1 and channels != given:
        message = f"{count(given, 'class')} for {count(channels, 'output channel')}"
        yield error(__name__, span, message, "name one class for each channel of the output, in its order")
