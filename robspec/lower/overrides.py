"""`--set name=value`: exact replacements of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from robspec.diagnostics import did_you_mean
from robspec.lower.errors import BadOverride
from robspec.syntax.parse import MAX_DIGITS, MAX_EXPONENT

_DECIMAL = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?"
_VALUE = re.compile(rf"(-?{_DECIMAL})(?:\s*/\s*({_DECIMAL}))?", re.ASCII)


def parse_overrides(items: Iterable[str]) -> dict[str, Fraction]:
    """Read the values of repeated `--set` options.

    Args:
        items: each `name=value`, the value a decimal or a quotient of two, as in `eps=8/255`.

    Returns:
        Exact values by name; a repeated name has its last one.

    Raises:
        BadOverride: E0013, not of that form.
    """
    found: dict[str, Fraction] = {}
    for item in items:
        name, equals, text = item.partition("=")
        where = f"--set {item[:MAX_DIGITS]}"
        if not equals or not name.strip():
            raise BadOverride(where, "an override reads name=value", "write it like `--set eps=0.2`")
        found[name.strip()] = _value(text.strip(), where)
    return found


def _value(text: str, where: str) -> Fraction:
    match = _VALUE.fullmatch(text) if len(text) <= MAX_DIGITS else None
    if match is None:
        raise BadOverride(where, "the value is not a finite decimal", "write a decimal such as 0.2, or 8/255")
    for part in match.groups():
        exponent = re.search(r"[eE]([+-]?[0-9]+)$", part or "")
        if exponent is not None and abs(int(exponent[1])) > MAX_EXPONENT:
            raise BadOverride(where, f"the value is beyond 1e{MAX_EXPONENT}", "write a number of usual size")
    numerator = Fraction(match[1])
    denominator = Fraction(match[2] or 1)
    if denominator == 0:
        raise BadOverride(where, "the value divides by zero", "write a decimal such as 0.2, or 8/255")
    return numerator / denominator


def require_known(overrides: Mapping[str, Fraction], declared: Iterable[str]) -> None:
    """Refuse an override of a parameter that the specification does not declare.

    Raises:
        BadOverride: E0013, with the nearest declared name.
    """
    names = list(declared)
    for name in overrides:
        if name not in names:
            otherwise = f"declare it: `param {name} = ...`" if name.isidentifier() else "use a declared name"
            mend = did_you_mean(name, names, otherwise)
            raise BadOverride(f"--set {name}=...", f"the specification has no param `{name}`", mend)


def require_data(use: str | None, declared: Iterable[str], *, asked: int) -> None:
    """Refuse a data block that the specification does not have, or that none of its properties is about.

    Args:
        use: its name, or None where none is asked for.
        declared: the blocks.
        asked: how many properties are about it.

    Raises:
        BadOverride: E0013, with the nearest declared name.
    """
    if use is None:
        return
    names, where = list(dict.fromkeys(declared)), f"--use {use[:MAX_DIGITS]}"
    if use not in names:
        mend = did_you_mean(use, names, f"choose among {', '.join(names[:8])}" if names else "declare it")
        raise BadOverride(where, f"the specification has no data block `{use[:MAX_DIGITS]}`", mend)
    if not asked:
        mend = "choose the block that a property says to `use`, or leave --use out"
        raise BadOverride(where, f"no property is about `{use[:MAX_DIGITS]}`: each says to `use` another block", mend)
