"""Highlighting of specifications by Pygments, in documentation and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.token import (  # type: ignore[import-untyped]
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    String,
    Text,
)

from robspec.diagnostics import Source
from robspec.syntax.tokens import span_of, tokenise

_KINDS = {"NUMBER": Number, "STRING": String, "NAME": Name, "UNKNOWN": Error, "UNTERMINATED": Error}


class RspecLexer(Lexer):  # type: ignore[misc]
    """The language's own lexer, in the kinds of Pygments."""

    name = "robspec"
    aliases = ("rspec",)
    filenames = ("*.rspec",)

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        """List the places, kinds and texts of what a text is made of, blanks included."""
        tokens, comments = tokenise(Source(text))
        marked = [(c.span, Comment.Single) for c in comments]
        for token in tokens:
            kind = _KINDS.get(token.type, Keyword if token.isidentifier() else Operator)
            if str(token).strip():
                marked.append((span_of(token), kind))
        done = 0
        for span, kind in sorted(marked, key=lambda m: m[0]):
            if done < span.start:
                yield done, Text, text[done : span.start]
            yield span.start, kind, text[span.start : span.end]
            done = span.end
        if done < len(text):
            yield done, Text, text[done:]
