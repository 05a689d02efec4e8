"""Where something is written: a source text and half-open ranges of its characters."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open range of characters of one source text.

    Args:
        start: offset of the first character.
        end: offset behind the last character, at least `start`.
    """

    start: int
    end: int

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset < self.end


NOWHERE = Span(0, 0)


@dataclass(frozen=True)
class Source:
    """A specification's text and the name it is reported under.

    Args:
        text: the text, decoded, without byte order mark.
        name: the path as the user wrote it, or `<stdin>`.
    """

    text: str = field(repr=False)
    name: str = "<spec>"

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        return starts

    def line(self, offset: int) -> int:
        """The line of an offset, counted from 1."""
        return bisect.bisect_right(self._starts, offset)

    def column(self, offset: int) -> int:
        """The column of an offset in characters, counted from 1."""
        return offset - self._starts[self.line(offset) - 1] + 1

    def line_text(self, line: int) -> str:
        """One line without its line ending; `line` counts from 1."""
        start = self._starts[line - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].removesuffix("\r")

    def line_start(self, line: int) -> int:
        """The offset of a line's first character; `line` counts from 1."""
        return self._starts[line - 1]
