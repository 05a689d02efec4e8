"""GIF by its blocks: one picture that fills the screen, its palette, and which index is transparent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from robspec.data.errors import UnreadableFile, UnsupportedFile

SIGNATURES = (b"GIF87a", b"GIF89a")
_MOST_BLOCKS = 200_000
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_CONTROL = 0xF9


@dataclass(frozen=True, slots=True)
class Gif:
    """What the blocks say.

    Args:
        height: in pixels.
        width: in pixels.
        palette: three bytes an entry.
        transparent: opacity of each index, as a PNG's tRNS has it; None for all opaque.
    """

    height: int
    width: int
    palette: bytes
    transparent: bytes | None


def walk(file: BinaryIO, where: str) -> Gif:
    """Read the blocks of a GIF, passing over its pixels.

    Args:
        file: open at its start; its size may be anything.
        where: the file, for the error.

    Returns:
        What they say.

    Raises:
        UnreadableFile: E0305, the blocks are not those of a GIF.
        UnsupportedFile: E0311, several pictures, or one that leaves part of the screen empty.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(6)
    screen = _exactly(file, 7, where)
    width, height = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    palette = _table(file, screen[4], where)
    found: Gif | None = None
    transparent: int | None = None
    for _ in range(_MOST_BLOCKS):
        kind = _exactly(file, 1, where)[0]
        if kind == _END:
            break
        if kind == _EXTENSION:
            label = _exactly(file, 1, where)[0]
            body = _blocks(file, size, where)
            if label == _CONTROL and len(body) >= 4:
                transparent = body[3] if body[0] & 1 else None
        elif kind == _IMAGE:
            if found is not None:
                raise UnsupportedFile(
                    where, "it holds several pictures, and none of them is the image", "save the one you mean"
                )
            place = _exactly(file, 9, where)
            left, top, across, down = (int.from_bytes(place[k : k + 2], "little") for k in (0, 2, 4, 6))
            if (left, top, across, down) != (0, 0, width, height):
                raise UnsupportedFile(
                    where, "its picture does not fill its screen, and the rest has no colour", "save it as PNG"
                )
            own = _table(file, place[8], where) or palette
            _exactly(file, 1, where)
            _blocks(file, size, where)
            opacity = None if transparent is None else b"\xff" * transparent + b"\0"
            found = Gif(height, width, own, opacity)
        else:
            raise _damaged(where, "a block has no known kind")
    else:
        raise _damaged(where, f"it has more than {_MOST_BLOCKS} blocks")
    if found is None or not found.palette or not width or not height:
        raise _damaged(where, "it has no picture, or no palette")
    return found


def _table(file: BinaryIO, flags: int, where: str) -> bytes:
    """A palette, where the flags say that one follows."""
    return _exactly(file, 3 << ((flags & 7) + 1), where) if flags & 0x80 else b""


def _blocks(file: BinaryIO, size: int, where: str) -> bytes:
    """Pass over sub-blocks up to the empty one; the first of them is returned."""
    first = b""
    while True:
        length = _exactly(file, 1, where)[0]
        if length == 0:
            return first
        if not first:
            first = _exactly(file, length, where)
        elif file.seek(length, os.SEEK_CUR) > size:
            raise _damaged(where, "it ends early")


def _exactly(file: BinaryIO, count: int, where: str) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise _damaged(where, "it ends early")
    return found


def _damaged(where: str, what: str) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be decoded as GIF: {what}", "restore the file, or narrow the glob")
