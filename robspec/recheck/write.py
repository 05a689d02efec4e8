"""Writes down what a check certified, once exact arithmetic confirms it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from robspec.errors import SoundnessAlarm
from robspec.recheck.averages import Bounded, Relaxation
from robspec.recheck.cell_pool import PoolPoint
from robspec.recheck.claims import Combined
from robspec.recheck.counted import CountPoint
from robspec.recheck.divided import RatioPoint
from robspec.recheck.entry import Point
from robspec.recheck.parted import Parts
from robspec.semantics.norm import exact_text


@dataclass(frozen=True, slots=True)
class Told:
    """What a check says of one point.

    Args:
        certified: what it certified; None where that is undefined, and for a part that is itself a combination.
        by: what the bound of an average stands on, or None.
        parts: of the conditions of a combination.
        nodes: gives what cells have of their nodes in the bound, where it is one that shares them.
    """

    certified: Fraction | float | None
    by: Relaxation | None = None
    parts: tuple[Told, ...] = ()
    nodes: Callable[[], Parts | None] | None = None


def filled(name: str, entry: dict[str, Any], told: Sequence[Told]) -> dict[str, Any]:
    """Put a check's own values where exact arithmetic only says what must hold of them.

    Args:
        name: of the property.
        entry: of one image, or of all together.
        told: of each of its points.

    Returns:
        The entry as a certificate writes it.

    Raises:
        SoundnessAlarm: a value is not what exact arithmetic derives (E0901).
    """
    return {**entry, "points": [_point(p, t, name, entry) for p, t in zip(entry["points"], told, strict=True)]}


def _point(point: Point, told: Told, name: str, image: dict[str, Any]) -> dict[str, Any]:
    made = _filled(point, told, name, image)
    if made["certified"] != _text(told.certified):
        raise _alarm(name, image, _text(told.certified), made["certified"])
    return made


def _filled(point: Point, told: Told, name: str, image: dict[str, Any]) -> dict[str, Any]:
    if isinstance(point, Combined):
        parts = [_filled(p, t, name, image) for p, t in zip(point.parts, told.parts, strict=True)]
        return {**point.expected({"parts": parts}), "parts": parts}
    found = told.certified
    if isinstance(point, CountPoint):
        made = {} if found is None else point.filled(found, told.nodes)
        if not made or not point.holds(made):
            raise _alarm(name, image, found, point)
        return made
    if isinstance(point, RatioPoint | PoolPoint):
        made = {} if found is None else point.filled(found)
        if not made or not point.holds(made):
            raise _alarm(name, image, found, point)
        return made
    if isinstance(point, Bounded):
        made = point.filled(found, told.by) if isinstance(found, Fraction) else {}
        if not point.holds(made):
            raise _alarm(name, image, found, f"{point}: {made.get('bound')}")
        return made
    if not isinstance(point, dict):
        raise TypeError(f"no value of a check is written for {point}")
    claim = point["certified"]
    text = _text(found)
    if not (claim.holds(text) if hasattr(claim, "holds") else claim == text):
        raise _alarm(name, image, text, claim)
    return {**point, "certified": text}


def _text(value: Fraction | float | None) -> str | None:
    return None if value is None else exact_text(value)


def _alarm(name: str, image: dict[str, Any], certified: object, derived: object) -> SoundnessAlarm:
    return SoundnessAlarm(
        f"property {name}, {image['image']}",
        f"the check certified {certified}, exact arithmetic derives {derived}",
        "trust no verdict of this run; report it with the specification, the model and this image",
    )
