"""Reads the images to be explained, with what a data set knows of them."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch

from robspec.data import reading, scaling
from robspec.data import steps as brought
from robspec.data.dataset import Dataset
from robspec.data.errors import UnreadableFile
from robspec.data.pairing import Pair
from robspec.explanations.errors import NoSuchImage
from robspec.explanations.explain import Subject
from robspec.explanations.question import Annotation
from robspec.ir.types import Step

_SIGNS = "*?["


def expanded(images: Sequence[str]) -> list[str]:
    """Give the files that names and patterns stand for, each once, in the order given.

    Args:
        images: paths; where there is no such file, patterns.

    Returns:
        Paths; those of a pattern sorted.

    Raises:
        UnreadableFile: E0305, nothing has that name or matches.
    """
    found: dict[str, None] = {}
    for name in images:
        if Path(name).is_file():
            found[name] = None
            continue
        matches = sorted(glob.glob(name)) if any(sign in name for sign in _SIGNS) else []
        if not matches:
            raise UnreadableFile(name, "there is no such file", "correct the name or the pattern")
        found.update(dict.fromkeys(matches))
    return list(found)


def read_alone(
    name: str, shape: tuple[int, int, int], low: Fraction, high: Fraction, steps: Sequence[Step] = ()
) -> Subject:
    """Read an image that belongs to no data set, as `check` would.

    Args:
        name: its path.
        shape: C, H, W.
        low: smallest input value.
        high: largest.
        steps: what brings it to this shape once it is read.

    Returns:
        The image, without annotation.

    Raises:
        RobspecError: E0305 to E0315, naming the file.
    """
    pair = Pair(name, "")
    header = reading.image_header(pair.image, name, shape, free=bool(steps))
    stands = (shape[0], *header.upright) if steps else shape
    stored = reading.image(reading.file_bytes(pair.image, name), pair, header, stands, math.prod(stands))
    stored = brought.image(stored, steps, name)
    return Subject(name, torch.from_numpy(scaling.to_range(stored, low, high, name))[None], Annotation(None))


def read_from(data: Dataset, names: Sequence[str]) -> list[Subject]:
    """Find images in a data set and read them with their annotations.

    Args:
        data: the opened data set.
        names: paths of its image files.

    Returns:
        The images, in this order.

    Raises:
        NoSuchImage: E0853, a file is not of the data set.
        RobspecError: E0304 to E0317, naming the file.
    """
    places = {p.image.resolve(): k for k, p in enumerate(data.pairs)}
    return [_one(data, name, places.get(Path(name).resolve())) for name in names]


def _one(data: Dataset, name: str, place: int | None) -> Subject:
    if place is None:
        raise NoSuchImage(
            name,
            f"it is none of the {len(data)} images of data {data.name}, which lie in {data.root}",
            "name one of them; --data says where the data's paths start from",
        )
    (batch,) = data.only([place]).batches(1)
    annotation = Annotation(batch.labels, data.data.ignore, batch.region, batch.weights)
    return Subject(name, batch.images, annotation)
