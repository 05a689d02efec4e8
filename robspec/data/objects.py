"""Annotated objects: one COCO file for all images, or a YOLO or Pascal VOC file for each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.data import reading, voc
from robspec.data.errors import BadObjects, LabelOutOfRange, MissingMask
from robspec.data.pairing import Pair
from robspec.diagnostics.suggest import did_you_mean

MOST_OBJECTS = 10_000
"""Of one image."""
_FARTHEST = 1e9
"""Pixels from the corner of the image."""
_SHOWN = 10
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?|[+-]?\.[0-9]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is annotated on one image.

    Args:
        boxes: [M, 4], x1, y1, x2, y2 in input pixels.
        classes: [M], class indices.
        crowd: [M], regions of many.
        ignored: [M], objects that need not be found; no crowds.
    """

    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Annotated:
    """One object as a file has it.

    Args:
        box: x1, y1, x2, y2 in input pixels.
        index: of its class.
        crowd: a region of many.
        ignored: need not be found.
    """

    box: tuple[float, float, float, float]
    index: int
    crowd: bool = False
    ignored: bool = False


def from_coco(
    blob: bytes, name: str, pairs: Sequence[Pair], classes: tuple[str, ...], size: tuple[int, int]
) -> tuple[Objects, ...]:
    """Read the objects of all images from one COCO file.

    Args:
        blob: its bytes.
        name: what messages call it.
        pairs: the images, by the names the glob matched; found by `file_name`, as a path or as a plain file name.
        classes: the class names; categories are matched by name.
        size: height and width of the input; images of another size are refused.

    Returns:
        The objects of each image. `iscrowd` makes a crowd; as with pycocotools nothing else is ignored.

    Raises:
        BadObjects: E0319.
        LabelOutOfRange: E0306, a category that is no class of the model.
        MissingMask: E0302, an image the file does not list.
    """
    document = _mapping(_json(blob, name), name, "the file")
    indices = {}
    for number, entry in enumerate(_sequence(document.get("categories"), name, "categories")):
        found = _mapping(entry, name, f"category {number}")
        indices[_identity(found.get("id"), name, f"category {number}")] = found.get("name")
    numbers = _images(document, name, pairs, size)
    objects: list[list[Annotated]] = [[] for _ in pairs]
    for number, entry in enumerate(_sequence(document.get("annotations"), name, "annotations")):
        where = f"{name}, annotation {number}"
        found = _mapping(entry, where, "it")
        image = _identity(found.get("image_id"), where, "image_id")
        category = _identity(found.get("category_id"), where, "category_id")
        if image not in numbers:
            raise BadObjects(where, f"no image has the id {image}", "correct its image_id")
        at = numbers[image]
        if at is None:
            continue
        if category not in indices:
            raise BadObjects(where, f"no category has the id {category}", "correct its category_id")
        bbox = _sequence(found.get("bbox"), where, "bbox")
        if len(bbox) != 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in bbox):
            raise BadObjects(where, "its bbox is not four numbers", "write [x, y, width, height] in pixels")
        x, y, wide, tall = (_pixel(v, where) for v in bbox)
        crowd = found.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise BadObjects(where, f"iscrowd is {str(crowd)[:20]}", "write 0 or 1")
        box = _box((x, y, x + wide, y + tall), where)
        objects[at].append(Annotated(box, _class_of(str(indices[category]), classes, where), bool(crowd)))
    return tuple(_arrays(found, p.name) for found, p in zip(objects, pairs, strict=True))


