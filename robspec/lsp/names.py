"""Which places in a specification mean the same thing: parameters, metrics, classes, properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from robspec.diagnostics import Span
from robspec.lsp.document import Document
from robspec.syntax import ast

RENAMED = ("param", "metric", "class", "property", "argument", "data")
"""Kinds that belong to the specification; built-in metrics do not."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """What a name means.

    Args:
        kind: one of RENAMED, or "built-in".
        name: as it is spelled in ASCII, without quotes.
        owner: the metric whose argument it is; empty for all else.
    """

    kind: str
    name: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place that names a symbol.

    Args:
        symbol: what is named.
        span: the name, quotes included.
        declares: whether it is declared there.
    """

    symbol: Symbol
    span: Span
    declares: bool = False


def occurrences(document: Document) -> tuple[Occurrence, ...]:
    """Find every place that names something, in the order of the text."""
    if document.too_large:
        return ()
    return tuple(sorted(_Walk(document).of(document.parsed.file, None), key=lambda o: o.span.start))


def at(document: Document, offset: int) -> Occurrence | None:
    """Find what is named at a character, or right before it."""
    touching = [o for o in occurrences(document) if o.span.start <= offset <= o.span.end]
    return min(touching, key=lambda o: (offset not in o.span, o.span.start), default=None)


class _Walk:
    def __init__(self, document: Document) -> None:
        statements = document.parsed.file.statements
        self._params = {s.name.id for s in statements if isinstance(s, ast.Param)}
        self._metrics = {s.name.id for s in statements if isinstance(s, ast.Definition)}

    def of(self, node: Any, inside: ast.Definition | None) -> Iterator[Occurrence]:
        """Everything named in a node.

        Args:
            node: a node, or a tuple of nodes; anything else names nothing.
            inside: the definition whose formula it is part of.
        """
        if isinstance(node, tuple):
            for part in node:
                yield from self.of(part, inside)
        if not isinstance(node, ast.Node):
            return
        if isinstance(node, ast.Param | ast.Definition | ast.Property | ast.Data):
            kind = type(node).__name__.lower().replace("definition", "metric")
            yield Occurrence(Symbol(kind, node.name.id), node.name.span, True)
        if isinstance(node, ast.Definition):
            inside = node
            for name in node.parameters:
                yield Occurrence(Symbol("argument", name.id, node.name.id), name.span, True)
        if isinstance(node, ast.MetricReference):
            kind = "metric" if node.name.id in self._metrics else "built-in"
            yield Occurrence(Symbol(kind, node.name.id), node.name.span)
        if isinstance(node, ast.Classes | ast.Annotation):
            names = node.names if isinstance(node, ast.Classes) else (node.normal, node.anomalous)
            yield from (Occurrence(Symbol("class", name.text), name.span, True) for name in names)
            return
        yield from self._name(node, inside)
        for part in fields(node):
            if part.compare and part.name not in ("name", "parameters"):
                yield from self.of(getattr(node, part.name), inside)

    def _name(self, node: ast.Node, inside: ast.Definition | None) -> Iterator[Occurrence]:
        if isinstance(node, ast.Name | ast.ClassName):
            text = node.id if isinstance(node, ast.Name) else node.text
            if inside is not None and text in {p.id for p in inside.parameters}:
                yield Occurrence(Symbol("argument", text, inside.name.id), node.span)
            elif isinstance(node, ast.ClassName):
                yield Occurrence(Symbol("class", text), node.span)
            elif text in self._params:
                yield Occurrence(Symbol("param", text), node.span)


def declaration(document: Document, symbol: Symbol) -> Occurrence | None:
    """Find where a symbol is declared first."""
    return next((o for o in occurrences(document) if o.symbol == symbol and o.declares), None)


def places(document: Document, symbol: Symbol) -> tuple[Occurrence, ...]:
    """Find every place that names a symbol, each once."""
    found: dict[Span, Occurrence] = {}
    for one in occurrences(document):
        if one.symbol == symbol and (one.span not in found or one.declares):
            found[one.span] = one
    return tuple(found.values())
