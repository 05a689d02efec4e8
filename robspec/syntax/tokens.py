"""The tokens of a specification, ASCII spellings filled in, comments set apart."""

from __future__ import annotations

import importlib.resources
from functools import lru_cache
from typing import TYPE_CHECKING

from robspec.diagnostics import Source, Span
from robspec.syntax.ast import Comment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark import Lark, Token

NEWLINE = "_NEWLINE"
END = "$END"
MAX_TOKENS = 100_000
_LETTERS = str.maketrans(
    {
        "ε": "eps",
        "ϵ": "eps",
        "κ": "kappa",
        "γ": "gamma",
        "ℓ": "l",
        "∞": "inf",
        "₁": "1",
        "₂": "2",
    }
)
_SIGNS = {"≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "×": "*", "·": "*"}

_STARTING = ""
_STARTS = (
    *("ANNOTATION", "LABELS", "ATTACK", "USE", "PAIRS", "LAYOUT", "MAP", "CROP", "RESIZE"),
    *("DETECTOR", "PRIVACY", "OBJECTS", "THRESHOLD", "NMS", "MATCH", "BOXES", "STRIDES", "LIMIT"),
)
_LATER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_STARTS, ()),
    "BY": ("LABELS", "RSQB", _STARTING),
    "FOLDER": ("BY",),
    "SPLIT": ("STRING",),
    "AT": ("RSQB",),
    "EPSILON": (),
    "DELTA": ("AT",),
    "OTHERS": ("MAP", "COMMA"),
    "IGNORED": ("TO",),
    "COLOUR": ("MAP", "COMMA"),
    "SIGMOID": ("THRESHOLD",),
    "SCORE": ("THRESHOLD",),
}
"""Words of the language that came later, each with the tokens it follows; none, or an empty one, for the start of a
statement."""
_OF_MAP = {"OTHERS", "IGNORED", "COLOUR"}
"""Those that are words only in a `map`."""
_OF_PRIVACY = {"EPSILON", "DELTA"}
"""Those that are words only in a `privacy` block, where also `at` follows a value."""
_VALUE_ENDS = {"NUMBER", "NAME", "RPAR"}
_CARRY_ON = {"COMMA", "AND", "OR"}


class _KeepErrorTokens:
    """Lark drops terminals that no rule uses unless a post-lexer asks for them."""

    always_accept = ("UNTERMINATED", "UNKNOWN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The compiled grammar, built once per process."""
    from lark import Lark

    text = importlib.resources.files("robspec.grammars").joinpath("rspec.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        lexer="basic",
        start="file",
        propagate_positions=True,
        maybe_placeholders=True,
        postlex=_KeepErrorTokens(),
    )


def span_of(token: Token) -> Span:
    """The characters a token covers."""
    start = token.start_pos or 0
    end = token.end_pos if token.end_pos is not None else start + len(token)
    return Span(start, end)


def tokenise(source: Source) -> tuple[list[Token], tuple[Comment, ...]]:
    """Split a text into tokens, never failing: stray characters become UNKNOWN or UNTERMINATED tokens.

    Args:
        source: the text.

    Returns:
        The tokens without blanks, every line ending a _NEWLINE, at most MAX_TOKENS and one; and the comments.
    """
    from lark import Token

    tokens: list[Token] = []
    comments: list[Comment] = []
    in_map, in_settings, in_privacy, behind, last = False, False, False, 0, ""
    for token in grammar().lex(source.text, dont_ignore=True):
        if len(tokens) > MAX_TOKENS or len(comments) > MAX_TOKENS:
            break
        if (token.start_pos or 0) < behind:
            continue
        if tokens and tokens[-1].type != NEWLINE:
            last = tokens[-1].type
            in_map = last == "MAP" or (in_map and last not in ("LBRACE", "RBRACE"))
            in_privacy = last == "PRIVACY" or (in_privacy and last != "RBRACE")
        elif tokens and last not in _CARRY_ON:
            in_map = False
        if in_settings and tokens[-1].type == NEWLINE and token.type != "NAME" and token.isidentifier():
            # A word of the language at the start of a line: whoever wrote it had closed the settings in mind.
            in_settings = token.type in _LATER and not _is_wanted(token, tokens, last)
        if token.type == "COLOUR" and not (in_map and _is_wanted(token, tokens, last)):
            # No colour here: the comment that starts so, to the end of its line.
            start = token.start_pos or 0
            behind = source.text.find("\n", start)
            behind = len(source.text) if behind < 0 else behind
            comments.append(Comment(source.text[start:behind].rstrip(), Span(start, behind)))
        elif token.type == "COMMENT":
            comments.append(Comment(str(token).rstrip(), span_of(token)))
        elif token.type == "NAME" and not token.isascii():
            tokens.append(Token.new_borrow_pos("NAME", str(token).translate(_LETTERS), token))
        elif token.type == "STRING" and not token.isprintable():
            tokens.append(Token.new_borrow_pos("UNKNOWN", str(token), token))
        elif token in _SIGNS:
            tokens.append(Token.new_borrow_pos(token.type, _SIGNS[str(token)], token))
        elif token.type == "AT" and in_privacy and last in _VALUE_ENDS:
            tokens.append(token)
        elif token.type in _LATER and not (
            _is_wanted(token, tokens, last)
            and (in_map or token.type not in _OF_MAP)
            and (in_privacy or token.type not in _OF_PRIVACY)
        ):
            tokens.append(Token.new_borrow_pos("NAME", str(token), token))
        elif token.type == "LBRACE" and [t.type for t in tokens[-2:]] == ["BY", "NAME"]:
            tokens.append(Token.new_borrow_pos("LCURLY", str(token), token))
            in_settings = True
        elif token.type == "RBRACE" and in_settings:
            tokens.append(Token.new_borrow_pos("RCURLY", str(token), token))
            in_settings = False
        elif token.type != "SPACE":
            tokens.append(token)
    return tokens, tuple(comments)


def _is_wanted(token: Token, before: list[Token], last: str) -> bool:
    """Whether a later word stands where a statement wants it; elsewhere it is a name.

    `last` is the type of the last token before it that is no newline.
    """
    follows = _LATER[token.type]
    if follows and _STARTING not in follows:
        return bool(before) and (last if token.type in _OF_MAP else before[-1].type) in follows
    if before and before[-1].type in follows:
        return True
    if not before or before[-1].type == "LBRACE":
        return True
    return before[-1].type == NEWLINE and last not in _CARRY_ON


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    from lark.lexer import PatternStr

    return frozenset(t.pattern.value for t in grammar().terminals if isinstance(t.pattern, PatternStr))


def is_plain_name(text: str) -> bool:
    """Whether a text is read as a name: letters, digits, `_`, ASCII, and no word of the language."""
    return text.isascii() and text.isidentifier() and text not in _words()
