"""Specifications built in Python, of the same typed objects that a text is read into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from robspec.diagnostics import Source, SpecError
from robspec.diagnostics.span import NOWHERE
from robspec.syntax import ast
from robspec.syntax.format import format_file
from robspec.syntax.parse import parse

_LANGUAGE = ast.Language(ast.Number(Fraction(1), "1"))


@dataclass(frozen=True, init=False)
class Spec:
    """A specification made of parts.

    Args:
        parts: statements of `robspec.syntax.ast`, or texts of one statement or several; `language 1` is put in front
            where it is missing.

    Raises:
        SpecError: a text has syntax errors.
    """

    file: ast.File

    def __init__(self, *parts: ast.Statement | str) -> None:
        found: list[ast.Statement] = []
        for part in parts:
            found += _read(part) if isinstance(part, str) else [part]
        if not any(isinstance(statement, ast.Language) for statement in found):
            found.insert(0, _LANGUAGE)
        object.__setattr__(self, "file", ast.File(tuple(found)))

    @property
    def text(self) -> str:
        """The specification as `robspec fmt` lays it out."""
        return format_file(self.file)

    def __str__(self) -> str:
        return self.text

    def __add__(self, part: ast.Statement | str) -> Spec:
        """The same with a further statement."""
        return Spec(*self.file.statements, part)

    def with_data(self, *statements: ast.DataStatement, use: str | None = None) -> Spec:
        """The same on other data: what these statements say takes the place of what the data block says of it.

        Args:
            statements: of a data block; of the specification's own block only the name and `ignore` are kept.
            use: name of that block; by default the one that the specification says to `use`, or the first.
        """
        blocks = [s for s in self.file.statements if isinstance(s, ast.Data)]
        named = next((s.name.id for s in self.file.statements if isinstance(s, ast.Use)), None)
        own = next((d for d in blocks if d.name.id == (use or named)), blocks[0] if blocks else None)
        name = ast.Name("given") if own is None else own.name
        kept = () if own is None else tuple(s for s in own.statements if isinstance(s, ast.Ignore))
        block = ast.Data(name, (*statements, *kept))
        others = [_of_any_data(s) for s in self.file.statements if not isinstance(s, (ast.Data, ast.Use))]
        at = next((i + 1 for i, s in enumerate(others) if isinstance(s, ast.Model)), len(others))
        return Spec(*others[:at], block, *others[at:])


def _of_any_data(statement: ast.Statement) -> ast.Statement:
    """A property without what it says to `use`; anything else as it is."""
    if not isinstance(statement, ast.Property):
        return statement
    return replace(statement, statements=tuple(s for s in statement.statements if not isinstance(s, ast.Use)))


def _read(text: str) -> list[ast.Statement]:
    source = Source(text, "a part of Spec")
    parsed = parse(source)
    if parsed.diagnostics:
        raise SpecError(parsed.diagnostics, source)
    return [_plain(statement) for statement in parsed.file.statements]


def _plain(statement: ast.Statement) -> ast.Statement:
    """A statement without its place in a text that is no more."""
    return replace(statement, span=NOWHERE)
