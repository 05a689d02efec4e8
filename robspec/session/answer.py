"""What a process that holds the model says of a batch: arrays one after another, and no object of Python."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.data.unread import Seen
from robspec.errors import SoundnessAlarm
from robspec.smoothing.sampling import Counts
from robspec.verify.census import Counted
from robspec.verify.found import Extremes, Found
from robspec.verify.result import ImageResult, Value


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a batch.

    Args:
        logits: [B, K, H, W], or None where they are not wanted.
        boxes: of a detector, [B, 4, 1, N], beside its logits.
        found: by bounds; None where nothing was asked of them.
        samples: of each setting each image.
        seen: what was read, where images were; else None.
        known: whether the logits were in the store.
        key: what a store knows the logits by, where they are new and for it; else empty.
    """

    logits: npt.NDArray[Any] | None = None
    boxes: npt.NDArray[Any] | None = None
    found: Found | None = None
    samples: tuple[Counts, ...] = ()
    seen: Seen | None = None
    known: bool = False
    key: bytes = b""

    def written(self, tie: bytes) -> bytes:
        """Write it.

        Args:
            tie: names what is answered; see `robspec.session.worker.Task.tie`.
        """
        found, pooled = self.found, [] if self.found is None else list(self.found.pooled)
        told = {
            "tie": tie.hex(),
            "logits": self.logits is not None,
            "boxes": self.boxes is not None,
            "found": None if found is None else _told(found),
            "pooled": len(pooled),
            "seen": None if self.seen is None else [self.seen.contents, dict(self.seen.files)],
            "known": self.known,
            "key": self.key.hex(),
        }
        first = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        large = [a for a in (self.logits, self.boxes) if a is not None]
        return packed([first, *large, *pooled, *(part for s in self.samples for part in (s.chosen, s.hits))])


def read(blob: bytes, tie: bytes) -> Answer:
    """Read what `Answer.written` wrote.

    Args:
        blob: the bytes.
        tie: names what was asked.

    Raises:
        SoundnessAlarm: E0901, it answers something else.
    """
    first, *rest = unpacked(blob)
    told = json.loads(first.tobytes())
    if told["tie"] != tie.hex():
        what = "a worker's answer is about other images, or another function, than it was asked"
        raise SoundnessAlarm("--workers", what, "report it")
    arrays = iter(rest)
    logits = next(arrays) if told["logits"] else None
    boxes = next(arrays) if told["boxes"] else None
    pooled = [next(arrays) for _ in range(told["pooled"])]
    found = None if told["found"] is None else _found(told["found"], pooled)
    left = list(arrays)
    samples = tuple(Counts(a, b) for a, b in zip(left[::2], left[1::2], strict=True))
    seen = told["seen"] and Seen(tuple(told["seen"][0]), told["seen"][1])
    return Answer(logits, boxes, found, samples, seen, told["known"], bytes.fromhex(told["key"]))


def _told(found: Found) -> dict[str, Any]:
    c, extremes = found.counted, found.extremes
    return {
        "answers": [[_row(r) for r in results] for results in found.answers],
        "full": [[_row(r) for r in results] for results in found.full],
        "counted": [c.predicted, c.by_class, c.pixels, c.ignored, c.all_ignored, c.views],
        "extremes": extremes and [extremes.channels, _text(extremes.low), _text(extremes.high)],
    }


def _found(told: dict[str, Any], pooled: Sequence[npt.NDArray[Any]]) -> Found:
    predicted, by_class, pixels, ignored, all_ignored, views = told["counted"]
    each = tuple((before, left, tuple(empty), tuple(classes)) for before, left, empty, classes in views)
    counted = Counted(tuple(predicted), tuple(by_class), pixels, ignored, tuple(all_ignored), each)
    extremes = None
    if told["extremes"]:
        channels, low, high = told["extremes"]
        extremes = Extremes(channels, float.fromhex(low), float.fromhex(high))
    answers, full = ([[_result(row) for row in rows] for rows in told[name]] for name in ("answers", "full"))
    return Found(answers, full, counted, iter(pooled), extremes)


def _row(result: ImageResult) -> list[Any]:
    if result.attacks:
        raise ValueError("bounds attack nothing")
    columns = (result.certified, result.attained, result.pairs)
    return [result.image, _text(result.clean), *([_text(v) for v in column] for column in columns)]


def _result(row: list[Any]) -> ImageResult:
    image, clean, *columns = row
    value = _value(clean)
    if isinstance(value, float):
        raise ValueError("the value of a clean image is a rational")
    certified, attained, pairs = (tuple(_value(v) for v in column) for column in columns)
    return ImageResult(image, value, certified, attained, pairs)


def _text(value: Value | None) -> str | None:
    """Hexadecimal, exact: a rational as numerator and denominator, of however many digits."""
    if value is None:
        return None
    return value.hex() if isinstance(value, float) else f"{value.numerator:x}/{value.denominator:x}"


def _value(text: str | None) -> Value | None:
    if text is None:
        return None
    above, over, below = text.partition("/")
    return Fraction(int(above, 16), int(below, 16)) if over else float.fromhex(text)


def packed(arrays: Iterable[npt.NDArray[Any]]) -> bytes:
    """Write arrays one after another."""
    out = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def unpacked(blob: bytes) -> Sequence[npt.NDArray[Any]]:
    """Read what `packed` wrote."""
    stream, found = io.BytesIO(blob), []
    while stream.tell() < len(blob):
        found.append(np.lib.format.read_array(stream, allow_pickle=False))
    return found
