"""Model cards: what `robspec train` writes beside a model of the images it learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

NAME = "card.json"
_MOST = 256 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says of the training data.

    Args:
        path: the card.
        data: digest of the whole training set, names and bytes, as the report gives it; empty where it says none.
        low: smallest input value the images were read with.
        high: largest.
        images: digests of the decoded images, see `robspec.data.content`; empty where it names none.
    """

    path: Path
    data: str
    low: Fraction
    high: Fraction
    images: frozenset[str]


def trained_on(images: dict[str, str]) -> dict[str, Any]:
    """Write the part of a card that names the training images.

    Args:
        images: digest of each, by its name; read with values in [0, 1].

    Returns:
        What `find` reads.
    """
    return {"range": ["0", "1"], "images": images}


def documents(model: Path) -> Iterator[tuple[Path, Any]]:
    """Read what lies where cards of a model lie.

    Args:
        model: the model file.

    Returns:
        Each file that there is, with its content; None for what is no JSON, or too large.
    """
    for path in _places(model):
        if path.is_file():
            yield path, _content(path)


def find(model: Path, sha256: str) -> Card | None:
    """Find the card of a model: `card.json` in its folder, or a file of its name that ends in .json.

    Args:
        model: the model file.
        sha256: of its bytes; a card of another model is passed over.

    Returns:
        The card, or None. What cannot be read is no card.
    """
    for path in _places(model):
        found = _read(path, sha256)
        if found is not None:
            return found
    return None


def _places(model: Path) -> tuple[Path, Path]:
    return model.with_suffix(".json"), model.parent / NAME


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
        return json.loads(text) if len(text) <= _MOST else None
    except (OSError, ValueError, RecursionError):
        return None


def _read(path: Path, sha256: str) -> Card | None:
    try:
        card = _content(path)
        if card["model"]["sha256"] != sha256:
            return None
        data = card["data"]
        named = data.get("trained_on", {"range": ["0", "1"], "images": {}})
        low, high = (Fraction(str(end)[:60]) for end in named["range"])
        if not low < high:
            return None
        return Card(path, str(data.get("training", "")), low, high, frozenset(map(str, named["images"].values())))
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None
