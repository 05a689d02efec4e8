"""Named parts of a file pattern that do not say which files belong together.

A part in braces stands for a piece of a path, and files belong together whose parts
are all alike: `images "val/{city}/{stem}.png"` and `masks "gt/{city}/{stem}_gt.png"`.
So both patterns have the same parts, each once, and something between two of them
tells where the first one ends. `{stem}` may reach into folders below; every other
part stays within one.

Example::

    images "val/{city}/{stem}.png"
    masks  "gt/{stem}_gt.png"

Mend::

    images "val/{city}/{stem}.png"
    masks  "gt/{city}/{stem}_gt.png"
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.patterns import is_named, parts, problem


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at each pattern, and compare those of other files with that of the images."""
    for data in spec.data_blocks:
        images = spec.statement(data, ast.Images)
        for statement in data.statements:
            if not isinstance(statement, (ast.Images, ast.Masks, ast.Region, ast.Weights)):
                continue
            found = problem(statement.glob)
            if found is not None:
                yield error(__name__, statement.span, *found)
            elif not isinstance(statement, ast.Images) and images is not None and problem(images.glob) is None:
                yield from _compared(images, statement)


def _compared(images: ast.Images, other: ast.Masks | ast.Region | ast.Weights) -> Iterator[Diagnostic]:
    word = type(other).__name__.lower()
    left, right = set(parts(images.glob)), set(parts(other.glob))
    if left == right:
        return
    if not is_named(images.glob) or not is_named(other.glob):
        plain, named = ("images", word) if not left else (word, "images")
        message = f"`{named}` has named parts, and `{plain}` has none"
        yield error(__name__, other.span, message, "name the same parts in both, or write * in both")
        return
    only = min(left ^ right)
    has, lacks = ("images", word) if only in left else (word, "images")
    message = f"`{has}` has the part {{{only}}}, and `{lacks}` has not"
    yield error(__name__, other.span, message, f"put {{{only}}} into both, or write * for it")
