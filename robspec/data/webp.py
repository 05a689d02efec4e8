"""WebP by its chunks: one picture, how it is packed, whether it has an alpha channel, and its orientation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from robspec.data import orientation
from robspec.data.errors import UnreadableFile, UnsupportedFile

_MOST_CHUNKS = 10_000
_MOST_TEXT = 16 << 20


@dataclass(frozen=True, slots=True)
class Webp:
    """What the chunks say.

    Args:
        height: in pixels.
        width: in pixels.
        lossy: whether pixels are compressed with loss.
        alpha: whether there is an alpha channel.
        orientation: 1 to 8.
    """

    height: int
    width: int
    lossy: bool
    alpha: bool
    orientation: int


def walk(file: BinaryIO, where: str) -> Webp:
    """Read the chunks of a WebP file, passing over its pixels.

    Args:
        file: open at its start; its size may be anything.
        where: the file, for the error.

    Returns:
        What they say.

    Raises:
        UnreadableFile: E0305, the chunks are not those of a WebP file.
        UnsupportedFile: E0311, an animation.
        OrientationUnclear: E0315.

    Source: RFC 9649, sections 2.5 to 2.7 and 3.4.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    if end > size:
        raise _damaged(where, "it ends early")
    at, alpha = 12, False
    canvas: tuple[int, int] | None = None
    picture: tuple[int, int, bool] | None = None
    exif: list[bytes] = []
    xmp: list[bytes] = []
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:
            break
        file.seek(at)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if at + 8 + length > end:
            raise _damaged(where, "it ends early")
        front = file.read(min(length, 10))
        if kind in (b"ANIM", b"ANMF"):
            raise UnsupportedFile(
                where, "it is an animated WebP, and no frame of it is the image", "save the frame you mean by itself"
            )
        if kind == b"VP8X" and len(front) == 10:
            canvas = 1 + int.from_bytes(front[7:10], "little"), 1 + int.from_bytes(front[4:7], "little")
        elif kind == b"ALPH":
            alpha = True
        elif kind in (b"VP8 ", b"VP8L"):
            if picture is not None:
                raise _damaged(where, "it has two pictures")
            picture = _lossy(front, where) if kind == b"VP8 " else _lossless(front, where)
            alpha = alpha or (kind == b"VP8L" and bool(front[4] & 0x10))
        elif kind in (b"EXIF", b"XMP "):
            file.seek(at + 8)
            (exif if kind == b"EXIF" else xmp).append(file.read(min(length, _MOST_TEXT)).removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    else:
        raise _damaged(where, f"it has more than {_MOST_CHUNKS} chunks")
    if picture is None or 0 in picture[:2] or canvas not in (None, picture[:2]):
        raise _damaged(where, "its picture is missing, or is not as large as it says")
    return Webp(*picture, alpha, orientation.agreed(exif, xmp, where))


def _lossy(front: bytes, where: str) -> tuple[int, int, bool]:
    if len(front) < 10 or front[0] & 1 or front[3:6] != b"\x9d\x01\x2a":
        raise _damaged(where, "its picture does not begin as one")
    sides = (int.from_bytes(front[k : k + 2], "little") & 0x3FFF for k in (8, 6))
    return (*sides, True)  # type: ignore[return-value]


def _lossless(front: bytes, where: str) -> tuple[int, int, bool]:
    if len(front) < 5 or front[0] != 0x2F:
        raise _damaged(where, "its picture does not begin as one")
    bits = int.from_bytes(front[1:5], "little")
    return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), False


def _damaged(where: str, what: str) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be decoded as WebP: {what}", "restore the file, or narrow the glob")
