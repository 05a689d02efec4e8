"""Labels of whole images: a table of two columns, or one folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from robspec.data import reading, tables
from robspec.data.errors import BadLabelTable, LabelOutOfRange, MissingMask
from robspec.data.pairing import Pair
from robspec.diagnostics.suggest import did_you_mean

COLUMNS = ("image", "label")
_SHOWN = 10


def by_folder(pairs: Sequence[Pair], classes: tuple[str, ...]) -> tuple[int, ...]:
    """Read each image's label off the name of its folder.

    Args:
        pairs: the images, by the names the glob matched.
        classes: the class names, in index order.

    Returns:
        One class index for each image.

    Raises:
        LabelOutOfRange: E0306, a folder is named after no class.
    """
    return tuple(_class_of(PurePosixPath(p.name).parent.name, classes, p.name, "the folder is called") for p in pairs)


def from_table(path: Path, name: str, pairs: Sequence[Pair], classes: tuple[str, ...]) -> tuple[int, ...]:
    """Read the images' labels from a CSV file with the columns image and label.

    A row belongs to the image of that name, as the glob matched it; or of that path seen from the table's folder; or,
    where only one image is so called, of that file name.

    Args:
        path: the file.
        name: what messages call it.
        pairs: the images.
        classes: the class names, in index order; a label is a name, or an index.

    Returns:
        One class index for each image; rows of other images are passed over.

    Raises:
        BadLabelTable: E0318, no such columns, or two labels for one image.
        LabelOutOfRange: E0306, no class is called so, or an index beside a class called by the index of another.
        MissingMask: E0302, an image has no row.
    """
    rows = tables.rows(reading.file_bytes(path, name), name, COLUMNS, BadLabelTable)
    folder = PurePosixPath(name).parent
    keys: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        image = PurePosixPath(pair.name)
        beside = {image.relative_to(folder).as_posix()} if image.is_relative_to(folder) else set()
        for key in {pair.name, image.name} | beside:
            keys.setdefault(key, []).append(number)
    found: list[int | None] = [None] * len(pairs)
    for line, (image_name, label) in rows:
        wanted = image_name.replace("\\", "/").removeprefix("./")
        at = [n for n in keys.get(wanted, ()) if pairs[n].name == wanted] or keys.get(wanted, [])
        if not at:
            continue
        where = f"{name}, line {line}"
        if len(at) > 1:
            raise BadLabelTable(
                where,
                f"{wanted!r} is the name of {len(at)} images, {pairs[at[0]].name} and {pairs[at[1]].name} among them",
                "write the images' whole paths in the column `image`",
            )
        index = _class_of(label, classes, where, "the label is")
        before = found[at[0]]
        if before is not None and before != index:
            raise BadLabelTable(
                where,
                f"{pairs[at[0]].name} is labelled {classes[index]} here and {classes[before]} before",
                "keep one row for each image",
            )
        found[at[0]] = index
    missing = [p.name for p, label in zip(pairs, found, strict=True) if label is None]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise MissingMask(
            missing[0],
            f"{len(missing)} of {len(pairs)} images have no row in {name}: {shown}",
            "add the rows, or narrow the image glob",
        )
    return tuple(label for label in found if label is not None)


def _class_of(text: str, classes: tuple[str, ...], where: str, said: str) -> int:
    """The class a text means: its name, or its index where no class is called by another one's index."""
    if text in classes:
        return classes.index(text)
    # Of classes 1, 2 and 3, a table of indices would have 0 and 1 mean the same class.
    names = {str(k) for k in range(len(classes))} & set(classes)
    numbered = any(classes[int(name)] != name for name in names)
    if not numbered and text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(classes):
        return int(text)
    raise LabelOutOfRange(
        where,
        f"{said} {text[:60]!r}, and that is no class of the model: they are {', '.join(classes[:_SHOWN])}"
        + (f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""),
        did_you_mean(text, list(classes), f"write a class name{'' if numbered else ', or its index from 0'}"),
    )
