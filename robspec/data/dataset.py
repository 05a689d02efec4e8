"""A paired data set, checked by its headers when opened and streamed in batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from robspec.arrays import tensor
from robspec.data import content, layouts, objects, reading, scaling, steps, tables, whole
from robspec.data.errors import (
    AmbiguousPalette,
    BadWeights,
    FileChanged,
    LabelOutOfRange,
    OrientationUnclear,
    PixelOutOfRange,
    UnsupportedFile,
)
from robspec.data.header import Header
from robspec.data.labels import Meaning
from robspec.data.objects import Objects
from robspec.data.pairing import Drawn, Pair, pair
from robspec.data.raster import Plane
from robspec.ir.print import step_text
from robspec.ir.types import Data, Model
from robspec.notes import Figure, Note, listed

if TYPE_CHECKING:
    from torch import Tensor

_EXACT = 2**53
"""Integers up to here are doubles."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """A few images with their annotations, as they were read.

    Args:
        names: one per image, as the glob matched them.
        images: float32 [B, C, H, W] in the declared range.
        labels: int64 [B, H, W], class ids or the ignore label, [B, 1, 1] of whole images; None when the data set has
            no annotation.
        region: bool [B, H, W], False for pixels left out; None when the data set has no region files.
        weights: float64 [B, H, W], non-negative and finite; None when the data set has no weight files.
        objects: of a detector, what is annotated on each image; None when the data set has no objects.
    """

    names: tuple[str, ...]
    images: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    region: npt.NDArray[Any] | None = None
    weights: npt.NDArray[Any] | None = None
    objects: tuple[Objects, ...] | None = None


class Batch:
    """The same as tensors, which share its memory and are made when they are first asked for.

    Args:
        arrays: the batch.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    @property
    def names(self) -> tuple[str, ...]:
        """See `Arrays`."""
        return self.arrays.names

    @property
    def objects(self) -> tuple[Objects, ...] | None:
        """See `Arrays`."""
        return self.arrays.objects

    @cached_property
    def images(self) -> Tensor:
        """See `Arrays`."""
        found: Tensor = tensor(self.arrays.images)
        return found

    @cached_property
    def labels(self) -> Tensor | None:
        """See `Arrays`."""
        return None if self.arrays.labels is None else tensor(self.arrays.labels)

    @cached_property
    def region(self) -> Tensor | None:
        """See `Arrays`."""
        return None if self.arrays.region is None else tensor(self.arrays.region)

    @cached_property
    def weights(self) -> Tensor | None:
        """See `Arrays`."""
        return None if self.arrays.weights is None else tensor(self.arrays.weights)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Paired images and masks of one specification.

    Args:
        name: the data set's name in the specification.
        root: the folder the globs are relative to.
        pairs: sorted by name.
        data: what the specification says of the data.
        model: what the specification says of the model.
        regions: each image with its region file, in the same order; empty for none.
        weights: each image with its weight file, in the same order; empty for none.
        wide: whether the model computes in float64, so that pixels must be float32 numbers.
        labels: one class index for each image, where images are judged as a whole; empty for none.
        meaning: what the numbers in masks stand for; None for what the specification says.
        tables: further files that say what belongs to what, hashed as well: name and path.
        noted: what the report should say of how the data set was read.
        files: each image with its file of objects, in the same order; empty for none, or one file for all.
        objects: what is annotated on each image; empty for none.
        seen: sha256 of the bytes of each file that has been read, by its path from the root.
        headers: of each image, by name, once checked.
        blobs: the bytes of every file there is to decode, by its path from the root; None where files are read.
    """

    name: str
    root: Path
    pairs: tuple[Pair, ...]
    data: Data
    model: Model
    regions: tuple[Pair, ...] = ()
    weights: tuple[Pair, ...] = ()
    wide: bool = False
    labels: tuple[int, ...] = ()
    meaning: Meaning | None = None
    tables: tuple[tuple[str, Path], ...] = ()
    noted: tuple[Note, ...] = ()
    files: tuple[Pair, ...] = ()
    objects: tuple[Objects, ...] = ()
    seen: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    headers: dict[str, Header] = field(default_factory=dict, compare=False, repr=False)
    blobs: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.pairs)

    def only(self, places: Sequence[int]) -> Dataset:
        """The same data set of some of its images, each with all that belongs to it.

        Args:
            places: indices of the images, in the order wanted.
        """
        # Regions, weights and labels are empty where there are none.
        return replace(
            self,
            pairs=tuple(self.pairs[i] for i in places),
            regions=tuple(self.regions[i] for i in places if self.regions),
            weights=tuple(self.weights[i] for i in places if self.weights),
            labels=tuple(self.labels[i] for i in places if self.labels),
            files=tuple(self.files[i] for i in places if self.files),
            objects=tuple(self.objects[i] for i in places if self.objects),
        )

    @property
    def paths(self) -> dict[str, Path]:
        """Where each file lies that images, masks, regions or weights are decoded from, by its path from the root."""
        found = {p.name: p.image for p in self.pairs}
        found.update((p.mask_name, p.mask) for p in (*self.pairs, *self.regions, *self.weights) if p.mask is not None)
        return found

    def held(self) -> Dataset:
        """Read every file, and decode none.

        Returns:
            The same data set, which opens no file to decode it.

        Raises:
            RobspecError: E0305, E0308 or E0312, naming the file.
        """
        return replace(self, blobs={name: self._read(path, name) for name, path in self.paths.items()})

    @property
    def scaling(self) -> str:
        """How stored pixels become input values, in one line."""
        return scaling.describe(self.model.low, self.model.high)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream the data set in name order, holding one batch at a time.

        Args:
            size: images per batch; the last batch may be smaller.

        Returns:
            An iterator of batches.

        Raises:
            RobspecError: E0304 to E0317, naming the file.
        """
        for start in range(0, len(self.pairs), size):
            chosen = self.pairs[start : start + size]
            # Pixel files are decoded channels last, and what a convolution rounds depends on the order in memory.
            images = np.stack([np.ascontiguousarray(self._image(p)) for p in chosen])
            masks = None
            if self.data.masked:
                masks = np.stack([self._labels(p) for p in chosen])
            elif self.labels:
                # A whole image is one item: a plane of 1 x 1.
                masks = np.array(self.labels[start : start + size], dtype=np.int64)[:, None, None]
            regions = self.regions[start : start + size]
            weights = self.weights[start : start + size]
            arrays = Arrays(
                tuple(p.name for p in chosen),
                images,
                masks,
                _stacked([self._region(p) for p in regions]),
                _stacked([self._weight(p) for p in weights]),
                self.objects[start : start + size] if self.data.objects else None,
            )
            yield Batch(arrays)

    def digest(self) -> str:
        """Hash the names and bytes of every file; a file already streamed is not read again.

        Returns:
            sha256 in hexadecimal, of the very bytes that `batches` decoded where it did.
        """
        total = hashlib.sha256()
        for p in self.pairs:
            for path, name in ((p.image, p.name), (p.mask, p.mask_name)):
                if path is None:
                    continue
                if name not in self.seen:
                    self._read(path, name)
                total.update(len(name.encode()).to_bytes(8, "big") + name.encode() + self.seen[name])
            if p.drawn is not None:
                total.update(self._noticed(p.drawn, p))
        coco = self.data.objects if self.data.objects_format == "coco" else ""
        named = [(name, self.root / name) for name in (self.data.labels, self.data.pairs, coco) if name]
        for name, table in (*named, *self.tables):
            blob = reading.file_bytes(table, name)
            for part in (name.encode(), hashlib.sha256(blob).digest()):
                total.update(len(part).to_bytes(8, "big") + part)
        for p in (*self.regions, *self.weights, *self.files):
            if p.mask is not None:
                if p.mask_name not in self.seen:
                    self._read(p.mask, p.mask_name)
                total.update(
                    len(p.mask_name.encode()).to_bytes(8, "big") + p.mask_name.encode() + self.seen[p.mask_name]
                )
        return total.hexdigest()

    def contents(self, low: Fraction, high: Fraction) -> Iterator[tuple[str, str]]:
        """Hash the pixels of every image, whatever files they lie in.

        Args:
            low: smallest value of the range to read them with.
            high: largest.

        Returns:
            Name and digest of each, see `content.digest`; none of floating-point images outside this range.

        Raises:
            RobspecError: E0304 to E0316, naming the file.
        """
        for p in self.pairs:
            stored = self._stored_image(p)
            try:
                image = scaling.to_range(stored, low, high, p.name)
            except PixelOutOfRange:
                continue
            yield p.name, content.digest(image)

    @property
    def remarks(self) -> tuple[Note, ...]:
        """What the report should say of how the files were read."""
        return (*self.noted, *self._done, *self._turned)

    @property
    def _done(self) -> tuple[Note, ...]:
        """That images are not as they are stored, where they are cropped or resized."""
        if not self.data.steps:
            return ()
        sizes = sorted({self.headers[p.name].upright for p in self.pairs})
        shown = listed(tuple(f"{height} x {width}" for height, width in sizes))
        done = ", then ".join(step_text(step).replace(": ", " ") for step in self.data.steps)
        text = f"images of {shown} are brought to size ({done}); budgets and radii are about the result"
        figures: dict[str, Figure] = {
            "steps": tuple(step_text(step) for step in self.data.steps),
            "images": len(self.pairs),
        }
        return (Note("images-brought-to-size", f"data {self.name}", text, figures),)

    @property
    def _turned(self) -> tuple[Note, ...]:
        turned = {p.name: h.orientation for p in self.pairs if (h := self.headers[p.name]).orientation != 1}
        if not turned:
            return ()
        shown = listed(tuple(f"{name} ({k})" for name, k in turned.items()))
        count = f"{len(turned)} image{'' if len(turned) == 1 else 's'} of {len(self.pairs)}"
        text = f"EXIF orientation applied to {count}: {shown}"
        if self.data.masked or self.data.region or self.data.weights:
            text += "; masks and other files without one are taken as drawn on the upright image"
        figures = {"images": tuple(turned), "orientations": tuple(map(str, turned.values()))}
        return (Note("orientation-applied", f"data {self.name}", text, figures),)

    def check_headers(self) -> None:
        """Check every file's shape from its header, before any work is done.

        Raises:
            RobspecError: E0304, E0305, E0307, E0308, E0309, E0311 or E0315, naming the file.
        """
        declared, free = self.model.input_shape, bool(self.data.steps)
        kept: dict[Header, Header] = {}  # most images have the same
        for p in self.pairs:
            header = reading.image_header(p.image, p.name, declared, free=free)
            self.headers[p.name] = kept.setdefault(header, header)
            if self.data.objects and header.orientation != 1:
                raise OrientationUnclear(
                    p.name,
                    "EXIF turns it, and boxes may be meant for the image before or after it is turned",
                    "turn the pixels once, save the image without EXIF, and annotate that",
                )
        for p in (*self.pairs, *self.regions, *self.weights):
            image, sides = self.headers[p.name], self._sides(p)
            if p.mask is not None:
                reading.plane_header(p, image, sides, colours=self._colours and p.noun == "mask")
            elif p.drawn is not None and p.drawn.sides != sides:
                reading.refuse_sides(p, p.drawn.sides, sides)

    def _sides(self, p: Pair) -> tuple[int, int]:
        """Height and width that a mask must have as it is stored."""
        return self.headers[p.name].upright if self.data.steps else self.model.plane[1:]

    @property
    def _colours(self) -> bool:
        return self._meaning.colours

    @property
    def _meaning(self) -> Meaning:
        if self.meaning is not None:
            return self.meaning
        data = self.data
        return Meaning(
            len(self.model.classes), data.ignore, data.binary, data.also_ignored, data.mapping, data.colours
        )

    def _image(self, p: Pair) -> npt.NDArray[np.float32]:
        stored = self._stored_image(p)
        return scaling.to_range(stored, self.model.low, self.model.high, p.name, wide=self.wide)

    def _stored_image(self, p: Pair) -> npt.NDArray[np.generic]:
        blob, header = self._read(p.image, p.name), self.headers[p.name]
        stored = reading.image(blob, p, header, (self.model.input_shape[0], *self._of(header)), self._most(header))
        return steps.image(stored, self.data.steps, p.name)

    def _of(self, header: Header) -> tuple[int, int]:
        """Height and width that an image must have as it is stored."""
        return header.upright if self.data.steps else self.model.input_shape[1:]

    def _plane(self, p: Pair) -> Plane:
        header = self.headers[p.name]
        if p.drawn is not None:
            values = p.drawn.values()
            self._noticed(p.drawn, p)
            return Plane(steps.plane(values, self.data.steps, p.mask_name))
        if p.mask is None:
            raise ValueError("an unpaired file")
        blob = self._read(p.mask, p.mask_name)
        if self._colours and p.noun == "mask":
            found = reading.colours(blob, p, header, self._sides(p))
        else:
            found = reading.plane(blob, p, header, self._sides(p), self._most(header))
        greys = None if found.greys is None else steps.plane(found.greys, self.data.steps, p.mask_name)
        return Plane(steps.plane(found.values, self.data.steps, p.mask_name), greys)

    def _labels(self, p: Pair) -> npt.NDArray[np.int64]:
        stored = self._plane(p)
        found = self._meaning.read(stored.values, p.mask_name)
        if stored.greys is not None:
            try:
                shown = self._meaning.read(stored.greys, p.mask_name)
            except LabelOutOfRange:
                return found  # only the indices are labels
            if not np.array_equal(found, shown):
                raise _two_readings(p, "class ids")
        return found

    def _region(self, p: Pair) -> npt.NDArray[np.bool_]:
        stored = self._plane(p)
        if stored.values.dtype.kind == "f" and bool(np.isnan(stored.values).any()):
            raise UnsupportedFile(
                p.mask_name, "a region of NaN is neither in nor out", "write 0 where nothing counts"
            )
        kept: npt.NDArray[np.bool_] = stored.values != 0
        if stored.greys is not None and not np.array_equal(kept, stored.greys != 0):
            raise _two_readings(p, "what is left out")
        return kept

    def _weight(self, p: Pair) -> npt.NDArray[np.float64]:
        stored = self._plane(p)
        if stored.greys is not None:
            raise _two_readings(p, "weights")
        values = stored.values
        weights = values.astype(np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise BadWeights(
                p.mask_name, "a weight is negative, infinite or not a number", "write weights of 0 or more"
            )
        wide = int(values.max()) > _EXACT if values.dtype.kind in "ui" else bool((weights != values).any())
        if wide:
            raise BadWeights(p.mask_name, "a weight has more digits than a double", "write weights that are doubles")
        return weights

    def bytes_of(self, p: Pair) -> bytes:
        """Read the file that belongs to an image."""
        if p.mask is None:
            raise ValueError("an unpaired file")
        return self._read(p.mask, p.mask_name)

    def _read(self, path: Path, where: str) -> bytes:
        blob = reading.file_bytes(path, where) if self.blobs is None else self.blobs[where]
        self.same(where, hashlib.sha256(blob).digest(), where)
        return blob

    def _noticed(self, drawn: Drawn, p: Pair) -> bytes:
        """The digest of a drawn mask, the same whenever it is asked for."""
        return self.same(f"{p.name}/:mask", drawn.digest(), p.mask_name)

    def same(self, key: str, digest: bytes, where: str) -> bytes:
        """Keep the digest of what was read, or raise FileChanged (E0312) where it was another before."""
        if self.seen.setdefault(key, digest) != digest:
            raise FileChanged(where, "it changed between two readings", "stop what writes to it; run again")
        return digest

    def _most(self, header: Header) -> int:
        """How many values an array may hold."""
        channels = self.model.input_shape[0]
        if self.data.steps:
            return channels * math.prod(header.sides)
        return max(channels * math.prod(self.model.input_shape[1:]), math.prod(self.model.plane[1:]))


def open_dataset(data: Data, model: Model, root: Path, *, wide: bool = False) -> Dataset:
    """Pair a specification's images and masks and check every header.

    Args:
        data: the globs, the ignore label, and whether masks are binary.
        model: the declared shapes, range and classes.
        root: the folder the globs are relative to: the specification's, or `--data`.
        wide: whether the model computes in float64.

    Returns:
        The data set, not yet decoded.

    Raises:
        RobspecError: E0301 to E0311, E0315, E0330 to E0336, E0870.
    """
    regions = pair(root, data.images, data.region, "region") if data.region else ()
    weights = pair(root, data.images, data.weights, "weights") if data.weights else ()
    if data.layout:
        found = layouts.find(data, root)
        stands_for = layouts.meaning(found, data, model)
        dataset = Dataset(
            data.name,
            root,
            found.pairs,
            data,
            model,
            wide=wide,
            meaning=stands_for,
            tables=found.tables,
            noted=found.noted,
        )
        dataset.check_headers()
        return dataset
    if data.pairs:
        pairs = tables.pairs(root, data.pairs)
    else:
        pairs = pair(root, data.images, data.masks, unique=not data.annotated or data.masked)
    labels = _of_images(data, model, root, pairs)
    dataset = Dataset(data.name, root, pairs, data, model, regions, weights, wide, labels)
    dataset.check_headers()
    return dataset if not data.objects else _with_objects(dataset)


def _with_objects(dataset: Dataset) -> Dataset:
    data, model = dataset.data, dataset.model
    files: tuple[Pair, ...] = ()
    if data.objects_format != "coco":
        files = pair(dataset.root, data.images, data.objects, "objects")
    blobs = (dataset.bytes_of(p) for p in files)
    size = model.input_shape[1:]
    pairs = files or dataset.pairs
    found = objects.read(data.objects_format, dataset.root, data.objects, pairs, model.classes, size, blobs)
    return replace(dataset, files=files, objects=found)


def _of_images(data: Data, model: Model, root: Path, pairs: tuple[Pair, ...]) -> tuple[int, ...]:
    if data.by_folder:
        return whole.by_folder(pairs, model.classes)
    if data.labels:
        return whole.from_table(root / data.labels, data.labels, pairs, model.classes)
    return ()


def _stacked(parts: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic] | None:
    return np.stack(parts) if parts else None


def _two_readings(p: Pair, what: str) -> AmbiguousPalette:
    return AmbiguousPalette(
        p.mask_name,
        f"the palette of the {p.noun} is grey, and its indices give other {what} than its grey levels",
        f"save the {p.noun} as 8-bit grayscale without a palette, or as an array",
    )
