"""TIFF by its first directory: one page of samples that can be read without loss."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

from robspec.data.errors import OrientationUnclear, UnreadableFile, UnsupportedFile

SIGNATURES = (b"II*\0", b"MM\0*")
GREY, RGB, PALETTE = 1, 2, 3
_SIZES = {1: 1, 3: 2, 4: 4}
_MOST_TAGS, _MOST_VALUES = 4096, 1 << 20
_WIDTH, _HEIGHT, _BITS, _PACKING, _COLOUR, _FILL = 256, 257, 258, 259, 262, 266
_STRIPS, _TURNED, _SAMPLES, _ROWS, _COUNTS, _PLANES = 273, 274, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _TILE_WIDTH, _EXTRA, _FORMAT = 317, 320, 322, 338, 339
_LOSSLESS = {1: "no", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}
_CONVERT = "save it as PNG, or as a TIFF of one page with 8 or 16 bits a sample"


@dataclass(frozen=True, slots=True)
class Tiff:
    """What the directory says.

    Args:
        height: in pixels.
        width: in pixels.
        depth: bits of a sample, or of a palette index.
        colour: GREY, RGB or PALETTE.
        palette: three bytes an entry; empty for none.
        alpha: whether a fourth sample is opacity.
        orientation: 1 to 8.
    """

    height: int
    width: int
    depth: int
    colour: int
    palette: bytes
    alpha: bool
    orientation: int


def walk(file: BinaryIO, where: str) -> Tiff:
    """Read the first directory of a TIFF file.

    Args:
        file: open at its start; its size may be anything.
        where: the file, for the error.

    Returns:
        What it says.

    Raises:
        UnreadableFile: E0305, it is not that of a TIFF file.
        UnsupportedFile: E0311, several pages, samples or a compression that cannot be read without loss.
        OrientationUnclear: E0315.

    Source: TIFF 6.0, sections 2 to 8.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    order: Literal["little", "big"] = "little" if file.read(2) == b"II" else "big"
    file.seek(4)
    tags, following = _directory(file, int.from_bytes(file.read(4), order), order, size, where)
    if following:
        raise UnsupportedFile(where, "it has several pages, and none of them is the image", "save the page you mean")
    height, width = (_one(tags, tag, where) for tag in (_HEIGHT, _WIDTH))
    colour, samples = _one(tags, _COLOUR, where), tags.get(_SAMPLES, (1,))[0]
    bits = set(tags.get(_BITS, (1,)))
    extra = tags.get(_EXTRA, ())
    packing = tags.get(_PACKING, (1,))[0]
    channels = {GREY: 1, RGB: 3, PALETTE: 1}.get(colour)
    alpha = colour == RGB and extra in ((1,), (2,))
    if channels is None or samples != channels + alpha or (extra and not alpha):
        raise UnsupportedFile(where, f"its samples are of colour kind {colour}, {samples} a pixel", _CONVERT)
    depth = next(iter(bits))
    allowed = {GREY: (1, 8, 16), RGB: (8,), PALETTE: (8,)}[colour]
    if len(bits) != 1 or depth not in allowed or set(tags.get(_FORMAT, (1,))) != {1}:
        shown = " and ".join(map(str, sorted(bits)))
        raise UnsupportedFile(where, f"its samples have {shown} bits, or are no whole numbers", _CONVERT)
    if packing not in _LOSSLESS or tags.get(_FILL, (1,))[0] != 1 or tags.get(_PREDICTOR, (1,))[0] not in (1, 2):
        raise UnsupportedFile(where, f"its compression has the number {packing}", _CONVERT)
    if tags.get(_PLANES, (1,))[0] != 1 or _TILE_WIDTH in tags:
        raise UnsupportedFile(where, "its pixels lie in planes or tiles", _CONVERT)
    _check_strips(tags, height, width * samples * depth, packing, size, where)
    turned = tags.get(_TURNED, (1,))[0]
    if not 1 <= turned <= 8:
        raise OrientationUnclear(where, f"it gives the orientation {turned}", "save it upright")
    return Tiff(height, width, depth, colour, _colours(tags, colour, depth, where), alpha, turned)


def _directory(
    file: BinaryIO, start: int, order: Literal["little", "big"], size: int, where: str
) -> tuple[dict[int, tuple[int, ...]], int]:
    """Whole numbers by tag, and where the next directory lies."""
    file.seek(start)
    count = int.from_bytes(file.read(2), order)
    body = file.read(12 * count + 4)
    if start < 8 or not 0 < count <= _MOST_TAGS or len(body) < 12 * count + 4:
        raise _damaged(where, "its directory is missing or cut")
    tags: dict[int, tuple[int, ...]] = {}
    for k in range(0, 12 * count, 12):
        tag, kind = (int.from_bytes(body[k + j : k + j + 2], order) for j in (0, 2))
        number, inline = int.from_bytes(body[k + 4 : k + 8], order), body[k + 8 : k + 12]
        width = _SIZES.get(kind)
        if width is None:
            continue
        if tag in tags:
            raise _damaged(where, f"it has tag {tag} twice")
        if not 0 < number <= _MOST_VALUES:
            raise _damaged(where, f"its tag {tag} has {number} values")
        raw = inline[: number * width]
        if number * width > 4:
            place = int.from_bytes(inline, order)
            if place + number * width > size:
                raise _damaged(where, "it ends early")
            file.seek(place)
            raw = file.read(number * width)
        tags[tag] = tuple(int.from_bytes(raw[j : j + width], order) for j in range(0, number * width, width))
    return tags, int.from_bytes(body[12 * count :], order)


def _check_strips(
    tags: dict[int, tuple[int, ...]], height: int, row_bits: int, packing: int, size: int, where: str
) -> None:
    """Every strip must lie in the file, and there must be enough of them: a decoder would leave the rest at 0."""
    offsets, counts = tags.get(_STRIPS, ()), tags.get(_COUNTS, ())
    rows = min(tags.get(_ROWS, (height,))[0], height)
    if rows < 1 or len(offsets) != -(-height // rows) or len(counts) != len(offsets):
        raise _damaged(where, "it has not as many strips as its rows need")
    if any(o + c > size for o, c in zip(offsets, counts, strict=True)):
        raise _damaged(where, "it ends early")
    if packing == 1:
        needed = [min(rows, height - k * rows) * ((row_bits + 7) // 8) for k in range(len(offsets))]
        if any(c < n for c, n in zip(counts, needed, strict=True)):
            raise _damaged(where, "it has fewer rows than it says")


def _colours(tags: dict[int, tuple[int, ...]], colour: int, depth: int, where: str) -> bytes:
    """A palette as three bytes an entry; its 16-bit values must be 8-bit ones, scaled in a usual way."""
    if colour != PALETTE:
        return b""
    table = tags.get(_PALETTE, ())
    if len(table) != 3 << depth:
        raise _damaged(where, "its palette is missing or cut")
    if any(v % 257 for v in table) and any(v % 256 for v in table):
        raise UnsupportedFile(where, "its palette has colours of 16 bits", _CONVERT)
    size = 1 << depth
    return bytes(table[k + channel * size] >> 8 for k in range(size) for channel in range(3))


def _one(tags: dict[int, tuple[int, ...]], tag: int, where: str) -> int:
    found = tags.get(tag, ())
    if len(found) != 1 or (tag != _COLOUR and found[0] < 1):
        raise _damaged(where, f"its tag {tag} is missing")
    return found[0]


def _damaged(where: str, what: str) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be decoded as TIFF: {what}", "restore the file, or narrow the glob")
