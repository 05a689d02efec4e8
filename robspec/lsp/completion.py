"""What can be written next: words of the language where the grammar takes them, and names where it takes names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robspec.lower import catalogue
from robspec.lsp.document import Document
from robspec.lsp.names import occurrences
from robspec.syntax.forms import DEFINITION, FORMS
from robspec.syntax.parse import accepted
from robspec.syntax.tokens import NEWLINE, grammar, span_of
from robspec.syntax.write import class_name

if TYPE_CHECKING:
    from lark import Token

_OPENED = {"MODEL": "model", "DETECTOR": "detector", "PRIVACY": "privacy", "DATA": "data", "PROPERTY": "property"}
_NAMED_MODEL = "claims of one model"
_CARRY_ON = {"COMMA", "AND", "OR"}
_NORMS = ("l1", "l2", "linf")
_VALUES = {"DEGRADED": ("h", "h0")}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One completion.

    Args:
        text: what is written.
        kind: "word", "param", "metric", "class" or "norm".
        detail: what it is, in a few words.
        more: a longer text, or empty.
    """

    text: str
    kind: str
    detail: str
    more: str = ""


def complete(document: Document, offset: int) -> tuple[Suggestion, ...]:
    """List what can stand at a place, the word that is being written there left out.

    Args:
        document: the specification, perhaps with mistakes before and behind the place.
        offset: of the character behind the place.

    Returns:
        Suggestions, each once: names before words.
    """
    before, block = _before(document, offset)
    if before is None or document.too_large:
        return ()
    terminals = accepted("model" if block == _NAMED_MODEL else block, before)
    if block == _NAMED_MODEL and not before:
        terminals &= {"LIPSCHITZ"}
    found = [*(_names(document, before) if "NAME" in terminals else ()), *_words(terminals, block, before)]
    return tuple({s.text: s for s in reversed(found)}.values())[::-1]


def _before(document: Document, offset: int) -> tuple[list[Token] | None, str]:
    """The tokens of the statement before a place, and the block it stands in; None inside text or a comment."""
    tokens, comments = document.tokens
    if any(c.span.start < offset <= c.span.end for c in comments):
        return None, ""
    statement: list[Token] = []
    block, depth = "", 0
    for token in tokens:
        span = span_of(token)
        if span.start >= offset or (span.end >= offset and (token.isidentifier() or token.type == "STRING")):
            return (None if token.type == "STRING" and span.start < offset < span.end else statement), block
        if token.type in ("UNTERMINATED",) and span.start < offset <= span.end:
            return None, block
        if token.type == "LBRACE":
            block = _OPENED.get(statement[0].type, block) if statement else block
            if [t.type for t in statement] == ["MODEL", "STRING"]:
                block = _NAMED_MODEL
        if token.type in ("LBRACE", "RBRACE"):
            block, statement, depth = ("" if token.type == "RBRACE" else block), [], 0
        elif token.type == NEWLINE:
            if not depth and (not statement or statement[-1].type not in _CARRY_ON):
                statement = []
        else:
            depth += (token.type in ("LPAR", "LSQB", "LCURLY")) - (token.type in ("RPAR", "RSQB", "RCURLY"))
            statement.append(token)
    return statement, block


def _words(terminals: frozenset[str], block: str, before: list[Token]) -> Iterator[Suggestion]:
    for terminal in sorted(terminals):
        text = str(grammar().get_terminal(terminal).pattern.value)
        if text.isidentifier() and terminal != "NAME":
            form = DEFINITION if not block and text == "metric" else FORMS.get(text, "")
            yield Suggestion(text, "word", "word of the language", "" if before else form)


def _names(document: Document, before: list[Token]) -> Iterator[Suggestion]:
    first = before[0].type if before else ""
    opening = _bracket(before)
    if (opening == "LSQB" and first not in ("INPUT", "NORMALIZE", "OUTPUT")) or first == "MAP":
        yield from _classes(document)
    elif first == "USE":
        for one in occurrences(document):
            if one.declares and one.symbol.kind == "data":
                yield Suggestion(one.symbol.name, "class", "a data set of this specification")
    elif first == "ATTACK":
        yield Suggestion("both", "class", "both sides are attacked")
        yield from _classes(document)
    elif first in ("NORM", "LIPSCHITZ"):
        yield from (Suggestion(norm, "norm", "a norm") for norm in _NORMS)
    elif before and before[-1].type in ("METRIC", "POOLED", "WEIGHTED") and first != "PARAM":
        yield from _metrics(document)
    elif first in ("PARAM", "BUDGET", "DEGRADED", "REQUIRE", "METRIC", "IGNORE", "INPUT", "NORMALIZE", "EPSILON"):
        yield from (Suggestion(name, "param", "the metric's value") for name in _VALUES.get(first, ()))
        for one in occurrences(document):
            if one.declares and one.symbol.kind == "param":
                value = document.spec.param_value(one.symbol.name)
                yield Suggestion(one.symbol.name, "param", f"param{'' if value is None else f' = {value}'}")
        if first in ("DEGRADED", "METRIC"):
            yield from _metrics(document)


def _bracket(before: list[Token]) -> str:
    """The innermost bracket that is open."""
    opened: list[str] = []
    for token in before:
        if token.type in ("LPAR", "LSQB"):
            opened.append(token.type)
        elif token.type in ("RPAR", "RSQB") and opened:
            opened.pop()
    return opened[-1] if opened else ""


def _classes(document: Document) -> Iterator[Suggestion]:
    for index, name in enumerate(document.spec.classes or ()):
        from robspec.syntax.ast import ClassName

        yield Suggestion(class_name(ClassName(name)), "class", f"class {index}")


def _metrics(document: Document) -> Iterator[Suggestion]:
    for one in occurrences(document):
        if one.declares and one.symbol.kind == "metric":
            yield Suggestion(one.symbol.name, "metric", "a metric of this specification")
    for info in catalogue.entries():
        yield Suggestion(info.name, "metric", catalogue.use(info), info.summary)
