"""The pages of `robspec explain`, read off the sources so that nothing heavy is imported."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from robspec import checks, registry


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to say about a code.

    Args:
        code: such as E0103.
        title: a few words, lower case, without full stop.
        body: paragraphs.
    """

    code: str
    title: str
    body: str


@cache
def pages() -> dict[str, Page]:
    """Every page, by code: those of the static checks, and those of the errors of every package."""
    found = {page.code: page for page in (*_of_checks(), *_of_errors(files("robspec")))}
    return dict(sorted(found.items()))


def _of_checks() -> Iterator[Page]:
    folder = files("robspec.checks")
    for name in registry.names(checks):
        text = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
        title, _, body = text.partition("\n")
        title = title.removesuffix(".")
        yield Page(checks.code_of(name), title[:1].lower() + title[1:], body.strip())


def _of_errors(folder: Traversable) -> Iterator[Page]:
    """The error classes of the module `errors` of a package and of the packages below it."""
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name == "errors.py":
            yield from _of_module(ast.parse(entry.read_text(encoding="utf-8")))
        elif entry.is_dir() and (entry / "__init__.py").is_file():
            yield from _of_errors(entry)


def _of_module(module: ast.Module) -> Iterator[Page]:
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            constants = dict(_constants(node))
            code, title = constants.get("code", ""), constants.get("title", "")
            if code and code != "E0000":
                yield Page(code, title, inspect.cleandoc(ast.get_docstring(node) or ""))


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The text constants a class sets in its body."""
    for line in node.body:
        if isinstance(line, ast.Assign):
            targets = line.targets
        elif isinstance(line, ast.AnnAssign) and line.value is not None:
            targets = [line.target]
        else:
            continue
        value = line.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from ((t.id, value.value) for t in targets if isinstance(t, ast.Name))
