""".npy and .npz files: header checked, memory bounded, nothing unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from robspec.data.errors import AmbiguousArchive, FileTooLarge, UnreadableFile, UnsupportedFile
from robspec.data.header import Header

_MAX_HEADER = 10_000


def load(blob: bytes, is_archive: bool, most_values: int, where: str) -> npt.NDArray[np.generic]:
    """Read the one array of a file.

    Args:
        blob: the file's bytes.
        is_archive: True for .npz.
        most_values: how many values the declared shape can need.
        where: the file, for the error.

    Returns:
        The array, of a boolean, integer or floating dtype.

    Raises:
        UnreadableFile: E0305, damaged, truncated, or an object array.
        FileTooLarge: E0308, more values than the declared shape.
        AmbiguousArchive: E0309.
        UnsupportedFile: E0311, a dtype that is no number.
    """
    most = most_values * 8 + _MAX_HEADER + 16
    raw = _member(io.BytesIO(blob), most, where, whole=True) if is_archive else blob
    stream = io.BytesIO(raw)
    shape, fortran, dtype = _header(stream, where)
    count = math.prod(shape)
    if count > most_values:
        raise FileTooLarge(
            where,
            f"its shape {list(shape)} holds more values than the declared shape needs",
            "re-save it at the declared shape",
        )
    body = raw[stream.tell() :]
    if len(body) != count * dtype.itemsize:
        raise UnreadableFile(
            where, "its length does not agree with its header", "restore the file; it may be truncated"
        )
    array = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def peek(file: BinaryIO, is_archive: bool, where: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read what an array file says of itself, without its values.

    Args:
        file: the open file.
        is_archive: True for .npz.
        where: the file, for the error.

    Returns:
        Its shape and dtype.

    Raises:
        UnreadableFile: E0305.
        AmbiguousArchive: E0309.
        UnsupportedFile: E0311, a dtype that is no number.
    """
    most = _MAX_HEADER + 16
    raw = _member(file, most, where, whole=False) if is_archive else file.read(most)
    shape, _, dtype = _header(io.BytesIO(raw), where)
    return shape, dtype


def describe(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], declared: tuple[int, int, int] | None = None
) -> Header:
    """Describe an array as an image or mask.

    Args:
        shape: [H, W], [H, W, C] or [C, H, W].
        dtype: of the stored values.
        declared: C, H, W of an image, which settles how three sides are read where it fits; else C is 1 or 3.

    Returns:
        Its header; 0 channels when the shape is none of these.
    """
    if declared is not None and shape in (declared, (*declared[1:], declared[0])):
        return Header(declared[1], declared[2], declared[0], str(dtype))
    if len(shape) == 2:
        return Header(shape[0], shape[1], 1, str(dtype))
    if len(shape) == 3 and shape[0] in (1, 3):
        return Header(shape[1], shape[2], shape[0], str(dtype))
    if len(shape) == 3:
        return Header(shape[0], shape[1], shape[2], str(dtype))
    return Header(0, 0, 0, f"{dtype} {list(shape)}")


def image_pixels(array: npt.NDArray[np.generic], shape: tuple[int, int, int]) -> npt.NDArray[np.generic] | None:
    """Bring an array to [C, H, W] where exactly one reading fits.

    Args:
        array: as stored.
        shape: the declared C, H, W.

    Returns:
        The array as [C, H, W], or None when no reading fits.
    """
    channels, height, width = shape
    if array.shape == shape:
        return array
    if array.shape == (height, width, channels):
        return array.transpose(2, 0, 1)
    if channels == 1 and array.shape == (height, width):
        return array[None]
    return None


def plane_sides(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], sides: tuple[int, int], where: str, noun: str
) -> tuple[int, int]:
    """Check that an array holds one number per pixel, of whatever size.

    Args:
        shape: [H, W], [1, H, W] or [H, W, 1].
        dtype: of the stored values.
        sides: the H and W expected, which settle what a side of 1 is.
        where: the file, for the error.
        noun: what the error calls it.

    Returns:
        H and W.

    Raises:
        UnsupportedFile: E0311, it has several channels, or is a mask that does not hold integers.
    """
    if noun == "mask" and dtype.kind not in "bui":
        raise UnsupportedFile(where, f"a mask of {dtype} does not hold class ids", "save it as an integer array")
    found = [shape] if len(shape) == 2 else []
    if len(shape) == 3:
        found = [rest for one, rest in ((shape[0], shape[1:]), (shape[2], shape[:2])) if one == 1]
    if not found:
        raise UnsupportedFile(
            where, f"a {noun} of shape {list(shape)} is not [H, W]", "save one number per pixel; of a mask, class ids"
        )
    height, width = sides if sides in found else found[0]
    return height, width


def _member(file: BinaryIO, most: int, where: str, *, whole: bool) -> bytes:
    """The first `most` bytes of the only .npy inside a .npz, an error if `whole` and there are more."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) != 1 or not members[0].filename.endswith(".npy"):
                names = ", ".join(m.filename for m in members[:10]) or "nothing"
                raise AmbiguousArchive(
                    where,
                    f"it holds {len(members)} entries ({names}), not one array",
                    "save one array per file",
                )
            with archive.open(members[0]) as member:
                raw = member.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UnreadableFile(where, f"it is not a sound .npz: {error}", "restore the file") from error
    except RuntimeError as error:
        raise UnreadableFile(where, f"it cannot be decompressed: {error}", "save it unencrypted") from error
    if whole and len(raw) > most:
        raise FileTooLarge(
            where, "it decompresses to more than the declared shape needs", "re-save it at the declared shape"
        )
    return raw


def _header(stream: io.BytesIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
        elif version == (2, 0):
            found = np.lib.format.read_array_header_2_0(stream, max_header_size=_MAX_HEADER)
        else:
            raise ValueError(f"format version {version}")
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError) as error:
        raise UnreadableFile(where, f"its array header is not sound: {error}", "restore the file") from error
    shape, fortran, dtype = found
    if dtype.hasobject:
        raise UnreadableFile(where, "it holds Python objects, which only unpickling could read", "save it as numbers")
    if any(side < 0 for side in shape):
        raise UnreadableFile(where, "its array header has a negative side", "restore the file")
    if dtype.kind not in "buif":
        raise UnsupportedFile(where, f"its dtype is {dtype}", "save it as integers or floating point")
    return tuple(int(side) for side in shape), bool(fortran), dtype
