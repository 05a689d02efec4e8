"""Says which of the images checked the model was trained on, where its card names them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from robspec.data.dataset import Dataset
from robspec.ir.types import Program
from robspec.models import card
from robspec.notes import Note, listed


def notes(program: Program, model: Path, sha256: str, data: Dataset) -> Iterator[Note]:
    """Compare the images of a check with those of the model's card, by their pixels.

    Args:
        program: the compiled specification.
        model: the model file.
        sha256: of its bytes.
        data: the images.

    Returns:
        A note where the model learned from any of them; nothing where it has no card.
    """
    found = card.find(model, sha256)
    if found is None:
        return
    if found.data and found.data == data.digest():
        names = tuple(p.name for p in data.pairs)
    elif found.images:
        read = data.contents(found.low, found.high)
        names = tuple(name for name, digest in read if digest in found.images)
    else:
        return
    if not names:
        return
    share = Fraction(len(names), len(data))
    text = f"{len(names)} of {len(data)} images were trained on, says {found.path.name}: {listed(names)}"
    if any(r.confidence is not None for p in program.properties for r in p.requirements):
        text += "; a claim with confidence supposes images the model has not seen"
    yield Note("trained-on", f"data {data.name}", text, {"images": names, "share": share})
