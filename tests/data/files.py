"""Image files written byte by byte, so that what a reader makes of them is judged by nothing but the formats."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
Array = npt.NDArray[np.int64]


def chunk(name: bytes, body: bytes) -> bytes:
    """Length, name, body, checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    samples: Array,
    depth: int = 8,
    colour: int = GREY,
    *,
    palette: Sequence[Sequence[int]] = (),
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    rows: bytes | None = None,
) -> bytes:
    """Write a PNG of samples [H, W] or [H, W, C]; `before` and `after` are chunks around the pixels."""
    height, width = samples.shape[:2]
    parts = [samples[y::down, x::right] for y, x, down, right in _PASSES] if interlaced else [samples]
    body = b"".join(_rows(part, depth) for part in parts if part.size) if rows is None else rows
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    listed = chunk(b"PLTE", bytes(v for entry in palette for v in entry)) if palette else b""
    pixels = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + listed + before + pixels + after + chunk(b"IEND", b"")


def _rows(part: Array, depth: int) -> bytes:
    found = b""
    for row in part.reshape(len(part), -1):
        bits = "".join(format(int(v), f"0{depth}b") for v in row)
        bits += "0" * (-len(bits) % 8)
        found += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return found


def jpeg(blocks: Array, before: bytes = b"") -> bytes:
    """Write a baseline JPEG of levels [h, w, C], each a block of 8 x 8 pixels, behind some segments.

    The quantisation is 1 and the blocks are constant, so that decoding is exact; three components are R, G, B.
    """
    height, width, count = blocks.shape
    adobe = segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)) if count > 1 else b""
    parts = [segment(k, b) for k, b in ((0xDB, b"\0" + b"\1" * 64),)]
    frame = struct.pack(">BHHB", 8, 8 * height, 8 * width, count)
    parts.append(segment(0xC0, frame + b"".join(bytes([k, 0x11, 0]) for k in range(count))))
    # Twelve sizes of differences, four bits each; one code for the end of a block.
    parts.append(segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12))))
    parts.append(segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"))
    parts.append(segment(0xDA, bytes([count]) + b"".join(bytes([k, 0]) for k in range(count)) + bytes([0, 63, 0])))
    bits, last = "", [0] * count
    for pixel in blocks.reshape(-1, count):
        for k in range(count):
            level = 8 * (int(pixel[k]) - 128)
            difference, last[k] = level - last[k], level
            size = abs(difference).bit_length()
            bits += format(size, "04b")
            bits += format(difference if difference > 0 else difference + 2**size - 1, f"0{size}b") if size else ""
            bits += "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + adobe + before + b"".join(parts) + scan + b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF structure of three tags, the second of them the orientation."""
    tags = ((256, 3, 1), (274, 3, orientation), (296, 3, 2))
    front = b"II*\0" if order == "<" else b"MM\0*"
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, kind, 1, value, 0) for tag, kind, value in tags)
    return front + struct.pack(f"{order}IH", 8, len(tags)) + entries + struct.pack(f"{order}I", 0)


def xmp(orientation: int) -> bytes:
    """An XMP packet with an orientation."""
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def turned(upright: Array, orientation: int) -> Array:
    """What a camera stores of an upright array: where its row 0 and its column 0 belong, by the standard."""
    places = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
    places |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}
    row, column = places[orientation].split()
    found = upright if row in ("top", "bottom") else np.swapaxes(upright, 0, 1)
    if row in ("bottom", "right"):
        found = found[::-1]
    return found[:, ::-1] if column in ("bottom", "right") else found
