"""The training and validation sets: folders in the layout `data` reads, or scenes drawn into such folders."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from robspec.data.dataset import Batch, Dataset, open_dataset
from robspec.data.errors import EmptyDataSet
from robspec.data.objects import Objects
from robspec.ir.types import Data, Model
from robspec.models.writing import write_whole
from robspec.train.config import BY_FOLDER, Config
from robspec.train.errors import SceneGenerator
from robspec.train.losses import IGNORED

Scene: TypeAlias = Callable[[int, int], tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]
"""Draws an image [size, size, 3] and its mask [size, size] from a seed and a size."""

_CACHED_BYTES = 1 << 30


def find_generator(name: str) -> Scene:
    """Import the user's own function that draws scenes.

    Args:
        name: `package.module:function`, imported with the current folder on the path.

    Returns:
        The function.

    Raises:
        SceneGenerator: E0706.
    """
    module, colon, function = name.partition(":")
    if not colon or not module or not function.isidentifier():
        raise SceneGenerator(name, "it is not of the form package.module:function", "name both parts")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise SceneGenerator(
            name, f"it cannot be imported: {type(error).__name__}: {error}", "see `robspec explain E0706`"
        ) from error
    finally:
        sys.path.remove(here)
    scene: Scene = found
    return scene


def open_part(
    config: Config, part: str, out: Path, generator: Scene | None, progress: Callable[[int], None]
) -> Dataset:
    """Open the training or the validation set.

    Args:
        config: the configuration.
        part: "train" or "val".
        out: the run's folder, where drawn scenes are kept.
        generator: draws scenes, or None.
        progress: told of each scene drawn.

    Returns:
        The data set, its headers checked.

    Raises:
        RobspecError: E0301 to E0311, or E0706.
    """
    source = config.data
    count: int = getattr(source, f"{part}_scenes")
    root = config.path.parent
    images, masks = getattr(source, f"{part}_images"), getattr(source, f"{part}_masks")
    if count:
        if generator is None:
            raise SceneGenerator(
                str(config.path),
                f"`data.{part}_scenes` asks for drawn scenes, and no function draws them",
                "name it with --generator package.module:function",
            )
        root = out / "scenes" / part
        images, masks = "images/*.png", "masks/*.png"
        _draw(root, generator, getattr(source, f"{part}_seed"), count, source.input[1], progress)
    ignore = None if source.ignore < 0 else source.ignore
    labels: str = getattr(source, f"{part}_labels")
    by_folder = labels == BY_FOLDER
    named = "" if by_folder else labels
    data = Data(part, images, masks, ignore=ignore, binary=source.binary, labels=named, by_folder=by_folder)
    try:
        return open_dataset(data, declared(config), root)
    except EmptyDataSet as empty:
        patterns = f"`{part}_images`" if labels else f"`{part}_images` and `{part}_masks`"
        mend = f"correct {patterns} in [data] of {config.path}; what they say starts from its folder"
        raise EmptyDataSet(empty.where, empty.what, mend) from None


def declared(config: Config) -> Model:
    """What a specification would declare of the model."""
    channels, height, width = config.data.input
    shape = (config.outputs,) if config.classification else (config.outputs, height, width)
    return Model((channels, height, width), Fraction(0), Fraction(1), shape, config.data.classes)


def _draw(root: Path, scene: Scene, seed: int, count: int, size: int, progress: Callable[[int], None]) -> None:
    """Draw scenes into images/ and masks/, unless the very same ones lie there."""
    wanted = json.dumps({"seed": seed, "count": count, "size": size, "by": getattr(scene, "__qualname__", "")})
    stamp = root / "drawn.json"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    stamp.unlink(missing_ok=True)  # first, so that it never stands beside other scenes
    _clear(root)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    try:
        for k in range(count):
            _draw_one(root, scene, seed, size, k)
            progress(1)
    except BaseException:
        _clear(root)  # a part of a set would be taken for one
        with suppress(OSError):
            for made in (root / "images", root / "masks", root, root.parent):
                made.rmdir()
        raise
    write_whole(stamp, wanted.encode())


def _clear(root: Path) -> None:
    for folder in ("images", "masks"):
        for old in (root / folder).glob("*.png"):
            old.unlink()


def _draw_one(root: Path, scene: Scene, seed: int, size: int, k: int) -> None:
    try:
        image, mask = scene(seed + k, size)
        Image.fromarray(image).save(root / "images" / f"{k:06d}.png", compress_level=1)
        Image.fromarray(mask).save(root / "masks" / f"{k:06d}.png", compress_level=1)
    except (TypeError, ValueError, AttributeError) as error:
        raise SceneGenerator(
            getattr(scene, "__qualname__", "the generator"),
            f"scene {seed + k} failed: {error}",
            "return an image, uint8 [size, size, 3], and a mask, uint8 [size, size]",
        ) from error


class Samples:
    """Images by index, kept decoded where all of them fit into a gigabyte.

    Args:
        dataset: images, with masks, labels, or neither.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        channels, height, width = dataset.model.input_shape
        self._keeps = len(dataset) * height * width * (4 * channels + 8) <= _CACHED_BYTES
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Read images and labels.

        Args:
            indices: which, in this order.

        Returns:
            Images float32 [B, C, H, W] in [0, 1], and labels int64 [B, H, W] with `IGNORED` where nothing counts, all
            0 without masks; [B, 1, 1] of whole images.

        Raises:
            RobspecError: E0304 to E0312, naming the file.
        """
        found = self._found(indices)
        return torch.stack([image for image, _ in found]), torch.stack([mask for _, mask in found])

    def take_objects(self, indices: Sequence[int]) -> tuple[Tensor, tuple[Objects, ...]]:
        """Read images, as `take` does, and what is annotated on each."""
        images = torch.stack([image for image, _ in self._found(indices)])
        return images, tuple(self._dataset.objects[i] for i in indices)

    def _found(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        missing = [i for i in indices if i not in self._kept]
        fresh = dict(zip(missing, self._decode(missing), strict=True))
        if self._keeps:
            self._kept.update(fresh)
        return [self._kept[i] if i in self._kept else fresh[i] for i in indices]

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        if not indices:
            return
        for batch in self._dataset.only(indices).batches(1):
            yield batch.images[0], self._labels(batch)

    def _labels(self, batch: Batch) -> Tensor:
        if batch.labels is None:
            return torch.zeros(batch.images.shape[2:], dtype=torch.int64)
        labels = batch.labels[0]
        ignore = self._dataset.data.ignore
        return labels if ignore is None else torch.where(labels == ignore, IGNORED, labels)
