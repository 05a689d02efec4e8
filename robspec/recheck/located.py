"""One image as a detector sees it, and how far an attack on it goes."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from robspec.ir.types import Detector, Metric
from robspec.oracle import objects as oracle
from robspec.oracle.detections import Annotated, box
from robspec.oracle.scene import BoolArray, FloatArray, IntArray
from robspec.recheck.budget import FINEST, exponent, grid_bits
from robspec.semantics.constant import Constant


class Marked(Protocol):
    """What is annotated on an image: boxes [M, 4] in input pixels, classes, and which are crowds or ignored [M]."""

    @property
    def boxes(self) -> FloatArray: ...

    @property
    def classes(self) -> IntArray: ...

    @property
    def crowd(self) -> BoolArray: ...

    @property
    def ignored(self) -> BoolArray: ...


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """One image.

    Args:
        scores: [K, N], finite doubles, as the model computes them.
        boxes: [N, 4], x1, y1, x2, y2 in input pixels; None where the specification does without.
        centres: [N, 2] of the locations; None where matches are by overlap.
        marked: [M, 4] annotated boxes in input pixels.
        classes: [M].
        crowd: [M].
        ignored: [M]; no crowds.
        detector: what becomes of the scores.
    """

    scores: FloatArray
    boxes: FloatArray | None
    centres: FloatArray | None
    marked: FloatArray
    classes: IntArray
    crowd: BoolArray
    ignored: BoolArray
    detector: Detector

    @staticmethod
    def of(
        scores: FloatArray, boxes: FloatArray | None, marked: Marked, detector: Detector, sides: tuple[int, int]
    ) -> Located:
        """Put an image together; `sides` are height and width of the input."""
        by_location = detector.match == "location"
        return Located(
            np.ascontiguousarray(scores),
            None if boxes is None or by_location else np.ascontiguousarray(boxes),
            _centres(detector.strides, *sides) if by_location else None,
            marked.boxes,
            marked.classes,
            marked.crowd,
            marked.ignored,
            detector,
        )

    def __len__(self) -> int:
        return int(self.scores.size)

    def real(self, k: int) -> FloatArray:
        """Boxes of the objects of a class that count."""
        return np.asarray(self.marked[(self.classes == k) & ~self.crowd & ~self.ignored])

    def asked(self, metric: Metric) -> tuple[int, ...]:
        """The classes a metric counts."""
        return metric.classes or tuple(range(len(self.scores)))

    def clean(self) -> oracle.Image:
        """The image in rationals, of the locations that fire."""
        # As a pipeline compares: with the double next to the threshold.
        cut = float(oracle.threshold_of(self.detector))
        firing = np.flatnonzero((self.scores >= cut).any(axis=0))
        rows = zip(
            self.marked.tolist(), self.classes.tolist(), self.crowd.tolist(), self.ignored.tolist(), strict=True
        )
        centres = () if self.centres is None else self.centres[firing].tolist()
        boxes = () if self.boxes is None else self.boxes[firing].tolist()
        return oracle.Image(
            tuple(tuple(map(Fraction, row)) for row in self.scores[:, firing].tolist()),
            tuple(map(box, boxes)),
            tuple((Fraction(x), Fraction(y)) for x, y in centres),
            tuple((k, Annotated(box(b), crowd, ignored and not crowd)) for b, k, crowd, ignored in rows),
            self.detector,
            Fraction(cut),
            None,
        )

    def digests(self) -> tuple[str, str]:
        """SHA-256 of boxes and of what is annotated."""
        none = np.empty((0, 4))
        parts = (self.marked, self.classes, self.crowd, self.ignored)
        return _digest(none if self.boxes is None else self.boxes), _digest(*parts)


def _centres(strides: Sequence[int], height: int, width: int) -> FloatArray:
    """Centres of all locations, level after level, row after row."""
    found = [
        (stride * (2 * column + 1) / 2, stride * (2 * row + 1) / 2)
        for stride in strides
        for row in range(-(-height // stride))
        for column in range(-(-width // stride))
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _digest(*arrays: np.typing.NDArray[np.generic]) -> str:
    found = sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Attack:
    """How far an attack goes.

    Args:
        reach: L eps, of the scores.
        budget: reach^q, or reach for infinity.
        far: how far a coordinate of a box moves.
        q: exponent of the norm on the scores, None for infinity.
        room: what is given away beside, in logits, where rounding is to be outdone; else 0.
    """

    reach: Fraction
    budget: Fraction
    far: Fraction
    q: int | None
    room: Fraction = Fraction(0)

    @staticmethod
    def of(eps: Fraction, constant: Constant) -> Attack:
        """Of a size, exactly."""
        reach, q = eps * constant.value, exponent(constant)
        return Attack(reach, reach if q is None else reach**q, eps * constant.boxes, q)

    def widened(self, scores: int) -> Attack:
        """A little further: no bound in doubles within `self` is worse than one within this."""
        if not self.reach and not self.far:
            return Attack(self.reach, self.budget, self.far, self.q, _ROOM)
        more = 1 + Fraction(scores + 16, 2 ** grid_bits(scores))
        budget = max(self.budget, FINEST) * more if self.reach else self.budget
        return Attack(self.reach * more, budget, self.far * more + (_ROOM if self.far else 0), self.q, _ROOM)

    def within(self, x: Fraction) -> float:
        """The least double that can rise to the level of x, both moving."""
        square = {2: 2 * self.reach**2, 1: self.reach**2, None: 4 * self.reach**2}[self.q]

        def can(value: float) -> bool:
            far = x - Fraction(value)
            return far <= 0 or far * far <= square

        found = ceiling(x)
        if square:
            root = Fraction(math.isqrt(int(square * 4**_FINE)), 2**_FINE)
            found = ceiling(max(x - root, -_LARGEST))
        while can(below := math.nextafter(found, -math.inf)):
            found = below
        while not can(found):
            found = math.nextafter(found, math.inf)
        return found

    def price(self, gap: Fraction) -> Fraction:
        """What moving one score so far costs."""
        return gap if self.q is None else gap**self.q

    def together(self, prices: Sequence[Fraction]) -> Fraction:
        """What several moves of different scores cost: their sum, or the dearest where nothing is shared."""
        return max(prices, default=Fraction(0)) if self.q is None else sum(prices, Fraction(0))


_ROOM = Fraction(1, 2**36)
_FINE = 1100
"""Binary places of a root: finer than any double."""
_LARGEST = Fraction(math.nextafter(math.inf, 0.0))


def ceiling(x: Fraction) -> float:
    """The least double that is no less."""
    if x > _LARGEST:
        return math.inf
    if x < -_LARGEST:
        return -math.inf if x < -2 * _LARGEST else -float(_LARGEST)
    near = float(x)
    return near if Fraction(near) >= x else math.nextafter(near, math.inf)


class Kept:
    """Images in files of a temporary folder, for questions about all of them; memory holds one."""

    def __init__(self, detector: Detector) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="robspec-recheck-")
        weakref.finalize(self, self._folder.cleanup)
        self._detector = detector
        self._centres: FloatArray | None = None
        self.count = 0

    def add(self, image: Located) -> None:
        """Keep one."""
        parts = (image.scores, image.marked, image.classes, image.crowd, image.ignored)
        names = ("scores", "marked", "classes", "crowd", "ignored")
        found = dict(zip(names, parts, strict=True))
        if image.boxes is not None:
            found["boxes"] = image.boxes
        np.savez(self._path(self.count), **found)  # type: ignore[arg-type]
        self._centres = image.centres
        self.count += 1

    def __iter__(self) -> Iterator[Located]:
        for number in range(self.count):
            with np.load(self._path(number)) as kept:
                boxes = kept["boxes"] if "boxes" in kept.files else None
                rest = (kept["marked"], kept["classes"], kept["crowd"], kept["ignored"])
                yield Located(kept["scores"], boxes, self._centres, *rest, self._detector)

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"