def _images(
    document: dict[str, Any], name: str, pairs: Sequence[Pair], size: tuple[int, int]
) -> dict[int, int | None]:
    """Which image of the data set each listed one is; None for one that is not among them."""
    keys: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        for key in {pair.name, PurePosixPath(pair.name).name}:
            keys.setdefault(key, []).append(number)
    numbers: dict[int, int | None] = {}
    met: dict[int, str] = {}
    for number, entry in enumerate(_sequence(document.get("images"), name, "images")):
        where = f"{name}, image {number}"
        found = _mapping(entry, where, "it")
        identity, file = _identity(found.get("id"), where, "id"), found.get("file_name")
        if identity in numbers or not isinstance(file, str):
            what = f"its id {identity} is another image's too" if identity in numbers else "it has no file_name"
            raise BadObjects(where, what, "give every image an id of its own and a file_name")
        file = file.replace("\\", "/").removeprefix("./")
        at = [n for n in keys.get(file, ()) if pairs[n].name == file] or keys.get(file, [])
        at = at or _by_ending(file, pairs, keys)
        if len(at) > 1:
            raise BadObjects(where, f"{file!r} is the name of {len(at)} images", "write whole paths as file_name")
        numbers[identity] = at[0] if at else None
        if not at:
            continue
        if at[0] in met:
            raise BadObjects(where, f"{pairs[at[0]].name} is listed twice", "list every image once")
        met[at[0]] = file
        _check_size((found.get("height"), found.get("width")), size, where)
    missing = [p.name for n, p in enumerate(pairs) if n not in met]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise MissingMask(
            missing[0],
            f"{len(missing)} of {len(pairs)} images are not listed in {name}: {shown}",
            "list them, without annotations where nothing is on them, or narrow the image glob",
        )
    return numbers


def _by_ending(file: str, pairs: Sequence[Pair], keys: dict[str, list[int]]) -> list[int]:
    """The image whose path ends in a path, seen from a folder in between."""
    return [n for n in keys.get(PurePosixPath(file).name, ()) if "/" in file and pairs[n].name.endswith(f"/{file}")]


def from_yolo(blob: bytes, name: str, classes: tuple[str, ...], size: tuple[int, int]) -> Objects:
    """Read the objects of one image from a YOLO file.

    Args:
        blob: its bytes: in each line a class index and centre, width and height as shares of the image's.
        name: what messages call it.
        classes: the class names.
        size: height and width of the input.

    Raises:
        BadObjects: E0319.
        LabelOutOfRange: E0306.
    """
    found = []
    for line, cells in _lines(blob, name):
        where = f"{name}, line {line}"
        if len(cells) != 5 or not all(_NUMBER.fullmatch(c) for c in cells):
            raise BadObjects(where, "it is not a class index and four numbers", "write `class x y width height`")
        if not cells[0].isdecimal() or len(cells[0]) > 9 or int(cells[0]) >= len(classes):
            what = f"the class index is {cells[0][:20]}, and the model has {len(classes)} classes"
            raise LabelOutOfRange(where, what, f"write an index from 0 to {len(classes) - 1}")
        x, y, wide, tall = (float(c) for c in cells[1:])
        if not all(0 <= v <= 1 for v in (x, y, wide, tall)):
            raise BadObjects(where, "a number is not between 0 and 1", "write shares of the image's width and height")
        sides = (
            (x - wide / 2) * size[1],
            (y - tall / 2) * size[0],
            (x + wide / 2) * size[1],
            (y + tall / 2) * size[0],
        )
        found.append(Annotated(_box(sides, where), int(cells[0])))
    return _arrays(found, name)


def from_voc(blob: bytes, name: str, classes: tuple[str, ...], size: tuple[int, int]) -> Objects:
    """Read the objects of one image from a Pascal VOC file.

    Args:
        blob: its bytes. Pixels are counted from 1, both ends included: the box is xmin - 1, ymin - 1, xmax, ymax.
        name: what messages call it.
        classes: the class names.
        size: height and width of the input.

    Returns:
        The objects; `difficult` ones need not be found.

    Raises:
        BadObjects: E0319.
        LabelOutOfRange: E0306.
    """
    document = voc.read(blob, name)
    _check_size((document.height, document.width), size, name)
    found = []
    for number, entry in enumerate(document.objects):
        where = f"{name}, object {number}"
        ends = []
        for corner in ("xmin", "ymin", "xmax", "ymax"):
            text = entry.get(corner, "")
            if not _NUMBER.fullmatch(text):
                raise BadObjects(where, f"its {corner} is {text[:20]!r}", "write a number of pixels")
            ends.append(_pixel(float(text), where))
        difficult = entry.get("difficult", "0")
        if difficult not in ("0", "1"):
            raise BadObjects(where, f"difficult is {difficult[:20]!r}", "write 0 or 1")
        box = _box((ends[0] - 1, ends[1] - 1, ends[2], ends[3]), where)
        index = _class_of(entry.get("name", ""), classes, where)
        found.append(Annotated(box, index, ignored=difficult == "1"))
    return _arrays(found, name)


