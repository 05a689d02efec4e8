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


def comparisons(condition: ast.Condition) -> Iterator[ast.Comparison]:
    """The comparisons a condition is made of."""
    if isinstance(condition, ast.Comparison):
        yield condition
    else:
        for part in condition.parts:
            yield from comparisons(part)
