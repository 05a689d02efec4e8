"""What two runs have in common, and what of it differs: so that one goes on with the other, or says why not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

VALUES = "values"
"""The entry that explains another: the configuration's values, as JSON. What decides is its digest."""
_SHOWN, _LONG = 6, 60


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Name what differs between two runs; empty where one may go on with the other.

    Args:
        ours: digests and texts by what they are of.
        theirs: of the run that left something behind.
    """
    names = sorted((ours.keys() | theirs.keys()) - {VALUES})
    return [_told(name, ours, theirs) for name in names if ours.get(name) != theirs.get(name)]


def _told(name: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    key = VALUES if name == "configuration" else name
    now, before = _table(ours.get(key)), _table(theirs.get(key))
    if now is None or before is None:
        return name
    found = [
        f"{part} was {_shown(before.get(part))} and is {_shown(now.get(part))}"
        for part in sorted(now.keys() | before.keys())
        if now.get(part) != before.get(part)
    ]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return f"{name} ({', '.join([*found[:_SHOWN], *more]) or 'its text, and no value'})"


def _table(text: str | None) -> dict[str, Any] | None:
    """A JSON object as one level of dotted names; None where it is none."""
    try:
        found = json.loads(text or "")
    except (ValueError, TypeError, RecursionError):
        return None
    return dict(_flat(found, "")) if isinstance(found, dict) else None


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: object) -> str:
    text = "missing" if value is None else json.dumps(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."
