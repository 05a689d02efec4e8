"""JPEG by its segments: what a file says of itself, however much metadata comes before, and the file without it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from robspec.data import orientation
from robspec.data.errors import UnreadableFile

SIGNATURE = b"\xff\xd8\xff"
_MOST_SEGMENTS = 100_000
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_METADATA = frozenset(range(0xE1, 0xEE)) | {0xEF, 0xFE}
"""Application segments but JFIF's and Adobe's, which tell how colours are stored; and comments."""
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What the segments say.

    Args:
        height: in pixels.
        width: in pixels.
        channels: components of a pixel.
        depth: bits of a sample.
        orientation: 1 to 8.
    """

    height: int
    width: int
    channels: int
    depth: int
    orientation: int

    @property
    def mode(self) -> str:
        """The components by their usual name, with the depth where it is not 8."""
        return _MODES.get(self.channels, "unknown") + ("" if self.depth == 8 else f" of {self.depth} bits")


def walk(file: BinaryIO, where: str) -> Jpeg:
    """Read the segments of a JPEG up to its first scan.

    Args:
        file: open at its start; its size may be anything.
        where: the file, for the error.

    Returns:
        What they say.

    Raises:
        UnreadableFile: E0305, the segments are not those of a JPEG.
        OrientationUnclear: E0315.
    """
    frame = b""
    exif: list[bytes] = []
    xmp: list[bytes] = []
    for marker, length, start in _segments(file, where):
        if marker in _FRAMES:
            if frame:
                raise _damaged(where, "it has two frame headers")
            file.seek(start)
            frame = file.read(min(length, 6))
            if len(frame) < 6:
                raise _damaged(where, "its frame header is cut")
        elif marker == _APP1:
            file.seek(start)
            body = file.read(length)
            if body.startswith(_EXIF):
                _collect(body.removeprefix(_EXIF), exif)
            elif body.startswith(_XMP):
                xmp.append(body.removeprefix(_XMP))
    if not frame:
        raise _damaged(where, "it has no frame header")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return Jpeg(height, width, frame[5], frame[0], orientation.agreed(exif, xmp, where))


def _collect(block: bytes, exif: list[bytes]) -> None:
    """A block of more than 64 KiB goes on in the next segment."""
    if exif and block[:4] not in (b"II*\0", b"MM\0*"):
        exif[-1] += block
    else:
        exif.append(block)


def plain(blob: bytes, where: str) -> bytes:
    """Leave out the metadata before the first scan.

    Args:
        blob: the whole file.
        where: the file, for the error.

    Returns:
        A JPEG of the same pixels.

    Raises:
        UnreadableFile: E0305.
    """
    parts, end = [blob[:2]], 2
    for marker, length, start in _segments(io.BytesIO(blob), where):
        if marker not in _METADATA:
            parts.append(b"\xff" + bytes([marker]) + blob[start - 2 : start + length])
        end = start + length
    return b"".join([*parts, blob[end:]])


def _segments(file: BinaryIO, where: str) -> Iterator[tuple[int, int, int]]:
    """Marker, length and place of the body of every segment up to the first scan's header, that included."""
    size = file.seek(0, os.SEEK_END)
    at = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        front = file.read(2)
        if len(front) < 2 or front[0] != 0xFF:
            raise _damaged(where, "it ends, or is damaged, before its pixels")
        marker = front[1]
        if marker == 0xFF:  # any number of them may fill up
            at += 1
            continue
        if marker == 0x01:  # the one marker here without a body
            at += 2
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if marker == _END or length < 0 or at + 4 + length > size:
            raise _damaged(where, "it ends, or is damaged, before its pixels")
        yield marker, length, at + 4
        if marker == _SCAN:
            return
        at += 4 + length
    raise _damaged(where, f"it has more than {_MOST_SEGMENTS} segments before its pixels")


def _damaged(where: str, what: str) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be decoded as JPEG: {what}", "restore the file, or narrow the glob")
