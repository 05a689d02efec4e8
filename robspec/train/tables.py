"""TOML tables read into dataclasses: every key known, every value of its kind and within its range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from robspec.diagnostics.suggest import did_you_mean
from robspec.train.errors import ConfigKey, ConfigValue

_T = TypeVar("_T")
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key may be.

    Args:
        kind: "integer", "number", "exact", "text", "boolean", or one of the first four in a list.
        low: smallest value, or None.
        high: largest value, or None.
        above: True where `low` itself is excluded.
        many: a list of these.
        length: how long the list must be, or None.
        choices: the texts allowed; empty for any.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    many: bool = False
    length: int | None = None
    choices: tuple[str, ...] = ()


def rule(kind: str, default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """Declare a field of a section with what it may be; without a default it must be given."""
    return dataclasses.field(default=default, metadata={"rule": Rule(kind, **options)})


def read_table(cls: type[_T], table: object, section: str, where: str, gone: Mapping[str, str] | None = None) -> _T:
    """Read one section.

    Args:
        cls: a dataclass whose fields are declared with `rule`.
        table: what TOML gave for it.
        section: its name.
        where: the file, for errors.
        gone: the mend of keys that are no longer known.

    Returns:
        The dataclass.

    Raises:
        ConfigKey: E0702.
        ConfigValue: E0703.
    """
    if not isinstance(table, Mapping):
        raise ConfigValue(where, f"`{section}` is not a section", f"write it as [{section}] and keys below it")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            otherwise = f"[{section}] takes {', '.join(fields)}"
            mend = (gone or {}).get(key) or did_you_mean(key, fields, otherwise)
            raise ConfigKey(where, f"[{section}] has no key `{key[:60]}`", mend)
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(table[name], field.metadata["rule"], f"{section}.{name}", where)
        elif field.default is dataclasses.MISSING:
            raise ConfigKey(where, f"[{section}] lacks the key `{name}`", "add it")
    return cls(**values)


def _value(given: object, rule: Rule, name: str, where: str) -> Any:
    if not rule.many:
        return _single(given, rule, name, where)
    if not isinstance(given, list) or len(given) > _LONGEST:
        raise ConfigValue(where, f"`{name}` is {_shown(given)}", f"write a list: [{_wanted(rule)}, ...]")
    if rule.length is not None and len(given) != rule.length:
        raise ConfigValue(where, f"`{name}` has {len(given)} entries", f"give {rule.length}")
    return tuple(_single(item, rule, name, where) for item in given)


def _single(given: object, rule: Rule, name: str, where: str) -> Any:
    found = _converted(given, rule.kind)
    if found is None:
        raise ConfigValue(where, f"`{name}` is {_shown(given)}", f"it must be {_wanted(rule)}")
    if rule.choices and found not in rule.choices:
        listed = f"it must be {_wanted(rule)}"
        raise ConfigValue(where, f"`{name}` is {_shown(given)}", did_you_mean(str(found), rule.choices, listed))
    low = rule.low is not None and (found < rule.low or (rule.above and found == rule.low))
    if low or (rule.high is not None and found > rule.high):
        raise ConfigValue(where, f"`{name}` is {_shown(given)}", f"it must be {_wanted(rule)}")
    return found


def _converted(given: object, kind: str) -> Any:
    """The value in its kind, None where it is of another."""
    if kind == "boolean":
        return given if isinstance(given, bool) else None
    if isinstance(given, bool):
        return None
    if kind == "text":
        return given if isinstance(given, str) and len(given) <= _LONGEST and given.isprintable() else None
    if kind == "integer":
        return given if isinstance(given, int) else None
    if not isinstance(given, int | Decimal) or not Decimal(given).is_finite() or abs(Decimal(given)) > 10**12:
        return None
    if isinstance(given, Decimal) and -given.as_tuple().exponent > 30:  # type: ignore[operator]
        return None
    return Fraction(given) if kind == "exact" else float(given)


def _shown(given: object) -> str:
    return repr(str(given) if isinstance(given, Decimal) else given)[:60]


def _wanted(rule: Rule) -> str:
    if rule.choices:
        return "one of " + ", ".join(rule.choices)
    words = {"integer": "an integer", "number": "a number", "exact": "a number", "text": "text in quotes"}
    text = words.get(rule.kind, "true or false")
    if rule.low is not None:
        text += f" above {rule.low:g}" if rule.above else f" of at least {rule.low:g}"
    if rule.high is not None:
        text += f"{' and' if rule.low is not None else ''} at most {rule.high:g}"
    return text
