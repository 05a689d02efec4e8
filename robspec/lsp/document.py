"""One specification as an editor has it open: text, tree, program, and places in the editor's own units."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from robspec import checks
from robspec.diagnostics import Diagnostic, Severity, Source, Span
from robspec.lower import compile_source
from robspec.syntax import Parsed, parse
from robspec.syntax.source import MAX_BYTES
from robspec.syntax.tokens import tokenise

if TYPE_CHECKING:
    from lark import Token

    from robspec.ir.types import Program
    from robspec.syntax.ast import Comment

Place = tuple[int, int]
"""A line and a character in it, both counted from 0, characters in UTF-16 code units as the protocol has them."""


class Document:
    """Everything that is known of one text, found out when it is first asked for.

    Args:
        text: of any length; of more than 1 MiB nothing is known but that.
        name: where it is.
    """

    def __init__(self, text: str, name: str = "<editor>") -> None:
        self.too_large = len(text.encode("utf-8", "replace")) > MAX_BYTES
        self.source = Source("" if self.too_large else text, name)

    @property
    def text(self) -> str:
        """The text."""
        return self.source.text

    @cached_property
    def parsed(self) -> Parsed:
        """The tree of what could be read."""
        return parse(self.source)

    @cached_property
    def spec(self) -> checks.Spec:
        """The tree with its names resolved."""
        return checks.Spec(self.parsed.file)

    @cached_property
    def compiled(self) -> tuple[Program | None, tuple[Diagnostic, ...]]:
        """The program, None where there is an error, and what is wrong or doubtful."""
        if self.too_large:
            message = "a specification of more than 1 MiB is not read"
            return None, (Diagnostic("E0012", Severity.ERROR, Span(0, 0), message, "shorten it"),)
        return compile_source(self.source)

    @cached_property
    def tokens(self) -> tuple[list[Token], tuple[Comment, ...]]:
        """The tokens, and the comments."""
        return tokenise(self.source)

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def place(self, offset: int) -> Place:
        """Say where a character is."""
        line = self.source.line(offset) - 1
        before = self.text[self.source.line_start(line + 1) : offset]
        return line, len(before.encode("utf-16-le", "surrogatepass")) // 2

    def offset(self, place: Place) -> int:
        """Find the character at a place; the nearest one where there is none."""
        line, units = place
        if line < 0 or line >= len(self._lines):
            return 0 if line < 0 else len(self.text)
        found = self.source.line_start(line + 1)
        for character in self._lines[line]:
            if units <= 0:
                break
            units -= 2 if ord(character) > 0xFFFF else 1
            found += 1
        return found
