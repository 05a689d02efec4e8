"""A data block as what it says: where the files are, what their numbers stand for, how images are brought to size."""

from __future__ import annotations

from typing import TypeVar

from robspec.checks import Spec
from robspec.ir import types as ir
from robspec.syntax import ast

_T = TypeVar("_T")


def _sure(value: _T | None) -> _T:
    """A value that the checks have made sure of."""
    if value is None:
        raise RuntimeError("a specification without errors could not be lowered")
    return value


def lower_data(spec: Spec, data: ast.Data) -> ir.Data:
    """Turn a data block of a specification without errors into its meaning.

    Args:
        spec: the specification.
        data: one of its blocks.

    Returns:
        Every name resolved and every number exact.
    """
    images, masks, pairs = (
        spec.statement(data, ast.Images),
        spec.statement(data, ast.Masks),
        spec.statement(data, ast.Pairs),
    )
    region, weights = spec.statement(data, ast.Region), spec.statement(data, ast.Weights)
    labels, layout = spec.statement(data, ast.Labels), spec.statement(data, ast.Layout)
    objects = spec.statement(data, ast.ObjectsStatement)
    mapping = tuple(_mapped(spec, p) for s in data.statements if isinstance(s, ast.Map) for p in s.parts)
    ignored = tuple(int(_sure(spec.value(e))) for s in data.statements if isinstance(s, ast.Ignore) for e in s.labels)
    if mapping or layout is not None:
        mapping += tuple(ir.Mapped(label, label, None) for label in ignored)
        ignored = (ir.UNLABELLED,)
    return ir.Data(
        name=data.name.id,
        images="" if images is None else images.glob,
        masks="" if masks is None else masks.glob,
        ignore=ignored[0] if ignored else None,
        binary=any(s is not None and s.binary for s in (masks, pairs)),
        labels="" if labels is None or labels.glob is None else labels.glob,
        by_folder=labels is not None and labels.glob is None,
        objects="" if objects is None else objects.glob,
        objects_format="" if objects is None else objects.name.id,
        region="" if region is None else region.glob,
        weights="" if weights is None else weights.glob,
        pairs="" if pairs is None else pairs.glob,
        layout="" if layout is None else layout.name.id,
        root="" if layout is None else layout.root,
        split="" if layout is None or layout.split is None else layout.split.id,
        also_ignored=tuple(dict.fromkeys(label for label in ignored[1:] if label != ignored[0])),
        mapping=mapping,
        colours=any(
            isinstance(n, ast.Colour) for s in data.statements if isinstance(s, ast.Map) for n in _sources(s)
        ),
        steps=tuple(_step(spec, s) for s in data.statements if isinstance(s, (ast.Crop, ast.Resize))),
    )


def _sources(node: ast.Map) -> tuple[ast.Node, ...]:
    return tuple(part.source for part in node.parts)


def _mapped(spec: Spec, part: ast.Mapping) -> ir.Mapped:
    target = None if part.target is None else _sure(spec.classes).index(part.target.text)
    if isinstance(part.source, ast.Stored):
        first = int(_sure(spec.value(part.source.first)))
        last = first if part.source.last is None else int(_sure(spec.value(part.source.last)))
        return ir.Mapped(first, last, target)
    if isinstance(part.source, ast.Colour):
        return ir.Mapped(part.source.value, part.source.value, target)
    return ir.Mapped(None, None, target)


def _step(spec: Spec, step: ast.Crop | ast.Resize) -> ir.Step:
    height, width = (int(v) for v in _sure(spec.values(step.size)))
    if isinstance(step, ast.Resize):
        return ir.Resize(height, width, step.method.id)
    if step.at is None:
        return ir.Crop(height, width)
    row, column = (int(v) for v in _sure(spec.values(step.at)))
    return ir.Crop(height, width, row, column)
