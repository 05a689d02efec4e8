"""Masks: class ids, the ignore label, and 0/255 declared as binary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from robspec.data.errors import LabelOutOfRange
from robspec.ir.types import UNLABELLED, Mapped

_FOREGROUND = 255
UNDECLARED = "declare the class, declare the label with `ignore`, or correct the mask"
MARKED = "declare the masks binary (`masks ... binary`); `ignore 255` would leave out every pixel that is marked"
FROM_ONE = "if classes are numbered from 1, say so: `map 1 to ..., 0 to ignored`; else declare the label"
_WHITES = ({3}, {0, 3}, {15}, {0, 15})
"""What masks of 2 and 4 bits a pixel hold that are black and white."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the numbers in masks stand for.

    Args:
        classes: number of declared classes.
        ignore: the label left out of every metric, or None.
        binary: 255 stands for class 1, unless 255 is the ignore label.
        also_ignored: further labels that count as `ignore`.
        mapping: numbers or colours and their classes, the first that fits; empty where masks hold class ids.
        colours: whether `mapping` is of colours.
        names: what some numbers are called where they were published, for messages.
    """

    classes: int
    ignore: int | None = None
    binary: bool = False
    also_ignored: tuple[int, ...] = ()
    mapping: tuple[Mapped, ...] = ()
    colours: bool = False
    names: Mapping[int, str] = field(default_factory=dict)

    def read(self, stored: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.int64]:
        """Turn a stored mask into class ids, the ignore label kept.

        Args:
            stored: integers [H, W], or colours as `raster.colours` gives them.
            where: the file, for the error.

        Returns:
            int64 [H, W] of values in [0, classes) or equal to `ignore`.

        Raises:
            LabelOutOfRange: E0306.
        """
        if self.mapping:
            return _mapped(stored, self, where)
        if self.also_ignored and self.ignore is not None:
            stored = np.where(np.isin(stored, self.also_ignored), self.ignore, stored.astype(np.int64))
        return to_classes(stored, self.classes, self.ignore, self.binary, where)


def _mapped(stored: npt.NDArray[np.generic], meaning: Meaning, where: str) -> npt.NDArray[np.int64]:
    values, places = np.unique(stored, return_inverse=True)
    table = np.empty(len(values), np.int64)
    others = next((part for part in meaning.mapping if part.first is None), None)
    named = [part for part in meaning.mapping if part.first is not None]
    for k, value in enumerate(int(v) for v in values):
        found = next(
            (p for p in named if p.first is not None and p.last is not None and p.first <= value <= p.last), others
        )
        if found is None:
            rows, columns = np.nonzero(stored == values[k])
            shown = f"#{value:06X}" if meaning.colours else str(value)
            called = f", published as {meaning.names[value]!r}," if value in meaning.names else ""
            raise LabelOutOfRange(
                where,
                f"{'colour' if meaning.colours else 'label'} {shown}{called} at {_pixels(len(rows))}, first at row "
                f"{int(rows[0])}, column {int(columns[0])}, is not mapped",
                f"say what it stands for: `map {shown} to ...` a class or `ignored`, or `others to ignored`",
            )
        table[k] = UNLABELLED if found.target is None else found.target
    result: npt.NDArray[np.int64] = table[places].reshape(stored.shape)
    return result


def to_classes(
    stored: npt.NDArray[np.generic], classes: int, ignore: int | None, binary: bool, where: str
) -> npt.NDArray[np.int64]:
    """Turn a stored mask into class ids, the ignore label kept.

    Args:
        stored: integers [H, W].
        classes: number of declared classes.
        ignore: the label left out of every metric, or None.
        binary: 255 stands for class 1, unless 255 is the ignore label.
        where: the file, for the error.

    Returns:
        int64 [H, W] of values in [0, classes) or equal to `ignore`.

    Raises:
        LabelOutOfRange: E0306.
    """
    values = np.unique(stored)
    if int(values[-1]) > np.iinfo(np.int64).max:
        _refuse(stored, int(values[-1]), classes, ignore, where, "correct the masks")
    labels = stored.astype(np.int64)
    present = {int(v) for v in values}
    if binary and ignore != _FOREGROUND and _FOREGROUND in present:
        if 1 in present:
            _refuse(labels, 1, classes, ignore, where, "a binary mask holds 0 and 255, or 0 and 1, not both")
        labels = np.where(labels == _FOREGROUND, 1, labels)
        present = (present - {_FOREGROUND}) | {1}
    limit = min(classes, 2) if binary else classes
    for value in sorted(present):
        if value != ignore and not 0 <= value < limit:
            mend = UNDECLARED
            if present <= {0, _FOREGROUND}:
                mend = MARKED
            elif present <= set(range(1, classes + 1)) | {0, _FOREGROUND} and classes in present:
                mend = FROM_ONE
            elif present in _WHITES:
                mend = (
                    f"{value} is the white of a mask of fewer bits a pixel: save it with 0 and 1, or with 0 and 255 "
                    "and `masks ... binary`; to ignore it would leave out every pixel that is marked"
                )
            _refuse(labels, value, limit, ignore, where, mend)
    return labels


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count} pixels"


def _refuse(
    labels: npt.NDArray[np.generic], value: int, classes: int, ignore: int | None, where: str, mend: str
) -> None:
    rows, columns = np.nonzero(labels == value)
    besides = "" if ignore is None else f" and the ignore label is {ignore}"
    raise LabelOutOfRange(
        where,
        f"label {value} at {_pixels(len(rows))}, first at row {int(rows[0])}, column {int(columns[0])}; "
        f"classes are 0 to {classes - 1}{besides}",
        mend,
    )
