"""What is kept of images in files while a data set streams by: memory holds one image at a time."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from robspec.bounds.context import Context
from robspec.bounds.scene import Scene
from robspec.ir.types import Detector
from robspec.kernels.detection import FloatArray, Objects


class Lists:
    """Arrays of float64 in one temporary file.

    Attributes:
        close: deletes the file.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="robspec-pool-")  # noqa: SIM115
        self.close = weakref.finalize(self, self._file.close)

    def keep(self, values: FloatArray) -> Callable[[], FloatArray]:
        """Write an array.

        Args:
            values: float64 [n].

        Returns:
            A function that reads it again.

        Raises:
            OSError: there is no room for it.
        """
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(values).data)
        return partial(self._read, start, values.size)

    def _read(self, start: int, size: int) -> FloatArray:
        found = np.empty(size)
        if size:
            self._file.seek(start)
            if self._file.readinto(found.data) != found.nbytes:
                raise OSError(errno.EIO, "a temporary file is shorter than what was written to it")
        return found


class Scenes:
    """Every image of a data set.

    Attributes:
        images: how many there are.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._detector: Detector | None = None
        self._centres: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
        self.images = 0

    @property
    def detector(self) -> Detector:
        """What is done with the scores."""
        if self._detector is None:
            raise ValueError("no image was read")
        return self._detector

    def add(self, context: Context) -> None:
        """Keep a batch."""
        self._detector, scenes = context.detections()
        for scene in scenes:
            o = scene.objects
            parts = {"boxes": o.boxes, "classes": o.classes, "crowd": o.crowd, "ignored": o.ignored}
            if scene.boxes is not None:
                parts["places"] = scene.boxes
            np.savez(self._path(self.images), scores=scene.scores, **parts)  # type: ignore[arg-type]
            self._centres = scene.centres
            self.images += 1

    def __iter__(self) -> Iterator[Scene]:
        for number in range(self.images):
            with np.load(self._path(number)) as kept:
                objects = Objects(kept["boxes"], kept["classes"], kept["crowd"], kept["ignored"])
                boxes = kept["places"] if "places" in kept.files else None
                yield Scene(kept["scores"], boxes, self._centres, objects)

    def close(self) -> None:
        """Delete the files."""
        if self._folder is not None:
            self._folder.cleanup()

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="robspec-scenes-")
        return Path(self._folder.name) / f"{number}.npz"
