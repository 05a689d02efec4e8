"""Semantic tokens: which words are of the language, and what each name is."""

from __future__ import annotations

from robspec.lsp.document import Document
from robspec.lsp.names import occurrences
from robspec.syntax.tokens import NEWLINE, span_of

TYPES = ("keyword", "variable", "function", "enumMember", "property", "parameter", "number", "string", "comment")
"""The legend; the names are those of the protocol."""
_KINDS = {
    "param": "variable",
    "metric": "function",
    "built-in": "function",
    "class": "enumMember",
    "property": "property",
    "data": "property",
    "argument": "parameter",
}


def encode(document: Document) -> list[int]:
    """Write the tokens as the protocol wants them: five numbers each, places relative to the token before.

    Args:
        document: the specification.

    Returns:
        Line and character from the token before, length in UTF-16 code units, type, and no modifiers.
    """
    if document.too_large:
        return []
    named = {o.span: _KINDS[o.symbol.kind] for o in occurrences(document)}
    tokens, comments = document.tokens
    marked = [(c.span, "comment") for c in comments]
    for token in tokens:
        span = span_of(token)
        if span in named:
            marked.append((span, named[span]))
        elif token.type in ("NUMBER", "STRING"):
            marked.append((span, token.type.lower()))
        elif token.type not in ("NAME", NEWLINE, "UNKNOWN", "UNTERMINATED") and token.isidentifier():
            marked.append((span, "keyword"))
    found: list[int] = []
    line = character = 0
    for span, kind in sorted(marked):
        (row, start), (end_row, end) = document.place(span.start), document.place(span.end)
        if row != end_row:
            continue
        found += [row - line, start - (character if row == line else 0), end - start, TYPES.index(kind), 0]
        line, character = row, start
    return found
