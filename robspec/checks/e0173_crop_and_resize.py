"""Crop or resize that does not lead to the input.

Images are resized and cropped only where the data say so, in the order written, and
what an attack changes is the result. `crop [height, width]` takes the middle, or with
`at [row, column]` what begins there; `resize [height, width] by bilinear` (or
`nearest`) resamples the image, and masks always by the nearest pixel. The last one
leaves images of the model's height and width, and masks of the logits'.

Example::

    input  image [3, 256, 256] in [0, 1]
    resize [224, 224] by bilinear

Mend::

    input  image [3, 256, 256] in [0, 1]
    resize [256, 256] by bilinear
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import error
from robspec.checks._spec import MAX_SIDE, Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast, write

METHODS = ("bilinear", "nearest")


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the sizes, and compare the last one with the model."""
    for data in spec.data_blocks:
        steps = [s for s in data.statements if isinstance(s, (ast.Crop, ast.Resize))]
        wrong = [d for step in steps for d in _step(spec, step)]
        yield from wrong
        if steps and not wrong:
            yield from _compared(spec, data, steps[-1])
        if len(steps) == 2 and not wrong:
            yield from _inside(spec, steps[0], steps[1])


def _step(spec: Spec, step: ast.Crop | ast.Resize) -> Iterator[Diagnostic]:
    word = type(step).__name__.lower()
    size = spec.values(step.size)
    if size is not None and not _sides(size, 1):
        yield error(__name__, step.span, f"`{word}` has no height and width of whole pixels", "write [256, 256]")
    if isinstance(step, ast.Crop) and step.at is not None:
        at = spec.values(step.at)
        if at is not None and not _sides(at, 0):
            yield error(__name__, step.span, "`at` has no row and column of 0 or more", "write at [0, 0]")
    if isinstance(step, ast.Resize) and step.method.id not in METHODS:
        mend = did_you_mean(step.method.id, METHODS, "write `bilinear` or `nearest`")
        yield error(__name__, step.method.span, f"no way of resampling is called `{step.method.id}`", mend)


def _sides(values: tuple[Fraction, ...], least: int) -> bool:
    return len(values) == 2 and all(v.denominator == 1 and least <= v <= MAX_SIDE for v in values)


def _compared(spec: Spec, data: ast.Data, step: ast.Crop | ast.Resize) -> Iterator[Diagnostic]:
    size, described, output = spec.values(step.size), spec.of_model(ast.Input), spec.of_model(ast.Output)
    shape = None if described is None else spec.shape(described.shape)
    if size is None or shape is None:
        return
    fits = [int(v) for v in size] == [*shape[1:]]
    if not fits:
        message = f"it leaves images of {size[0]} x {size[1]}, and the input is {shape[1]} x {shape[2]}"
        mend = f"write [{shape[1]}, {shape[2]}], or correct `input`"
        yield error(__name__, step.span, message, mend)
    logits = None if output is None else spec.output_shape(output.shape)
    drawn = any(isinstance(s, (ast.Masks, ast.Pairs, ast.Layout)) for s in data.statements)
    if fits and drawn and logits is not None and len(logits) == 3 and logits[1:] != shape[1:]:
        message = f"it leaves masks of {size[0]} x {size[1]} too, and the logits are {logits[1]} x {logits[2]}"
        yield error(__name__, step.span, message, "resize the files once, images and masks, and leave it out")


def _inside(spec: Spec, first: ast.Crop | ast.Resize, second: ast.Crop | ast.Resize) -> Iterator[Diagnostic]:
    if not (isinstance(first, ast.Resize) and isinstance(second, ast.Crop)):
        return
    outer, inner = spec.values(first.size), spec.values(second.size)
    at = (Fraction(0), Fraction(0)) if second.at is None else spec.values(second.at)
    if outer is None or inner is None or at is None:
        return
    if any(a + i > o for a, i, o in zip(at, inner, outer, strict=True)):
        message = f"`{write.statement(second)[1]}` does not lie in images of {outer[0]} x {outer[1]}"
        yield error(__name__, second.span, message, "crop less, or resize to more")
