"""PNG and JPEG: headers first, nothing decoded before its size is known to be the declared one."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from robspec.data import jpeg, png
from robspec.data.errors import FileTooLarge, UnreadableFile, UnsupportedFile
from robspec.data.header import Header
from robspec.data.jpeg import Jpeg
from robspec.data.orientation import upright
from robspec.data.png import Png

_MOST_PIXELS = 89_478_485
_CONVERT = "convert it once to 8-bit grayscale or RGB, or save it as an array"
_OTHERS = (
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
)


@dataclass(frozen=True, slots=True)
class Plane:
    """One number per pixel.

    Args:
        values: integers [H, W], upright: the samples of a grey file, the indices of one with a palette.
        greys: what the palette shows, where it is grey and shows other numbers than the indices; else None.
    """

    values: npt.NDArray[np.generic]
    greys: npt.NDArray[np.generic] | None = None


def header(file: BinaryIO, where: str) -> Header:
    """Read what a PNG or JPEG says of itself, decoding no pixel.

    Args:
        file: open at its start.
        where: the file, for the error.

    Returns:
        Its height, width, number of channels (a palette counts as one), mode and orientation.

    Raises:
        UnreadableFile: E0305.
        FileTooLarge: E0308.
        UnsupportedFile: E0311, an animation.
        OrientationUnclear: E0315.
    """
    found = _walk(file, where)
    flat = isinstance(found, Png) and found.colour in (png.GREY, png.PALETTE)
    return Header(
        found.height,
        found.width,
        found.channels,
        _kind(found),
        found.orientation,
        flat,
        _has_palette(found),
        _is_exact(found),
    )


def header_of(blob: bytes, where: str) -> Header:
    """Read the same from a whole file's bytes; see `header`."""
    return header(io.BytesIO(blob), where)


def not_flat(kind: str, where: str, noun: str) -> UnsupportedFile:
    """The error of a file in colour or compressed with loss, where one number per pixel is meant."""
    return UnsupportedFile(
        where,
        f"a {noun} of kind {kind} does not hold one exact number per pixel",
        "save one number per pixel as grayscale or palette PNG, or as an array; of a mask, the class ids",
    )


def no_reading(kind: str, channels: int, where: str) -> UnsupportedFile:
    """The error of an image that only a conversion with loss could bring to so many channels."""
    return UnsupportedFile(where, f"{kind}, has no exact reading as {channels} channels", _CONVERT)


def image_pixels(blob: bytes, channels: int, where: str) -> npt.NDArray[np.generic]:
    """Decode an image without any conversion that loses information.

    Args:
        blob: the file's bytes, of the expected size.
        channels: the declared number.
        where: the file, for the error.

    Returns:
        uint8 or uint16 [C, H, W], upright. Samples of fewer bits are stretched to 8, which leaves u / most as it is.

    Raises:
        UnreadableFile: E0305.
        UnsupportedFile: E0311, there is no exact reading as `channels` channels.
    """
    found = _walk(io.BytesIO(blob), where)
    if not _is_exact(found) or (found.channels != channels and not _has_palette(found)):
        raise no_reading(_kind(found), channels, where)
    if isinstance(found, Jpeg):
        pixels = _decoded(jpeg.plain(blob, where), "JPEG", where)
        return upright(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1), found.orientation)
    stored = _decoded(png.plain(blob, found, where), "PNG", where)
    if _has_palette(found):
        pixels = _coloured(stored, found, channels, where)
    else:
        pixels = stored.transpose(2, 0, 1) if found.colour == png.RGB else stored[None]
        _refuse_hidden(pixels, found, where)
        if stored.dtype == np.bool_:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
    return upright(pixels, found.orientation)


def plane(blob: bytes, where: str, noun: str) -> Plane:
    """Decode a file of one number per pixel as stored.

    Args:
        blob: the file's bytes, of the expected size.
        where: the file, for the error.
        noun: what the error calls it.

    Returns:
        Samples in [0, 2^bits), or palette indices.

    Raises:
        UnreadableFile: E0305.
        UnsupportedFile: E0311, in colour, with transparency of its own, or a JPEG.
    """
    found = _walk(io.BytesIO(blob), where)
    if isinstance(found, Jpeg) or found.colour not in (png.GREY, png.PALETTE):
        raise not_flat(_kind(found), where, noun)
    stored = _decoded(png.plain(blob, found, where), "PNG", where)
    if found.colour == png.GREY:
        return Plane(upright(_unstretched(stored, found.depth, where), found.orientation))
    indices = upright(stored, found.orientation)
    return Plane(indices, _greys(indices, found.palette))


def _has_palette(found: Png | Jpeg) -> bool:
    return isinstance(found, Png) and found.colour == png.PALETTE


def _is_exact(found: Png | Jpeg) -> bool:
    if isinstance(found, Jpeg):
        return found.depth == 8 and found.channels in (1, 3)
    return found.colour in (png.GREY, png.PALETTE) or (found.colour == png.RGB and found.depth == 8)


