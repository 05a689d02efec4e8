"""PNG and JPEG: headers first, nothing decoded before its size is known to be the declared one."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from robspec.data.errors import FileTooLarge, UnreadableFile, UnsupportedFile
from robspec.data.header import Header

_CHANNELS = {"1": 1, "L": 1, "P": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "I": 1, "RGB": 3, "LA": 2, "RGBA": 4}
_CHANNELS |= {"CMYK": 4, "YCbCr": 3, "F": 1, "PA": 2}


@contextmanager
def _opened(blob: bytes, where: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with Image.open(io.BytesIO(blob), formats=("PNG", "JPEG")) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileTooLarge(
            where, "its header claims an enormous image", "check its origin; re-save it at the declared shape"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, MemoryError) as error:
        reason = "it is neither" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UnreadableFile(
            where, f"it cannot be decoded as PNG or JPEG: {reason}", "restore the file, or narrow the glob"
        ) from error


def header(blob: bytes, where: str) -> Header:
    """Read what a PNG or JPEG says of itself, decoding no pixel.

    Args:
        blob: the file's bytes, or at least its first part.
        where: the file, for the error.

    Returns:
        Its height, width, number of channels (a palette counts as one) and mode.

    Raises:
        UnreadableFile: E0305.
        FileTooLarge: E0308.
    """
    with _opened(blob, where) as image:
        return Header(image.height, image.width, _CHANNELS.get(image.mode, 0), image.mode)


def image_pixels(blob: bytes, channels: int, where: str) -> npt.NDArray[np.generic]:
    """Decode an image without any conversion that loses information.

    Args:
        blob: the file's bytes.
        channels: 1 or 3, the declared number.
        where: the file, for the error.

    Returns:
        uint8 or uint16 [C, H, W].

    Raises:
        UnreadableFile: E0305.
        UnsupportedFile: E0311, the mode has no exact reading as `channels` channels.
    """
    _verify(blob, where)
    with _opened(blob, where) as image:
        mode = image.mode
        if mode == "P" and channels == 3:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        if mode == "RGB" and channels == 3 and "16" not in _raw_mode(image):
            return np.asarray(image).transpose(2, 0, 1)
        if mode == "L" and channels == 1:
            return np.asarray(image)[None]
        if mode.startswith("I;16") and channels == 1:
            return np.asarray(image).astype(np.uint16)[None]
    raise UnsupportedFile(
        where,
        f"mode {mode} ({_raw_mode(image) or 'as decoded'}) has no exact reading as {channels} channels",
        "convert it once to 8-bit grayscale or RGB, or save it as an array",
    )


def mask_labels(blob: bytes, where: str, noun: str = "mask") -> npt.NDArray[np.generic]:
    """Decode a mask, or another file of one number per pixel, as stored: palette indices, gray levels or bits.

    Args:
        blob: the file's bytes.
        where: the file, for the error.
        noun: what the error calls it.

    Returns:
        An integer array [H, W].

    Raises:
        UnreadableFile: E0305.
        UnsupportedFile: E0311, in colour, or a JPEG.
    """
    _verify(blob, where)
    with _opened(blob, where) as image:
        mode, kind = image.mode, image.format
        if kind == "PNG" and (mode in ("1", "L", "P", "I") or mode.startswith("I;16")):
            labels = np.asarray(image)
            return labels.astype(np.uint8) if labels.dtype == np.bool_ else labels
    raise UnsupportedFile(
        where,
        f"a {noun} of kind {kind}, mode {mode}, does not hold one exact number per pixel",
        "save one number per pixel as 8-bit grayscale or palette PNG, or as an array; of a mask, the class ids",
    )


def _verify(blob: bytes, where: str) -> None:
    """Check a PNG's checksums and its end, which decoding alone passes over."""
    with _opened(blob, where) as image:
        image.verify()


def _raw_mode(image: Image.Image) -> str:
    """The layout before decoding, where a 16-bit colour PNG still shows."""
    tiles = getattr(image, "tile", None) or []
    return str(tiles[0][3]) if tiles else ""