def read(
    kind: str,
    root: Path,
    objects: str,
    pairs: Sequence[Pair],
    classes: tuple[str, ...],
    size: tuple[int, int],
    blobs: Iterator[bytes],
) -> tuple[Objects, ...]:
    """Read the objects of every image.

    Args:
        kind: "coco", "yolo" or "voc".
        root: the folder paths are relative to.
        objects: of "coco", the file.
        pairs: the images, of other kinds with the file of each as its mask.
        classes: the class names.
        size: height and width of the input.
        blobs: of other kinds, the content of each file.
    """
    if kind == "coco":
        return from_coco(reading.file_bytes(root / objects, objects), objects, pairs, classes, size)
    one = from_yolo if kind == "yolo" else from_voc
    return tuple(one(blob, p.mask_name, classes, size) for blob, p in zip(blobs, pairs, strict=True))


def _arrays(found: Sequence[Annotated], name: str) -> Objects:
    if len(found) > MOST_OBJECTS:
        raise BadObjects(name, f"{len(found)} objects on one image", f"split it; at most {MOST_OBJECTS} are read")
    return Objects(
        np.array([o.box for o in found], dtype=np.float64).reshape(-1, 4),
        np.array([o.index for o in found], dtype=np.int64),
        np.array([o.crowd for o in found], dtype=np.bool_),
        np.array([o.ignored for o in found], dtype=np.bool_),
    )


def _json(blob: bytes, name: str) -> Any:
    try:
        return json.loads(blob.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadObjects(name, f"it is no JSON in UTF-8: {str(error)[:200]}", "save it as COCO JSON") from error


def _lines(blob: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    try:
        text = blob.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadObjects(name, "it is no text in UTF-8", "save it as plain text") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.split()


def _mapping(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadObjects(where, f"{what} is no JSON object", "write it as COCO does")
    return value


def _sequence(value: Any, where: str, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadObjects(where, f"{what} is no list", "write it as COCO does")
    return value


def _identity(value: Any, where: str, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadObjects(where, f"{what} is not an integer", "write it as COCO does")
    return value


def _pixel(value: float, where: str) -> float:
    # A whole number of JSON may be beyond every float, and is compared as what it is.
    if not abs(value) <= _FARTHEST:
        raise BadObjects(where, "a coordinate is infinite or beyond any image", "write pixels")
    return float(value)


def _box(sides: tuple[float, float, float, float], where: str) -> tuple[float, float, float, float]:
    if sides[2] < sides[0] or sides[3] < sides[1]:
        raise BadObjects(where, "its box has a negative width or height", "write the upper left corner first")
    return sides


def _check_size(found: tuple[Any, Any], size: tuple[int, int], where: str) -> None:
    if tuple(found) != size:
        raise BadObjects(
            where,
            f"it is of an image of {found[1]} x {found[0]} pixels, and the input has {size[1]} x {size[0]}",
            "annotate the images as the model sees them: robspec scales neither images nor boxes",
        )


def _class_of(text: str, classes: tuple[str, ...], where: str) -> int:
    if text in classes:
        return classes.index(text)
    raise LabelOutOfRange(
        where,
        f"its class is {text[:60]!r}, and that is no class of the model: they are {', '.join(classes[:_SHOWN])}",
        did_you_mean(text, list(classes), "write a class name"),
    )