def _kind(found: Png | Jpeg) -> str:
    return f"{'JPEG' if isinstance(found, Jpeg) else 'PNG'}, mode {found.mode}"


def _walk(file: BinaryIO, where: str) -> Png | Jpeg:
    front = file.read(16)
    file.seek(0)
    found: Png | Jpeg
    if front.startswith(png.SIGNATURE):
        found = png.walk(file, where)
    elif front.startswith(jpeg.SIGNATURE):
        found = jpeg.walk(file, where)
    else:
        raise _other(front, where)
    if found.height * found.width > _MOST_PIXELS:
        raise FileTooLarge(
            where, "its header claims an enormous image", "check its origin; re-save it at the declared shape"
        )
    return found


def _other(front: bytes, where: str) -> UnreadableFile:
    names = [name for start, name in _OTHERS if front.startswith(start)]
    names += ["WebP"] if front[:4] == b"RIFF" and front[8:12] == b"WEBP" else []
    names += ["HEIF or AVIF"] if front[4:8] == b"ftyp" else []
    if names:
        what = f"it cannot be decoded as PNG or JPEG: whatever its name, it is a {names[0]} file"
        return UnreadableFile(where, what, "convert it once to PNG, or narrow the glob")
    return UnreadableFile(
        where, "it cannot be decoded as PNG or JPEG: it is neither", "restore the file, or narrow the glob"
    )


def _decoded(blob: bytes, kind: str, where: str) -> npt.NDArray[np.generic]:
    """What the decoder makes of a file that holds nothing but its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(blob), formats=(kind,)) as image:
                return np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, MemoryError, Warning) as error:
        raise UnreadableFile(
            where, f"it cannot be decoded as {kind}: {error}", "restore the file, or narrow the glob"
        ) from error


def _unstretched(stored: npt.NDArray[np.generic], depth: int, where: str) -> npt.NDArray[np.generic]:
    """Samples of a grey file: the decoder stretches 2 and 4 bits to 8."""
    if depth in (1, 8):
        return stored.astype(np.uint8)
    if depth == 16:
        return stored.astype(np.uint16)
    factor = np.uint8(255 // (2**depth - 1))
    levels = stored.astype(np.uint8)
    if levels.shape != stored.shape or bool((levels % factor).any()):
        raise UnreadableFile(
            where, f"its samples of {depth} bits are not read as such", "save it with 8 bits a pixel"
        )
    return levels // factor


def _coloured(indices: npt.NDArray[np.generic], found: Png, channels: int, where: str) -> npt.NDArray[np.generic]:
    """The colours a palette gives; one channel where all of those used are grey."""
    table = np.frombuffer(found.palette, np.uint8).reshape(-1, 3)
    used = np.unique(indices).astype(np.intp)
    if int(used[-1]) >= len(table):
        raise UnreadableFile(
            where, f"pixels have the index {int(used[-1])} and the palette {len(table)} colours", "restore the file"
        )
    if found.transparent is not None:
        opacity = np.full(len(table), 255, np.uint8)
        given = np.frombuffer(found.transparent[: len(table)], np.uint8)
        opacity[: len(given)] = given
        if bool((opacity[used] < 255).any()):
            raise _transparent(where)
    grey = bool((table[used] == table[used][:, :1]).all())
    if channels == 1 and grey:
        levels: npt.NDArray[np.generic] = table[indices.astype(np.intp), 0]
        return levels[None]
    if channels != 3:
        raise no_reading(_kind(found), channels, where)
    coloured: npt.NDArray[np.generic] = table[indices.astype(np.intp)].transpose(2, 0, 1)
    return coloured


def _greys(indices: npt.NDArray[np.generic], palette: bytes) -> npt.NDArray[np.generic] | None:
    table = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    used = np.unique(indices).astype(np.intp)
    if int(used[-1]) >= len(table):
        return None
    shown = table[used]
    if not bool((shown == shown[:, :1]).all()) or bool((shown[:, 0] == used).all()):
        return None
    levels: npt.NDArray[np.generic] = table[indices.astype(np.intp), 0]
    return levels


def _refuse_hidden(pixels: npt.NDArray[np.generic], found: Png, where: str) -> None:
    """Stop where a pixel has the one colour that tRNS makes transparent."""
    if found.transparent is None or len(found.transparent) != 2 * found.channels:
        return
    key = np.frombuffer(found.transparent, ">u2").astype(np.int64) & (2**found.depth - 1)
    if found.depth in (2, 4):
        key = key * (255 // (2**found.depth - 1))
    if bool((pixels.astype(np.int64) == key[:, None, None]).all(axis=0).any()):
        raise _transparent(where)


def _transparent(where: str) -> UnsupportedFile:
    return UnsupportedFile(
        where,
        "some of its pixels are transparent, and what shows through is not known",
        "save it without transparency",
    )
