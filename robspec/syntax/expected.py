"""Syntax errors in words: what was found, what could have stood there, how the statement reads."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robspec.diagnostics import Diagnostic, Severity, Span, nearest
from robspec.syntax.forms import DEFINITION, FORMS, SWEEPS
from robspec.syntax.tokens import END, NEWLINE, grammar, span_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from lark import Token

_VALUE = {"NUMBER", "NAME", "LPAR", "MINUS", "CLEAN", "POOLED", "WEIGHTED"}
_OPERATORS = {"PLUS", "MINUS", "TIMES", "OVER"}
_WORDS = {
    "LCURLY": "`{`",
    "RCURLY": "`}`",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a quoted text",
    NEWLINE: "the end of the line",
    "LE": "`<=`",
    "GE": "`>=`",
    "LT": "`<`",
    "GT": "`>`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "TIMES": "`*`",
    "OVER": "`/`",
}
_MISTAKES = {
    "'": "quote with \", not with '",
    ";": "a statement ends with its line; leave out the `;`",
    ":": "leave out the `:`",
    ".": "a decimal starts with a digit: 0.5, not .5",
}


def word(terminal: str) -> str:
    """A terminal of the grammar the way a message names it."""
    if terminal in _WORDS:
        return _WORDS[terminal]
    return f"`{grammar().get_terminal(terminal).pattern.value}`"


def listed(words: list[str]) -> str:
    """Join words as in a sentence: a, b or c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _expected(accepted: Set[str]) -> str:
    rest = set(accepted) - {END, "EQ", "NE"}
    words = []
    if rest >= _VALUE:
        words.append("a value")
        rest -= _VALUE
    elif rest >= _OPERATORS and len(rest) > len(_OPERATORS):
        rest -= _OPERATORS | {"LPAR", "LSQB", "IN"}
    words.extend(sorted((word(t) for t in rest), key=lambda w: (w.startswith("`"), w)))
    return listed(words) if words else "nothing more"


def _found(token: Token) -> str:
    if token.type == NEWLINE:
        return "the end of the line" if len(token) else "the end of the statement"
    text = str(token)
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token could not stand.

    Args:
        first: the first token of its statement, or the token itself.
        fed: the tokens of the statement before it.
        accepted: the terminals that could have stood there.
        earlier: those that could have stood in the place of the last of `fed`.
        top: whether the statement stands in no block.
    """

    first: Token
    fed: Sequence[Token]
    accepted: Set[str]
    earlier: Set[str]
    top: bool


def _form(place: Place) -> str:
    first = str(place.first)
    if any(token.type == "TO" for token in place.fed) and first in SWEEPS:
        return f"a sweep reads like this: `{SWEEPS[first]}`"
    form = DEFINITION if place.top and first == "metric" else FORMS.get(first)
    return f"it reads like this: `{form}`" if form else ""


def _misspelt(token: Token, place: Place) -> str:
    """The keyword that a name was meant for, here or just before; empty for none."""
    near = nearest(token, _keywords(place.accepted)) if token.type == "NAME" else None
    if near:
        return f"did you mean `{near}`?"
    last = place.fed[-1]
    near = nearest(last, _keywords(place.earlier)) if last.type == "NAME" else None
    return f"did you mean `{near}` for `{last}`?" if near else ""


def _keywords(terminals: Set[str]) -> list[str]:
    texts = [grammar().get_terminal(t).pattern.value for t in terminals - {END, "NAME"}]
    return [text for text in texts if text.isidentifier()]


def _bad_start(token: Token, accepted: Set[str], homes: Mapping[str, Set[str]]) -> tuple[str, str]:
    """A statement that starts with the wrong word."""
    allowed = sorted(grammar().get_terminal(t).pattern.value for t in accepted - {END, "RBRACE"})
    if token.type == "NAME":
        near = nearest(token, allowed)
        mend = f"did you mean `{near}`?" if near else f"a statement here starts with {listed(allowed)}"
        return f"no statement starts with `{token}`", mend
    home = next((kind for kind, members in homes.items() if token.type in members), None)
    if home is not None:
        return f"`{token}` cannot stand here", f"move it into a `{home}` block"
    if token.type in {"PARAM", "LANGUAGE"}:
        return f"`{token}` cannot stand in a block", "move it before the block"
    return f"expected a statement, found {_found(token)}", f"a statement here starts with {listed(allowed)}"


def _bad_inside(token: Token, place: Place) -> tuple[str, str]:
    """A statement that goes wrong behind its first word."""
    first, accepted, form = place.first, place.accepted, _form(place)
    message = f"expected {_expected(accepted)}, found {_found(token)}"
    if "NAME" in accepted and token.isidentifier() and token.type != "NAME":
        quoted = f', or quote it: "{token}"' if "STRING" in accepted else ""
        return message, f"`{token}` is a word of the language; choose another name{quoted}"
    if token.type == "EQUAL" and first.type != "PARAM" and not (place.top and first.type == "METRIC"):
        return message, f"leave out the `=`; {form}"
    if str(token) == "%":
        return message, "a share is a decimal here: 0.95, not 95%"
    if "RPAR" in accepted and not accepted & {"COMMA"}:
        return message, f"close the `(` before this; {form}".removesuffix("; ")
    if token.type in {"LE", "LT", "GE", "GT", "EQ", "NE"} and first.type == "DEGRADED":
        return message, "write one comparison at a time and join them with `and`"
    return message, _misspelt(token, place) or form


def explain(token: Token, place: Place, homes: Mapping[str, Set[str]]) -> Diagnostic:
    """Put a syntax error into words.

    Args:
        token: the one that could not stand where it stands.
        place: where it stands.
        homes: for each kind of block, the terminals its statements start with.

    Returns:
        An error with code E0001, or E0002 for text that is no token at all.
    """
    span = span_of(token)
    code = "E0001"
    if token.type == "UNTERMINATED":
        code, message, mend = "E0002", "a quoted text is not closed", 'close it with a " on the same line'
    elif token.type == "UNKNOWN" and len(token) > 1:
        hidden = next(c for c in token if not c.isprintable())
        code, message = "E0002", f"a quoted text holds a character that cannot be shown, U+{ord(hidden):04X}"
        mend = "remove it; a path or name must look like what it is"
    elif token.type == "UNKNOWN":
        code = "E0002"
        name = unicodedata.name(token, "no name").lower()
        shown = f"`{token}`" if token.isascii() and token.isprintable() else f"U+{ord(token):04X}"
        message = f"{shown} ({name}) has no meaning here"
        mend = _MISTAKES.get(str(token), "remove it")
    elif token is place.first:
        message, mend = _bad_start(token, place.accepted, homes)
    else:
        message, mend = _bad_inside(token, place)
    return Diagnostic(code, Severity.ERROR, span, message, mend)


def unclosed(opening: Token, at: Span, line: int) -> Diagnostic:
    """A block whose `}` is missing, noticed at a later place."""
    message = f"the `{opening}` block opened on line {line} is not closed"
    return Diagnostic("E0004", Severity.ERROR, at, message, "put a `}` on a line of its own before this")
