"""The folder of pictures beside an HTML report."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from robspec.verify.errors import OutputPathError

_OWN = re.compile(r"\w+-[0-9]{3,}-[a-z-]+\.png", re.ASCII)


def folder_of(page: Path) -> Path:
    """Name the folder of a page: `report.html` has `report-images`."""
    return page.with_name(f"{page.stem}-images")


def check_folder(folder: Path) -> None:
    """Make sure that pictures can be written, before any work is done.

    Raises:
        OutputPathError: the path is a file, or cannot be written to (E0602).
    """
    if folder.exists() and not folder.is_dir():
        raise OutputPathError(str(folder), "the folder of the pictures is a file", "name the page otherwise")
    if folder.exists() and not os.access(folder, os.W_OK):
        raise OutputPathError(str(folder), "the folder of the pictures is not writable", "name the page otherwise")


def write(folder: Path, data: str, number: int, title: str, png: bytes) -> str:
    """Write one picture, whole or not at all.

    Args:
        folder: created if missing.
        data: the data set's name.
        number: of the image, 1 for the worst.
        title: of the picture.
        png: the file.

    Returns:
        Its path from where the folder lies.

    Raises:
        OutputPathError: the file system refuses (E0602).
    """
    name = f"{data}-{number:03d}-{title.replace(' ', '-')}.png"
    try:
        folder.mkdir(exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(png)
        Path(part).chmod(0o644)
        Path(part).replace(folder / name)
    except OSError as error:
        raise OutputPathError(str(folder), f"cannot write: {error.strerror}", "choose another path") from error
    return f"{folder.name}/{name}"


def forget(folder: Path, shown: Collection[str]) -> None:
    """Remove pictures of an earlier report, and nothing else.

    Args:
        folder: of the pictures.
        shown: those of this report, as `write` returned them.
    """
    for path in folder.glob("*.png"):
        if _OWN.fullmatch(path.name) and f"{folder.name}/{path.name}" not in shown:
            path.unlink(missing_ok=True)
