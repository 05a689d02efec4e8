"""Symbolic sizes: a grammar of integers, symbols, sums and products, written anew before torch parses it."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from robspec.models import strict

SYMBOL = re.compile(r"s\d{1,9}", re.ASCII)
_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z]\w{0,20})|(?P<number>-?\d{1,18})|(?P<mark>[(),=]|'))", re.ASCII)
_DEPTH = 8
_LENGTH = 600


class _Expression:
    """A recursive-descent reader over the printed form of sympy's srepr."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self._refuse()
            self._tokens.append(found[0].strip())
            at = found.end()
        self._at = 0

    def read(self) -> str:
        """The whole text, rewritten from its parts."""
        result = self._term(0)
        if self._at != len(self._tokens):
            self._refuse()
        return result

    def _term(self, depth: int) -> str:
        if depth > _DEPTH:
            self._refuse()
        head = self._next()
        if SYMBOL.fullmatch(head) or re.fullmatch(r"-?\d+", head):
            return head
        if head == "Integer":
            self._take("(")
            value = self._next()
            if not re.fullmatch(r"-?\d+", value):
                self._refuse()
            self._take(")")
            return f"Integer({value})"
        if head == "Symbol":
            return self._symbol()
        if head not in ("Add", "Mul"):
            self._refuse()
        self._take("(")
        parts = [self._term(depth + 1)]
        while self._peek() == ",":
            self._take(",")
            parts.append(self._term(depth + 1))
        self._take(")")
        return f"{head}({', '.join(parts)})"

    def _symbol(self) -> str:
        self._take("(")
        self._take("'")
        word = self._next()
        if not SYMBOL.fullmatch(word):
            self._refuse()
        self._take("'")
        assumptions = []
        while self._peek() == ",":
            self._take(",")
            assumption = self._next()
            self._take("=")
            if assumption not in ("positive", "integer", "nonnegative") or self._next() != "True":
                self._refuse()
            assumptions.append(f", {assumption}=True")
        self._take(")")
        return f"Symbol('{word}'{''.join(assumptions)})"

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            self._refuse()
        self._at += 1
        return token

    def _take(self, token: str) -> None:
        if self._next() != token:
            self._refuse()

    def _refuse(self) -> NoReturn:
        strict.unsafe(
            self._where,
            f"the symbolic expression {self._text[:80]!r} would be evaluated as Python, and is more than "
            "integers, symbols, sums and products",
        )


def expression(value: Any, where: str) -> str:
    """Check a symbolic expression and write it anew.

    Args:
        value: what the archive holds.
        where: the record, for the error.

    Returns:
        An equal expression made of `Integer`, `Symbol`, `Add`, `Mul`, integers and symbol names only.

    Raises:
        UnsafeArchive: E0207, anything else.
    """
    if not isinstance(value, str) or len(value) > _LENGTH:
        strict.unsafe(where, f"a symbolic expression is not text of at most {_LENGTH} characters")
    return _Expression(value, where).read()


def size(value: Any, where: str) -> dict[str, Any]:
    """Check one symbolic integer: a number, or an expression with its hint."""
    tag, inner = strict.union(value, where)
    if tag == "as_int":
        return {"as_int": strict.integer(inner, where)}
    if tag != "as_expr":
        strict.wrong(where, f"{tag} is not an integer")
    fields = strict.mapping(inner, where)
    hint = fields.get("hint")
    if hint is not None:
        kind, number = strict.union(hint, where)
        if kind != "as_int":
            strict.wrong(where, f"the hint {kind} is not an integer")
        hint = {"as_int": strict.integer(number, where)}
    return {"as_expr": {"expr_str": expression(fields.get("expr_str"), where), "hint": hint}}


def ranges(value: Any, where: str) -> dict[str, Any]:
    """Check the range of each symbol."""
    checked = {}
    for symbol, bounds in strict.mapping(value, where).items():
        if not SYMBOL.fullmatch(symbol):
            strict.unsafe(where, f"the range is of {symbol[:80]!r}, which is not a symbol")
        fields = strict.mapping(bounds, where)
        checked[symbol] = {
            end: None if fields.get(end) is None else strict.integer(fields[end], where)
            for end in ("min_val", "max_val")
        }
    return checked
