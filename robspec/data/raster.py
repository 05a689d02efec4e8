"""Raster files as images, as one number per pixel, and as one colour per pixel: nothing is blended."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from robspec.data import stored
from robspec.data.errors import UnreadableFile, UnsupportedFile
from robspec.data.header import Header
from robspec.data.stored import Stored

_CONVERT = "convert it once to 8-bit grayscale or RGB, or save it as an array"


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
    """Read what a raster file says of itself, decoding no pixel.

    Args:
        file: open at its start.
        where: the file, for the error.

    Returns:
        Its height, width, number of channels (a palette counts as one, opacity as none), mode and orientation.

    Raises:
        UnreadableFile: E0305.
        FileTooLarge: E0308.
        UnsupportedFile: E0311, an animation.
        OrientationUnclear: E0315.
    """
    found = stored.walk(file, where)
    return Header(
        found.height,
        found.width,
        found.channels,
        found.kind,
        found.orientation,
        found.flat,
        bool(found.palette),
        found.exact,
        found.lossy,
        found.alpha,
    )


def header_of(blob: bytes, where: str) -> Header:
    """Read the same from a whole file's bytes; see `header`."""
    return header(io.BytesIO(blob), where)


def not_flat(kind: str, where: str, noun: str) -> UnsupportedFile:
    """The error of a file in colour or compressed with loss, where one number per pixel is meant."""
    mend = "save one number per pixel as grayscale or palette PNG, or as an array"
    if noun == "mask":
        mend += "; or say with `map #RRGGBB to ...` what its colours stand for"
    return UnsupportedFile(where, f"a {noun} of kind {kind} does not hold one exact number per pixel", mend)


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
        UnsupportedFile: E0311, there is no exact reading as `channels` channels, or a pixel is not opaque.
    """
    found = stored.walk(io.BytesIO(blob), where)
    if not found.exact or (found.channels != channels and not found.palette):
        raise no_reading(found.kind, channels, where)
    samples = stored.samples(blob, found, where)
    if found.palette:
        return _coloured(samples, found, channels, where)
    pixels = _opaque(samples if samples.ndim == 3 else samples[None], found, where)
    _refuse_hidden(pixels, found, where)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


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
        UnsupportedFile: E0311, in colour, with transparent pixels, or compressed with loss.
    """
    found = stored.walk(io.BytesIO(blob), where)
    if not found.flat or not found.exact:
        raise not_flat(found.kind, where, noun)
    samples = stored.samples(blob, found, where)
    if found.palette:
        return Plane(samples, _greys(samples, found.palette))
    return Plane(_unstretched(samples, found, where))


def colours(blob: bytes, where: str) -> npt.NDArray[np.int64]:
    """Decode the colour of every pixel of a mask.

    Args:
        blob: the file's bytes, of the expected size.
        where: the file, for the error.

    Returns:
        int64 [H, W]: 65536 red + 256 green + blue, of 8 bits each; greys have the three alike.

    Raises:
        UnreadableFile: E0305.
        UnsupportedFile: E0311, transparent pixels, more than 8 bits, or compressed with loss.
    """
    found = stored.walk(io.BytesIO(blob), where)
    if found.lossy or found.depth > 8 or not found.exact:
        raise UnsupportedFile(
            where, f"a mask of kind {found.kind} does not hold exact colours of 8 bits", "save it as RGB PNG"
        )
    pixels = image_pixels(blob, 3 if found.palette else found.channels, where).astype(np.int64)
    red, green, blue = pixels if len(pixels) == 3 else (pixels[0],) * 3
    result: npt.NDArray[np.int64] = red * 65536 + green * 256 + blue
    return result


def _opaque(samples: npt.NDArray[np.generic], found: Stored, where: str) -> npt.NDArray[np.generic]:
    """The channels without opacity, which must be full everywhere."""
    if not found.alpha:
        return samples
    most = 255 if found.depth == 8 else 65535
    if bool((samples[-1] != most).any()):
        raise _transparent(where)
    return samples[:-1]


def _unstretched(samples: npt.NDArray[np.generic], found: Stored, where: str) -> npt.NDArray[np.generic]:
    """Samples of a grey file: the decoder stretches 2 and 4 bits to 8."""
    depth = found.depth
    if depth in (1, 8):
        return samples.astype(np.uint8)
    if depth == 16:
        return samples.astype(np.uint16)
    factor = np.uint8(255 // (2**depth - 1))
    levels = samples.astype(np.uint8)
    if levels.shape != samples.shape or bool((levels % factor).any()):
        raise UnreadableFile(
            where, f"its samples of {depth} bits are not read as such", "save it with 8 bits a pixel"
        )
    return levels // factor


def _coloured(indices: npt.NDArray[np.generic], found: Stored, channels: int, where: str) -> npt.NDArray[np.generic]:
    """The colours a palette gives; one channel where all of those used are grey."""
    table = np.frombuffer(found.palette, np.uint8).reshape(-1, 3)
    used = np.unique(indices).astype(np.intp)
    if int(used[-1]) >= len(table):
        raise UnreadableFile(
            where, f"pixels have the index {int(used[-1])} and the palette {len(table)} colours", "restore the file"
        )
    if found.opacity is not None:
        opacity = np.full(len(table), 255, np.uint8)
        given = np.frombuffer(found.opacity[: len(table)], np.uint8)
        opacity[: len(given)] = given
        if bool((opacity[used] < 255).any()):
            raise _transparent(where)
    grey = bool((table[used] == table[used][:, :1]).all())
    if channels == 1 and grey:
        levels: npt.NDArray[np.generic] = table[indices.astype(np.intp), 0]
        return levels[None]
    if channels != 3:
        raise no_reading(found.kind, channels, where)
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


def _refuse_hidden(pixels: npt.NDArray[np.generic], found: Stored, where: str) -> None:
    """Stop where a pixel has the one colour that tRNS makes transparent."""
    if found.key is None or len(found.key) != 2 * found.channels:
        return
    key = np.frombuffer(found.key, ">u2").astype(np.int64) & (2**found.depth - 1)
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
