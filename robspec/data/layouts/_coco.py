"""COCO's annotation files, read distrustfully: JSON, run lengths, polygons."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.data.errors import FileTooLarge, LayoutMismatch
from robspec.data.layouts._layout import Published
from robspec.errors import MissingExtra

_MOST_BYTES = 1 << 30
_MOST_POINTS = 100_000
VOID = -1
"""The number of pixels without one class."""


def load(path: Path, name: str) -> dict[str, Any]:
    """Read an annotation file.

    Raises:
        LayoutMismatch: E0335, no such file, or no annotations.
        FileTooLarge: E0308, more than 1 GiB.
    """
    if not path.is_file():
        raise LayoutMismatch(name, "there is no such file", "unpack the annotations, or check the split")
    if path.stat().st_size > _MOST_BYTES:
        raise FileTooLarge(name, f"the file is larger than {_MOST_BYTES >> 30} GiB", "split it")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LayoutMismatch(name, f"it is no JSON: {error}", "restore the file") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(found, dict) or not all(isinstance(found.get(p), list) for p in parts):
        raise LayoutMismatch(name, f"it has not {', '.join(parts)}", "is it an annotation of COCO?")
    if not all(isinstance(entry, dict) for p in parts for entry in found[p]):
        raise LayoutMismatch(name, "an entry is no object", "restore the file")
    return found


def published(found: Mapping[str, Any], name: str) -> Published:
    """The categories by their numbers."""
    categories = [(whole(c.get("id"), name, 0), c.get("name")) for c in found["categories"]]
    if not all(isinstance(called, str) for _, called in categories):
        raise LayoutMismatch(name, "a category has no name", "restore the file")
    if len({k for k, _ in categories}) < len(categories):
        raise LayoutMismatch(name, "two categories have one number", "restore the file")
    return tuple(categories)


def whole(value: object, name: str, least: int = 1) -> int:
    """A whole number of usual size, or an error.

    Raises:
        LayoutMismatch: E0335.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 31:
        raise LayoutMismatch(name, f"{value!r:.40} stands where a whole number is meant", "restore the file")
    return value


def region(segmentation: object, height: int, width: int, name: str) -> npt.NDArray[np.bool_]:
    """Draw one object.

    Args:
        segmentation: polygons, or run lengths as a list or as COCO packs them.
        height: of the image.
        width: of the image.
        name: the annotation file, for the error.

    Returns:
        [H, W].

    Raises:
        LayoutMismatch: E0335, it is none of these, or does not fit the image.
        MissingExtra: E0870, polygons without pycocotools.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, height, width, name)
    if not isinstance(segmentation, dict) or segmentation.get("size") != [height, width]:
        raise LayoutMismatch(name, "an object has no segmentation of its image's size", "restore the file")
    counts = segmentation.get("counts")
    lengths = _unpacked(counts, height * width, name) if isinstance(counts, str) else counts
    total = height * width
    if not isinstance(lengths, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= total for n in lengths
    ):
        raise LayoutMismatch(name, "the run lengths of an object are no numbers", "restore the file")
    if sum(lengths) != total:
        raise LayoutMismatch(name, f"run lengths add up to {sum(lengths)}, not to {total} pixels", "restore the file")
    return _runs(lengths, height, width)


def _runs(lengths: Sequence[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Lengths of 0 and 1 in turn, going down the columns."""
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _unpacked(text: str, most: int, name: str) -> list[int]:
    """COCO's packed run lengths: six bits a character, a sign, and differences to the length before the last."""
    found: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[at]) - 48 if at < len(text) else -1
            if not 0 <= code < 64 or shift > 35:
                raise LayoutMismatch(name, "the run lengths of an object are garbled", "restore the file")
            value |= (code & 31) << shift
            more = bool(code & 32)
            shift += 5
            at += 1
            if not more and code & 16:
                value -= 1 << shift
        if len(found) > 2:
            value += found[-2]
        if not 0 <= value <= most:
            raise LayoutMismatch(name, "the run lengths of an object are garbled", "restore the file")
        found.append(value)
    return found


def _polygons(rings: Sequence[object], height: int, width: int, name: str) -> npt.NDArray[np.bool_]:
    points = 0
    for ring in rings:
        if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
            raise LayoutMismatch(name, "a polygon has not three corners or more", "restore the file")
        points += len(ring)
        for value, side in zip(ring, itertools.cycle((width, height)), strict=False):
            if not isinstance(value, (int, float)) or not -1 <= value <= side + 1:
                raise LayoutMismatch(name, f"a polygon has the coordinate {value!r:.30}", "restore the file")
    if not rings or points > _MOST_POINTS:
        raise LayoutMismatch(name, f"an object has polygons of {points} coordinates", "restore the file")
    try:
        masks = importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise MissingExtra(
            name, "polygons are drawn by pycocotools, which is not installed", "pip install 'robspec[coco]'"
        ) from error
    packed = masks.frPyObjects([[float(v) for v in ring] for ring in rings], height, width)  # type: ignore[attr-defined]
    # Only drawn there: pycocotools 2.0.11 warns of numpy 2 when it decodes.
    return _runs(_unpacked(masks.merge(packed)["counts"].decode("ascii"), height * width, name), height, width)
