"""Map of labels that contradicts itself.

`map` says what the numbers in the masks stand for, or their colours: for a class, or
for nothing (`ignored`). A number or colour is named once; `others` are all that are
not named, and without it a mask that holds another one is refused. Numbers and
colours are not mixed. A class that is itself called `ignored` is quoted.

Example::

    map 7 to road, 0..10 to ignored

Mend::

    map 7 to road, 0..6 to ignored, 8..10 to ignored
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span, did_you_mean
from robspec.syntax import ast, write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the maps of each data block."""
    for data in spec.data_blocks:
        parts = [p for s in data.statements if isinstance(s, ast.Map) for p in s.parts]
        if not parts:
            continue
        yield from _statements(data, parts)
        yield from _targets(spec, parts)
        yield from _repeated(spec, data, parts)


def _statements(data: ast.Data, parts: list[ast.Mapping]) -> Iterator[Diagnostic]:
    for statement in data.statements:
        if isinstance(statement, (ast.Masks, ast.Pairs)) and statement.binary:
            message = "the masks are `binary`, and a `map` says otherwise what they hold"
            yield error(__name__, statement.span, message, "leave out `binary`, or the `map`")
    if not any(isinstance(s, (ast.Masks, ast.Pairs, ast.Layout)) for s in data.statements):
        yield error(__name__, parts[0].span, "there are no masks to map", 'add `masks "..."`, or leave it out')
    colour = next((p for p in parts if isinstance(p.source, ast.Colour)), None)
    number = next((p.span for p in parts if isinstance(p.source, ast.Stored)), None)
    ignore = next((s.span for s in data.statements if isinstance(s, ast.Ignore)), None)
    other = number or ignore
    if colour is not None and other is not None:
        message = "colours and numbers are both given, and a pixel is one or the other"
        yield error(__name__, other, message, "write all as colours, #RRGGBB, or all as numbers")


def _targets(spec: Spec, parts: list[ast.Mapping]) -> Iterator[Diagnostic]:
    if spec.classes is None:
        return
    for part in parts:
        if part.target is None and "ignored" in spec.classes:
            message = "a class is called `ignored`, and it is not clear whether it is meant"
            yield error(__name__, part.span, message, 'write "ignored" for the class, or call it otherwise')
        elif part.target is not None and part.target.text not in spec.classes:
            listed = ", ".join(spec.classes[:8]) + (", ..." if len(spec.classes) > 8 else "")
            mend = did_you_mean(
                part.target.text, (*spec.classes, "ignored"), f"the classes are {listed}, or `ignored`"
            )
            yield error(__name__, part.target.span, f"the model has no class `{part.target.text}`", mend)


def _repeated(spec: Spec, data: ast.Data, parts: list[ast.Mapping]) -> Iterator[Diagnostic]:
    ranges: list[tuple[Fraction, Fraction, str, Span]] = []
    seen: set[str] = set()
    for part in parts:
        if isinstance(part.source, ast.Stored):
            first = spec.value(part.source.first)
            last = first if part.source.last is None else spec.value(part.source.last)
            if first is None or last is None:
                continue
            text = write.mapping(part)
            if first > last:
                message = f"the first label, {shown(first)}, is larger than the last, {shown(last)}"
                yield error(__name__, part.source.span, message, "write the smaller one first")
                continue
            ranges.append((first, last, text, part.source.span))
        else:
            text = write.mapping(part).partition(" to ")[0]
            if text in seen:
                yield error(__name__, part.source.span, f"`{text}` is mapped twice", "keep one of them")
            seen.add(text)
    for expr in (e for s in data.statements if isinstance(s, ast.Ignore) for e in s.labels):
        label = spec.value(expr)
        if label is not None:
            ranges.append((label, label, f"ignore {shown(label)}", expr.span))
    ordered = sorted(ranges, key=lambda r: (r[0], r[1]))
    for before, after in pairwise(ordered):
        if after[0] <= before[1]:
            message = f"label {shown(after[0])} is in `{before[2]}` and in `{after[2]}`"
            yield error(__name__, max(before[3], after[3]), message, "name each label once")
