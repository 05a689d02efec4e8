"""A paired data set, checked by its headers when opened and streamed in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.data import arrays, labels, raster, scaling
from robspec.data.errors import (
    BadWeights,
    FileChanged,
    FileTooLarge,
    ImageShapeMismatch,
    MaskSizeMismatch,
    UnreadableFile,
)
from robspec.data.header import Header
from robspec.data.pairing import Pair, pair
from robspec.ir.types import Data, Model

_HEAD = 1 << 20
_MOST = 256 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """A few images with their annotations.

    Args:
        names: one per image, as the glob matched them.
        images: float32 [B, C, H, W] in the declared range.
        labels: int64 [B, H, W], class ids or the ignore label; None when the data set has no masks.
        region: bool [B, H, W], False for pixels left out; None when the data set has no region files.
        weights: float64 [B, H, W], non-negative and finite; None when the data set has no weight files.
    """

    names: tuple[str, ...]
    images: Tensor
    labels: Tensor | None
    region: Tensor | None = None
    weights: Tensor | None = None


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
    """

    name: str
    root: Path
    pairs: tuple[Pair, ...]
    data: Data
    model: Model
    regions: tuple[Pair, ...] = ()
    weights: tuple[Pair, ...] = ()
    _seen: dict[Path, bytes] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.pairs)

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
            RobspecError: E0304 to E0312, naming the file.
        """
        for start in range(0, len(self.pairs), size):
            chosen = self.pairs[start : start + size]
            images = torch.from_numpy(np.stack([self._image(p) for p in chosen]))
            masks = None
            if self.data.masks:
                masks = torch.from_numpy(
                    np.stack([self._labels(p.mask, p.mask_name) for p in chosen if p.mask is not None])
                )
            regions = self.regions[start : start + size]
            weights = self.weights[start : start + size]
            yield Batch(
                tuple(p.name for p in chosen),
                images,
                masks,
                _stacked([self._region(p) for p in regions]),
                _stacked([self._weight(p) for p in weights]),
            )

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
                if path not in self._seen:
                    self._read(path, name)
                total.update(len(name.encode()).to_bytes(8, "big") + name.encode() + self._seen[path])
        for p in (*self.regions, *self.weights):
            if p.mask is not None:
                if p.mask not in self._seen:
                    self._read(p.mask, p.mask_name)
                total.update(len(p.mask_name.encode()).to_bytes(8, "big") + p.mask_name.encode() + self._seen[p.mask])
        return total.hexdigest()

    def check_headers(self) -> None:
        """Check every file's shape from its header, before any work is done.

        Raises:
            RobspecError: E0304, E0305, E0307, E0308, E0309 or E0311, naming the file.
        """
        for p in self.pairs:
            self._check_image(_header(p.image, p.name, self.model.input_shape), p.name)
            if p.mask is not None:
                self._check_mask(_header(p.mask, p.mask_name), p.mask_name, p.noun)
        for p in (*self.regions, *self.weights):
            if p.mask is not None:
                self._check_mask(_header(p.mask, p.mask_name), p.mask_name, p.noun)

    def _image(self, p: Pair) -> npt.NDArray[np.float32]:
        blob = self._read(p.image, p.name)
        shape = self.model.input_shape
        if _is_array(p.image):
            stored = arrays.load(blob, p.image.suffix.lower() == ".npz", self._most_values(), p.name)
            pixels = arrays.image_pixels(stored, shape)
            if pixels is None:
                raise self._shape_error(arrays.describe(stored.shape, stored.dtype), p.name)
        else:
            self._check_image(raster.header(blob, p.name), p.name)
            pixels = raster.image_pixels(blob, shape[0], p.name)
        return scaling.to_range(pixels, self.model.low, self.model.high, p.name)

    def _labels(self, path: Path, where: str) -> npt.NDArray[np.int64]:
        blob = self._read(path, where)
        if _is_array(path):
            is_archive = path.suffix.lower() == ".npz"
            stored = arrays.mask_labels(arrays.load(blob, is_archive, self._most_values(), where), where)
            self._check_mask(arrays.describe(stored.shape, stored.dtype), where)
        else:
            self._check_mask(raster.header(blob, where), where)
            stored = raster.mask_labels(blob, where)
        return labels.to_classes(stored, len(self.model.classes), self.data.ignore, self.data.binary, where)

    def _stored(self, p: Pair) -> tuple[npt.NDArray[np.generic], str]:
        """A file of one number per pixel, as stored."""
        if p.mask is None:
            raise ValueError("an unpaired file")
        blob = self._read(p.mask, p.mask_name)
        if _is_array(p.mask):
            stored = arrays.load(blob, p.mask.suffix.lower() == ".npz", self._most_values(), p.mask_name)
            self._check_mask(arrays.describe(stored.shape, stored.dtype), p.mask_name, p.noun)
            return stored.reshape(self.model.output_shape[1:]), p.mask_name
        self._check_mask(raster.header(blob, p.mask_name), p.mask_name, p.noun)
        return raster.mask_labels(blob, p.mask_name, p.noun), p.mask_name

    def _region(self, p: Pair) -> npt.NDArray[np.bool_]:
        stored, _ = self._stored(p)
        kept: npt.NDArray[np.bool_] = stored.astype(np.float64) != 0
        return kept

    def _weight(self, p: Pair) -> npt.NDArray[np.float64]:
        stored, where = self._stored(p)
        weights = stored.astype(np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise BadWeights(where, "a weight is negative, infinite or not a number", "write weights of 0 or more")
        return weights

    def _read(self, path: Path, where: str) -> bytes:
        blob = _bounded(path, where)
        digest = hashlib.sha256(blob).digest()
        if self._seen.setdefault(path, digest) != digest:
            raise FileChanged(where, "it changed between two readings", "stop what writes to it; run again")
        return blob

    def _most_values(self) -> int:
        channels, height, width = self.model.input_shape
        return max(channels * height * width, self.model.output_shape[1] * self.model.output_shape[2])

    def _check_image(self, header: Header, where: str) -> None:
        channels, height, width = self.model.input_shape
        fits = header.channels == channels or (header.kind == "P" and channels == 3)
        if (header.height, header.width) != (height, width) or not fits:
            raise self._shape_error(header, where)

    def _shape_error(self, header: Header, where: str) -> ImageShapeMismatch:
        return ImageShapeMismatch(
            where,
            f"the image is {header.channels} x {header.height} x {header.width} ({header.kind}), "
            f"the declared input is {' x '.join(map(str, self.model.input_shape))}",
            "convert the images once to the declared shape, or correct `input`",
        )

    def _check_mask(self, header: Header, where: str, noun: str = "mask") -> None:
        _, height, width = self.model.output_shape
        if (header.height, header.width) != (height, width):
            raise MaskSizeMismatch(
                where,
                f"the {noun} is {header.height} x {header.width}, the logits are {height} x {width}",
                f"resize the {noun}s once, with nearest-neighbour interpolation",
            )


def open_dataset(data: Data, model: Model, root: Path) -> Dataset:
    """Pair a specification's images and masks and check every header.

    Args:
        data: the globs, the ignore label, and whether masks are binary.
        model: the declared shapes, range and classes.
        root: the folder the globs are relative to: the specification's, or `--data`.

    Returns:
        The data set, not yet decoded.

    Raises:
        RobspecError: E0301 to E0311.
    """
    regions = pair(root, data.images, data.region, "region") if data.region else ()
    weights = pair(root, data.images, data.weights, "weights") if data.weights else ()
    dataset = Dataset(data.name, root, pair(root, data.images, data.masks), data, model, regions, weights)
    dataset.check_headers()
    return dataset


def _stacked(parts: list[npt.NDArray[np.generic]]) -> Tensor | None:
    return torch.from_numpy(np.stack(parts)) if parts else None


def _is_array(path: Path) -> bool:
    return path.suffix.lower() in (".npy", ".npz")


def _header(path: Path, where: str, declared: tuple[int, int, int] | None = None) -> Header:
    try:
        with path.open("rb") as file:
            if _is_array(path):
                return arrays.peek(file, path.suffix.lower() == ".npz", where, declared)
            head = file.read(_HEAD)
    except OSError as error:
        raise _closed(where, error) from error
    return raster.header(head, where)


def _bounded(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            blob = file.read(_MOST + 1)
    except OSError as error:
        raise _closed(where, error) from error
    if len(blob) > _MOST:
        raise FileTooLarge(where, f"the file is larger than {_MOST >> 20} MiB", "re-save it, compressed")
    return blob


def _closed(where: str, error: OSError) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be opened: {error.strerror or error}", "check its permissions")
