"""Symbolic sizes: integers, symbols, sums, products and extremes, written anew before torch parses them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from robspec.models import strict

SYMBOL = re.compile(r"s\d{1,9}", re.ASCII)
_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z]\w{0,20})|(?P<number>-?\d{1,18})|(?P<mark>[(),=]|'))", re.ASCII)
_MULTIPLE = re.compile(r"\d{1,9}\*s\d{1,9}(?: [+-] \d{1,9})?", re.ASCII)
_DEPTH = 8
_DEEPER = 64
"""Where sides of the images are replaced by numbers, and what is left is no longer than before."""
_LENGTH = 600
_EXACT: dict[str, tuple[int, Callable[[list[int]], int]]] = {
    "Add": (0, sum),
    "Mul": (0, math.prod),
    "FloorDiv": (2, lambda n: n[0] // n[1]),
    "Mod": (2, lambda n: n[0] % n[1]),
    "PythonMod": (2, lambda n: n[0] % n[1]),
    "Max": (0, max),
    "Min": (0, min),
}
"""What is computed of known sizes: how many numbers it takes, 0 for any, and how."""


class _Expression:
    """A recursive-descent reader over the printed form of sympy's srepr."""

    def __init__(self, text: str, where: str, known: Mapping[str, int]) -> None:
        self._where = where
        self._known = known
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

    def read(self) -> str | int:
        """The whole text, rewritten from its parts; a number where all its symbols are known."""
        result = self._term(0)
        if self._at != len(self._tokens):
            self._refuse()
        return result

    def _term(self, depth: int) -> str | int:
        if depth > (_DEEPER if self._known else _DEPTH):
            self._refuse()
        head = self._next()
        if SYMBOL.fullmatch(head):
            return self._known.get(head, head)
        if re.fullmatch(r"-?\d+", head):
            return int(head)
        if head == "Integer":
            self._take("(")
            value = self._next()
            if not re.fullmatch(r"-?\d+", value):
                self._refuse()
            self._take(")")
            return int(value)
        if head == "Symbol":
            return self._symbol()
        if head not in _EXACT:
            self._refuse()
        self._take("(")
        parts = [self._term(depth + 1)]
        while self._peek() == ",":
            self._take(",")
            parts.append(self._term(depth + 1))
        self._take(")")
        numbers = [part for part in parts if isinstance(part, int)]
        if len(numbers) == len(parts) and self._known:
            return self._computed(head, numbers)
        if head not in ("Add", "Mul", "Max", "Min"):
            self._refuse()
        return f"{head}({', '.join(_written(part) for part in parts)})"

    def _computed(self, head: str, numbers: list[int]) -> int:
        """Compute what is made of known sizes alone."""
        count, function = _EXACT[head]
        if (count and len(numbers) != count) or (head in ("FloorDiv", "Mod", "PythonMod") and numbers[1] == 0):
            self._refuse()
        result = function(numbers)
        if abs(result) >= 1 << 62:
            self._refuse()
        return result

    def _symbol(self) -> str | int:
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
        if word in self._known:
            return self._known[word]
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


def _written(part: str | int) -> str:
    return f"Integer({part})" if isinstance(part, int) else part


def expression(value: Any, where: str, known: Mapping[str, int] = MappingProxyType({})) -> str | int:
    """Check a symbolic expression and write it anew.

    Args:
        value: what the archive holds.
        where: the record, for the error.
        known: numbers to put in place of symbols.

    Returns:
        An equal expression made of `Integer`, `Symbol`, `Add`, `Mul`, `Max`, `Min` and symbol names; a number where
        it holds no symbol.

    Raises:
        UnsafeArchive: E0207, anything else.
    """
    most = 8 * _LENGTH if known else _LENGTH
    if not isinstance(value, str) or len(value) > most:
        strict.unsafe(where, f"a symbolic expression is not text of at most {most} characters")
    return _Expression(value, where, known).read()


def size(value: Any, where: str, known: Mapping[str, int] = MappingProxyType({})) -> dict[str, Any]:
    """Check one symbolic integer: a number, or an expression with its hint, known symbols replaced."""
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
    text = expression(fields.get("expr_str"), where, known)
    if isinstance(text, int):
        return {"as_int": text}
    return {"as_expr": {"expr_str": text, "hint": hint}}


def ranges(value: Any, where: str, known: Mapping[str, int] = MappingProxyType({})) -> dict[str, Any]:
    """Check the range of each symbol; those of known ones, and of their multiples, are left out."""
    checked = {}
    for symbol, bounds in strict.mapping(value, where).items():
        if symbol in known or (known and _MULTIPLE.fullmatch(symbol)):
            continue
        if not SYMBOL.fullmatch(symbol):
            strict.unsafe(where, f"the range is of {symbol[:80]!r}, which is not a symbol")
        fields = strict.mapping(bounds, where)
        checked[symbol] = {
            end: None if fields.get(end) is None else strict.integer(fields[end], where)
            for end in ("min_val", "max_val")
        }
    return checked
