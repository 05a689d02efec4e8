"""Normalisation that does not fit the input.

`normalize` is applied to every channel as (x - mean) / std before the model. It
needs one mean and one standard deviation for each input channel, and every standard
deviation above zero.

Example::

    input image [3, 256, 256] in [0, 1]
    normalize mean [0.5] std [0]

Mend::

    normalize mean [0.5, 0.5, 0.5] std [0.5, 0.5, 0.5]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import count, error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare with the number of input channels, and look at the signs."""
    normalize, model_input = spec.of_model(ast.Normalize), spec.of_model(ast.Input)
    if normalize is None:
        return
    shape = None if model_input is None else spec.shape(model_input.shape)
    for word, numbers in (("mean", normalize.mean), ("std", normalize.std)):
        if shape is not None and len(numbers) != shape[0]:
            span = Span(numbers[0].span.start, numbers[-1].span.end)
            message = f"{count(len(numbers), 'number')} after `{word}` for {count(shape[0], 'input channel')}"
            yield error(__name__, span, message, "write one number for each input channel")
    for number in normalize.std:
        value = spec.value(number)
        if value is not None and value <= 0:
            message = f"a standard deviation of {shown(value)}"
            yield error(__name__, number.span, message, "every number after `std` is above zero")
