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
    if dtype.kind not in "buif":
        raise UnsupportedFile(where, f"its dtype is {dtype}", "save it as integers or floating point")
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


def peek(file: BinaryIO, is_archive: bool, where: str, declared: tuple[int, int, int] | None = None) -> Header:
    """Read what an array file says of itself, without its values.

    Args:
        file: the open file.
        is_archive: True for .npz.
        where: the file, for the error.
        declared: C, H, W of an image, or None.

    Returns:
        Its header, see `describe`.

    Raises:
        UnreadableFile: E0305.
        AmbiguousArchive: E0309.
    """
    most = _MAX_HEADER + 16
    raw = _member(file, most, where, whole=False) if is_archive else file.read(most)
    shape, _, dtype = _header(io.BytesIO(raw), where)
    return describe(shape, dtype, declared)


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


def mask_labels(array: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.generic]:
    """Bring an array of class ids to [H, W].

    Args:
        array: as stored.
        where: the file, for the error.

    Returns:
        An integer array.

    Raises:
        UnsupportedFile: E0311, not integers, or not two-dimensional.
    """
    if array.dtype.kind not in "bui":
        raise UnsupportedFile(
            where, f"a mask of {array.dtype} does not hold class ids", "save it as an integer array"
        )
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise UnsupportedFile(
            where, f"a mask of shape {list(array.shape)} is not [H, W]", "save class ids, one per pixel"
        )
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


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
    return tuple(int(side) for side in shape), bool(fortran), dtype
