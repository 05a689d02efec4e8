"""Walks over the abstract syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from robspec.syntax import ast


def operands(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    """The direct parts of a sum, product or negation; none for anything else."""
    if isinstance(expr, ast.Negative):
        return (expr.operand,)
    if isinstance(expr, ast.Sum):
        return (expr.first, *(term for _, term in expr.rest))
    if isinstance(expr, ast.Product):
        return (expr.first, *(factor for _, factor in expr.rest))
    return ()


def descend(node: Any) -> Iterator[ast.Node]:
    """A node and everything below it, parents first, in the order written."""
    if isinstance(node, ast.Node):
        yield node
        for part in fields(node):
            if part.compare:
                yield from descend(getattr(node, part.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from descend(part)


def constants_of(node: ast.Node) -> Iterator[ast.Expr]:
    """The expressions that are direct parts of a node and must be constant; names and metrics left out."""
    for part in fields(node):
        if part.name not in ("name", "metric", "split", "method") and part.compare:
            value = getattr(node, part.name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, ast.Expr):
                    yield item
