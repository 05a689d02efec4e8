"""Declared twice.

A parameter, a metric, a block, a statement of a block or a class is given twice.
robspec does not guess which one is meant. Only `require`, `map` and `ignore` may be
repeated: every one of them holds. Several `data` blocks have different names, and
`use` says which one is meant.

Example::

    param eps = 0.1
    param eps = 0.2

Mend::

    param eps = 0.2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.walk import descend


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report the second of each pair."""
    statements = spec.file.statements
    params: list[tuple[str, ast.Node]] = [(f"param `{s.name.id}`", s) for s in statements if isinstance(s, ast.Param)]
    single: list[tuple[str, ast.Node]] = [
        ("`use` statement" if isinstance(s, ast.Use) else _word(s), s)
        for s in statements
        if isinstance(s, (ast.Language, ast.Model, ast.Detector, ast.Privacy, ast.Data, ast.Use))
    ]
    own = [(f"metric `{s.name.id}`", s) for s in statements if isinstance(s, ast.Definition)]
    yield from _repeated(spec, [*params, *single, *own])
    for block in statements:
        if isinstance(block, (ast.Model, ast.Detector, ast.Privacy, ast.Data, ast.Property)):
            inner = [
                (f"`{_word(s)}` statement", s)
                for s in block.statements
                if not isinstance(s, (ast.Require, ast.Map, ast.Ignore))
            ]
            yield from _repeated(spec, inner)
    for node in descend(spec.file):
        if isinstance(node, ast.Classes):
            yield from _repeated(spec, [(f"class `{c.text}`", c) for c in node.names])
        elif isinstance(node, ast.By):
            yield from _repeated(spec, [(f"setting `{s.name.id}`", s) for s in node.settings])
        elif isinstance(node, (ast.MetricReference, ast.Within)):
            yield from _repeated(spec, [(f"class `{c.text}`", c) for c in node.classes])


def _word(statement: ast.Node) -> str:
    if isinstance(statement, ast.Data):
        return f"`data {statement.name.id}` block"
    if isinstance(statement, ast.Model) and statement.file is not None:
        return f'`model "{statement.file.text}"` block'
    words = {
        ast.Model: "`model` block",
        ast.Detector: "`detector` block",
        ast.Privacy: "`privacy` block",
        ast.Language: "`language` statement",
    }
    special = {
        ast.MetricStatement: "metric",
        ast.NormStatement: "norm",
        ast.AttackStatement: "attack",
        ast.BoxesStatement: "boxes",
        ast.ObjectsStatement: "objects",
        ast.Use: "use",
    }
    kind = type(statement)
    return words.get(kind) or special.get(kind) or kind.__name__.lower()


def _repeated(spec: Spec, named: Iterable[tuple[str, ast.Node]]) -> Iterator[Diagnostic]:
    seen: dict[str, ast.Node] = {}
    for name, node in named:
        first = seen.setdefault(name, node)
        if first is not node:
            span = node.name.span if isinstance(node, (ast.Param, ast.Data, ast.Definition)) else node.span
            message = f"there is already a {name}, on line {spec.line(first)}"
            yield error(__name__, span, message, "keep one of them")
