"""How a camera says which side is up: EXIF's tag 274, read from its bytes, and what it does to an array."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from robspec.data.errors import OrientationUnclear

_TAG = 274
_SIZES = {1: 1, 3: 2, 4: 4}
"""Bytes of the types an orientation is written in: BYTE, SHORT, LONG."""
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*(\d{1,3})")
_MEND = "turn the pixels once as you mean them, and save the file without EXIF and XMP"


def swaps(orientation: int) -> bool:
    """Tell whether an orientation exchanges height and width."""
    return orientation >= 5


def upright(array: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """Turn an array as its orientation asks.

    Args:
        array: [..., H, W] as stored.
        orientation: 1 to 8; where the 0th row and the 0th column of the stored array belong.

    Returns:
        [..., H, W], or [..., W, H] for 5 to 8.

    Source: Exif 3.0 (CIPA DC-008), tag 274.
    """
    if swaps(orientation):
        array = array.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        array = array[..., ::-1]
    return array


def agreed(exif: Iterable[bytes], xmp: Iterable[bytes], where: str) -> int:
    """Find the one orientation that a file's metadata give.

    Args:
        exif: TIFF structures, as they stand behind "Exif" in a JPEG and in a PNG's eXIf.
        xmp: XMP packets.
        where: the file, for the error.

    Returns:
        1 to 8; 1 where nothing is said.

    Raises:
        OrientationUnclear: E0315, two places differ, XMP alone turns the image, or EXIF cannot be read.
    """
    said = {_from_exif(block, where) for block in exif} - {None}
    if len(said) > 1:
        raise OrientationUnclear(where, f"its EXIF blocks give the orientations {_list(said)}", _MEND)
    beside = {int(found[1]) for packet in xmp for found in _XMP.finditer(packet)}
    beside = {value for value in beside if 1 <= value <= 8}
    plain = next(iter(said), None) or 1
    if beside and beside != {plain}:
        of_exif = f"EXIF {plain}" if said else "EXIF none"
        text = f"XMP gives the orientation {_list(beside)} and {of_exif}, and programs follow one or the other"
        raise OrientationUnclear(where, text, _MEND)
    return plain


def _from_exif(block: bytes, where: str) -> int | None:
    """The tag of the first directory; None where it is absent, or no orientation."""
    if not block.strip(b"\0"):
        return None
    order = _ORDERS.get(block[:4])
    if order is None:
        raise OrientationUnclear(where, "its EXIF cannot be read, so that its orientation is not known", _MEND)

    def number(at: int, size: int) -> int:
        if at + size > len(block):
            raise OrientationUnclear(where, "its EXIF ends early, so that its orientation is not known", _MEND)
        return int.from_bytes(block[at : at + size], order)

    start = number(4, 4)
    for k in range(number(start, 2)):
        entry = start + 2 + 12 * k
        if number(entry, 2) == _TAG:
            size = _SIZES.get(number(entry + 2, 2))
            if size is None or number(entry + 4, 4) != 1:
                raise OrientationUnclear(where, "its EXIF orientation is not one small number", _MEND)
            value = number(entry + 8, size)
            return value if 1 <= value <= 8 else None
    return None


def _list(values: Iterable[int | None]) -> str:
    return " and ".join(map(str, sorted(v for v in values if v is not None)))
