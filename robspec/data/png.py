"""PNG by its chunks: what a file says of itself, and the few chunks its pixels depend on."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from robspec.data import orientation
from robspec.data.errors import UnreadableFile, UnsupportedFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_NAMES = {GREY: "L", RGB: "RGB", PALETTE: "P", GREY_ALPHA: "LA", RGBA: "RGBA"}
_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
_MOST_CHUNKS = 200_000
_MOST_TEXT = 16 << 20
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, and the steps down and to the right, of each pass."""


@dataclass(frozen=True, slots=True)
class Png:
    """What the chunks say.

    Args:
        height: in pixels.
        width: in pixels.
        depth: bits of a sample, or of a palette index.
        colour: the colour type, one of the constants of this module.
        interlaced: whether the rows lie in seven passes.
        palette: three bytes an entry; empty for none.
        transparent: the body of tRNS, or None.
        orientation: 1 to 8.
    """

    height: int
    width: int
    depth: int
    colour: int
    interlaced: bool
    palette: bytes
    transparent: bytes | None
    orientation: int

    @property
    def channels(self) -> int:
        """Samples of a pixel; a palette index is one."""
        return _CHANNELS[self.colour]

    @property
    def mode(self) -> str:
        """The colour type by its usual name, with the depth where it is not 8."""
        return _NAMES[self.colour] + ("" if self.depth == 8 else f" of {self.depth} bits")

    @property
    def raw_bytes(self) -> int:
        """How many bytes the filtered rows have."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for top, left, down, right in passes:
            rows, columns = -(-(self.height - top) // down), -(-(self.width - left) // right)
            if rows > 0 and columns > 0:
                total += rows * (1 + (columns * self.channels * self.depth + 7) // 8)
        return total


def walk(file: BinaryIO, where: str) -> Png:
    """Read the chunks of a PNG, passing over its pixels.

    Args:
        file: open at its start; its size may be anything.
        where: the file, for the error.

    Returns:
        What they say.

    Raises:
        UnreadableFile: E0305, the chunks are not those of a PNG.
        UnsupportedFile: E0311, an animation.
        OrientationUnclear: E0315.
    """
    head, palette, transparent = b"", b"", None
    exif: list[bytes] = []
    xmp: list[bytes] = []
    seen: set[bytes] = set()
    for kind, length, start in _chunks(file, where):
        if not seen and kind != b"IHDR":
            raise _damaged(where, "it does not begin with IHDR")
        if kind in seen and kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            raise _damaged(where, f"it has {kind.decode()} twice")
        seen.add(kind)
        if kind in (b"acTL", b"fdAT"):
            raise UnsupportedFile(
                where, "it is an animated PNG, and no frame of it is the image", "save the frame you mean by itself"
            )
        if kind == b"IHDR":
            head = _body(file, length, start, 13)
        elif kind == b"PLTE":
            palette = _body(file, length, start, 768)
        elif kind == b"tRNS":
            transparent = _body(file, length, start, 768)
        elif kind == b"eXIf":
            exif.append(_body(file, length, start, _MOST_TEXT))
        elif kind in (b"iTXt", b"tEXt", b"zTXt"):
            _text(kind, _body(file, length, start, _MOST_TEXT), exif, xmp)
    if b"IDAT" not in seen:
        raise _damaged(where, "it has no pixels")
    height, width, depth, colour, interlaced = _header(head, where)
    if colour == PALETTE and (not palette or len(palette) % 3):
        raise _damaged(where, "its palette is missing or cut")
    turned = orientation.agreed(exif, xmp, where)
    return Png(height, width, depth, colour, interlaced, palette, transparent, turned)


def plain(blob: bytes, found: Png, where: str) -> bytes:
    """Leave out every chunk the stored samples do not depend on, the others checked.

    Args:
        blob: the whole file.
        found: what `walk` says of it; its size must be the expected one.
        where: the file, for the error.

    Returns:
        A PNG of IHDR, PLTE, IDAT and IEND.

    Raises:
        UnreadableFile: E0305, a checksum is wrong, or there are fewer rows than the header says.
    """
    parts = [SIGNATURE]
    packed = []
    for kind, length, start in _chunks(io.BytesIO(blob), where):
        body = memoryview(blob)[start : start + length]
        stored = int.from_bytes(blob[start + length : start + length + 4], "big")
        if zlib.crc32(body, zlib.crc32(kind)) != stored:
            raise _damaged(where, f"the checksum of its {kind.decode('latin-1')} is wrong")
        if kind == b"IDAT":
            packed.append(body)
        if kind in _NEEDED:
            parts.append(blob[start - 8 : start + length + 4])
    if _inflated(packed, found.raw_bytes, where) < found.raw_bytes:
        raise _damaged(where, "it has fewer rows than its header says")
    return b"".join(parts)


def _inflated(parts: list[memoryview], most: int, where: str) -> int:
    """How many bytes the parts hold together, counted up to `most`; a decoder would fill up what is missing."""
    stream, total = zlib.decompressobj(), 0
    try:
        for part in parts:
            rest: bytes | memoryview = part
            while rest and not stream.eof and total < most:
                total += len(stream.decompress(rest, min(most - total, 1 << 20)))
                rest = stream.unconsumed_tail
        return total
    except zlib.error as error:
        raise _damaged(where, f"its pixels cannot be unpacked: {error}") from error


def _chunks(file: BinaryIO, where: str) -> Iterator[tuple[bytes, int, int]]:
    """Kind, length and place of the body of every chunk up to IEND."""
    size = file.seek(0, os.SEEK_END)
    at = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        front = file.read(8)
        if len(front) < 8:
            raise _damaged(where, "it ends early")
        length, kind = struct.unpack(">I4s", front)
        if at + 12 + length > size:
            raise _damaged(where, "it ends early")
        yield kind, length, at + 8
        if kind == b"IEND":
            return
        at += 12 + length
    raise _damaged(where, f"it has more than {_MOST_CHUNKS} chunks")


def _body(file: BinaryIO, length: int, start: int, most: int) -> bytes:
    file.seek(start)
    return file.read(min(length, most))


def _header(head: bytes, where: str) -> tuple[int, int, int, int, bool]:
    if len(head) != 13:
        raise _damaged(where, "its header is cut")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", head)
    sound = 0 < width < 1 << 31 and 0 < height < 1 << 31 and depth in _DEPTHS.get(colour, ())
    if not sound or compression or filters or interlace > 1:
        raise _damaged(where, f"its header says {width} x {height}, depth {depth}, colour type {colour}")
    return height, width, depth, colour, bool(interlace)


def _text(kind: bytes, body: bytes, exif: list[bytes], xmp: list[bytes]) -> None:
    """Collect the texts that hold EXIF or XMP, as older programs write them."""
    keyword, _, rest = body.partition(b"\0")
    if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt":
        packed, text = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        xmp.append(_unpacked(text) if packed else text)
    elif keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
        lines = (_unpacked(rest[1:]) if kind == b"zTXt" else rest).split(b"\n")
        try:
            profile = bytes.fromhex(b"".join(lines[3:]).decode("ascii"))
        except ValueError:
            profile = b"?"  # no EXIF at all: `agreed` says that it cannot be read
        if keyword.endswith(b"exif") or profile.startswith(b"Exif\0\0"):
            exif.append(profile.removeprefix(b"Exif\0\0"))
        else:
            xmp.append(profile)


def _unpacked(text: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(text, _MOST_TEXT)
    except zlib.error:
        return b""


def _damaged(where: str, what: str) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be decoded as PNG: {what}", "restore the file, or narrow the glob")
