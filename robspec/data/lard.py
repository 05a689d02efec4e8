"""The annotation files of LARD, the Landing Approach Runway Detection data set: four corners for each image.

One header line and one line per image, fields separated by semicolons. Corners A to D are named in reading order: by
y, then by x. Source: Ducoffe et al. 2023, arXiv 2304.09938, and `infos.md` of the data set.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from robspec.data import polygon
from robspec.data.errors import BadAnnotation, DuplicateStem, FileTooLarge, UnreadableFile

CORNERS = ("A", "B", "C", "D")
COLUMNS = (
    *("image", "height", "width", "type", "original_dataset", "scenario", "airport", "runway", "time_to_landing"),
    *("weather", "night", "time", "slant_distance", "along_track_distance", "height_above_runway"),
    *("lateral_path_angle", "vertical_path_angle", "yaw", "pitch", "roll", "watermark_height"),
    *(f"{axis}_{corner}" for corner in CORNERS for axis in "xy"),
)
"""LARD's columns, in its order."""
_NEEDED = ("image", "height", "width", *(f"{axis}_{corner}" for corner in CORNERS for axis in "xy"))
_MOST_BYTES = 64 << 20
_MOST_ROWS = 500_000
_LARGEST_SIDE = 16384
_LONGEST_FIELD = 4096


@dataclass(frozen=True, slots=True)
class Annotation:
    """The runways of one image.

    Args:
        image: its path as the file gives it.
        height: of the image, pixels.
        width: of the image, pixels.
        corners: (x, y) in pixels, going round the first runway.
        more: the same of further runways.
    """

    image: str
    height: int
    width: int
    corners: polygon.Corners
    more: tuple[polygon.Corners, ...] = ()

    @property
    def stem(self) -> str:
        """What pairs the image with its mask."""
        return PurePosixPath(self.image.replace("\\", "/")).stem

    def mask(self, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Draw the runways, clipped to the image.

        Args:
            size: height and width of the mask, the corners being scaled; None for the image's own.

        Returns:
            uint8 [height, width]: 1 where the centre of the pixel is on a runway, else 0.
        """
        height, width = size or (self.height, self.width)
        across, down = width / self.width, height / self.height
        drawn = np.zeros((height, width), np.uint8)
        for corners in (self.corners, *self.more):
            a, b, c, d = ((x * across, y * down) for x, y in corners)
            drawn |= polygon.filled((a, b, c, d), height, width)
        return drawn

    def box(self) -> tuple[float, float, float, float]:
        """Bound the first runway's corners: x_min, y_min, x_max, y_max, clipped to the image."""
        return polygon.box(self.corners, self.height, self.width)


def read(path: Path) -> tuple[Annotation, ...]:
    """Read an annotation file, distrustfully.

    Args:
        path: semicolons (or commas) between fields; columns in any order, others ignored.

    Returns:
        One annotation for each image, in order; several lines of one image are several runways.

    Raises:
        UnreadableFile: E0305, no such file, or not UTF-8 text.
        FileTooLarge: E0306, beyond 64 MiB or 500000 lines.
        BadAnnotation: E0314, naming the line: a column is missing, a number is none, the corners make no runway.
        DuplicateStem: E0303, two images of one stem: their masks would be one file.
    """
    found: dict[str, Annotation] = {}
    lines: dict[str, int] = {}
    count = 0
    rows = _rows(_text(path), path.name)
    header = next(rows, (0, []))[1]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise BadAnnotation(path.name, f"its first line has no column {missing[0]!r}", "is this a LARD annotation?")
    for line, fields in rows:
        count += 1
        if count > _MOST_ROWS:
            raise FileTooLarge(path.name, f"more than {_MOST_ROWS} lines", "split the file")
        where = f"{path.name}, line {line}"
        if len(fields) != len(header):
            what = f"{len(fields)} fields under {len(header)} columns"
            raise BadAnnotation(where, what, "separate fields as in the first line")
        annotation = _annotation(dict(zip(header, fields, strict=True)), where)
        before = found.get(annotation.stem)
        if before is None:
            lines[annotation.stem] = line
            found[annotation.stem] = annotation
            continue
        said = f"line {lines[annotation.stem]}"
        if before.image != annotation.image:
            what = f"{annotation.stem!r} is the name of another image in {said}"
            raise DuplicateStem(where, what, "split the file by folder, or rename images")
        if (before.height, before.width) != (annotation.height, annotation.width):
            what = f"{annotation.image!r:.60} has another size than in {said}"
            raise BadAnnotation(where, what, "give the image one size")
        if annotation.corners in (before.corners, *before.more):
            what = f"the runway is annotated twice, in {said} too"
            raise BadAnnotation(where, what, "keep one of the lines")
        found[annotation.stem] = replace(before, more=(*before.more, annotation.corners))
    return tuple(found.values())


def write(rows: Sequence[Mapping[str, object]], extra: Sequence[str] = ()) -> str:
    """Write an annotation file.

    Args:
        rows: values by column; those left out stay empty.
        extra: columns behind LARD's own.

    Returns:
        The file's text.
    """
    out = io.StringIO()
    table = csv.DictWriter(out, [*COLUMNS, *extra], delimiter=";", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()


def corner_columns(corners: polygon.Corners, places: int = 4) -> dict[str, str]:
    """Name corners as LARD does, in reading order, as decimal text."""
    rounded = sorted(((round(y, places), round(x, places)) for x, y in corners))
    named = zip(CORNERS, rounded, strict=True)
    return {f"{axis}_{name}": f"{v:.{places}f}" for name, (y, x) in named for axis, v in (("x", x), ("y", y))}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(str(path), f"it cannot be read: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise UnreadableFile(str(path), f"it is no UTF-8 text: {error}", "is this a LARD annotation?") from error
    if len(data) > _MOST_BYTES:
        raise FileTooLarge(path.name, f"more than {_MOST_BYTES >> 20} MiB", "split the file")
    return text


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that hold anything, with their numbers."""
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    try:
        for fields in lines:
            if any(len(field) > _LONGEST_FIELD for field in fields):
                raise BadAnnotation(f"{where}, line {lines.line_num}", "a field of several pages", "restore the file")
            if fields:
                yield lines.line_num, fields
    except csv.Error as error:
        raise BadAnnotation(f"{where}, line {lines.line_num}", f"no table: {error}", "restore the file") from error


def _annotation(row: Mapping[str, str], where: str) -> Annotation:
    points = [(_number(row, f"x_{c}", where), _number(row, f"y_{c}", where)) for c in CORNERS]
    height, width = (_side(row, name, where) for name in ("height", "width"))
    corners = polygon.in_order(points)
    if corners is None:
        what = f"the corners {points} are not those of a convex quadrilateral"
        raise BadAnnotation(where, what, "correct them, or leave the image out")
    found = Annotation(row["image"], height, width, corners)
    if not found.stem or "\0" in found.image or found.stem in (".", ".."):
        raise BadAnnotation(where, f"{found.image!r:.60} is no image's path", "name the image")
    return found


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadAnnotation(
            where, f"{name} is {row[name]!r:.40}, no finite number", "give all four corners in pixels"
        )
    return value


def _side(row: Mapping[str, str], name: str, where: str) -> int:
    value = _number(row, name, where)
    if value != int(value) or not 1 <= value <= _LARGEST_SIDE:
        raise BadAnnotation(where, f"{name} is {row[name]!r:.40}", f"give 1 to {_LARGEST_SIDE} pixels")
    return int(value)
