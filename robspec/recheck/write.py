"""Writes down what a check certified, once exact arithmetic confirms it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from robspec.errors import SoundnessAlarm
from robspec.ir.types import Program
from robspec.recheck.assemble import decided


def certificate(
    derived: dict[str, Any], program: Program, certified: Sequence[Sequence[Sequence[Fraction | float | None]]]
) -> dict[str, Any]:
    """Put a check's own values where exact arithmetic only says what must hold of them.

    Args:
        derived: from `assemble.document`.
        program: the compiled specification.
        certified: by property, image and point, what the check certified.

    Returns:
        The certificate without its digest.

    Raises:
        SoundnessAlarm: a value is not what exact arithmetic derives (E0901).
    """
    properties = []
    for entry, values in zip(derived["properties"], certified, strict=True):
        images = [
            {**image, "points": [_filled(p, v, entry, image) for p, v in zip(image["points"], row, strict=True)]}
            for image, row in zip(entry["images"], values, strict=True)
        ]
        properties.append({**entry, "images": images})
    filled = {**derived, "properties": properties}
    return decided(filled, program, filled)


def _filled(
    point: dict[str, Any], found: Fraction | float | None, entry: dict[str, Any], image: dict[str, Any]
) -> dict[str, Any]:
    claim = point["certified"]
    text = None if found is None else "inf" if isinstance(found, float) else str(found)
    if not (claim.holds(text) if hasattr(claim, "holds") else claim == text):
        raise SoundnessAlarm(
            f"property {entry['name']}, {image['image']}",
            f"the check certified {text}, exact arithmetic derives {claim}",
            "trust no verdict of this run; report it with the specification, the model and this image",
        )
    return {**point, "certified": text}
