"""Writes down what a check certified, once exact arithmetic confirms it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from robspec.errors import SoundnessAlarm
from robspec.ir.types import Program
from robspec.recheck.assemble import decided
from robspec.recheck.averages import Bounded, Relaxation
from robspec.semantics.norm import exact_text


def certificate(
    derived: dict[str, Any],
    program: Program,
    certified: Sequence[Sequence[Sequence[Fraction | float | None]]],
    by: Sequence[Sequence[Sequence[Relaxation | None]]],
) -> dict[str, Any]:
    """Put a check's own values where exact arithmetic only says what must hold of them.

    Args:
        derived: from `assemble.document`.
        program: the compiled specification.
        certified: by property, image and point, what the check certified.
        by: likewise, what the bounds of averages stand on; empty for a pooled property.

    Returns:
        The certificate without its digest.

    Raises:
        SoundnessAlarm: a value is not what exact arithmetic derives (E0901).
    """
    properties = []
    for entry, values, told in zip(derived["properties"], certified, by, strict=True):
        images = []
        for i, (image, row) in enumerate(zip(entry["images"], values, strict=True)):
            stands = told[i] if told else (None,) * len(row)
            points = zip(image["points"], row, stands, strict=True)
            images.append({**image, "points": [_filled(p, v, s, entry, image) for p, v, s in points]})
        properties.append({**entry, "images": images})
    filled = {**derived, "properties": properties}
    return decided(filled, program, filled)


def _filled(
    point: dict[str, Any] | Bounded,
    found: Fraction | float | None,
    by: Relaxation | None,
    entry: dict[str, Any],
    image: dict[str, Any],
) -> dict[str, Any]:
    if isinstance(point, Bounded):
        made = point.filled(found, by) if isinstance(found, Fraction) else {}
        if not point.holds(made):
            raise _alarm(entry, image, found, f"{point}: {made.get('bound')}")
        return made
    claim = point["certified"]
    text = None if found is None else exact_text(found)
    if not (claim.holds(text) if hasattr(claim, "holds") else claim == text):
        raise _alarm(entry, image, text, claim)
    return {**point, "certified": text}


def _alarm(entry: dict[str, Any], image: dict[str, Any], certified: object, derived: object) -> SoundnessAlarm:
    return SoundnessAlarm(
        f"property {entry['name']}, {image['image']}",
        f"the check certified {certified}, exact arithmetic derives {derived}",
        "trust no verdict of this run; report it with the specification, the model and this image",
    )
