"""What a raster file says of itself, the same for every format, and its samples as stored."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from robspec.data import gif, jpeg, png, tiff, webp
from robspec.data.errors import FileTooLarge, UnreadableFile
from robspec.data.orientation import upright

MOST_PIXELS = 89_478_485
_OTHERS = (
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
)
_READ = "PNG, JPEG, GIF, TIFF or WebP"


@dataclass(frozen=True, slots=True)
class Stored:
    """A raster file before it is decoded.

    Args:
        format: "PNG", "JPEG", "GIF", "TIFF" or "WEBP".
        mode: its samples by their usual name, with the depth where it is not 8.
        height: in pixels, as stored.
        width: in pixels, as stored.
        channels: samples of a pixel without opacity; a palette index is one.
        depth: bits of a sample.
        orientation: 1 to 8.
        alpha: whether each pixel has an opacity.
        palette: three bytes an entry; empty for none.
        opacity: of palette entries, one byte each from the first; None where all are opaque.
        key: the one grey or colour that PNG's tRNS makes transparent, two bytes a sample; None for none.
        lossy: whether samples are compressed with loss.
        exact: whether an image can be read from it without further loss.
        of_png: the chunks of a PNG.
    """

    format: str
    mode: str
    height: int
    width: int
    channels: int
    depth: int = 8
    orientation: int = 1
    alpha: bool = False
    palette: bytes = b""
    opacity: bytes | None = None
    key: bytes | None = None
    lossy: bool = False
    exact: bool = True
    of_png: png.Png | None = None

    @property
    def kind(self) -> str:
        """Format and mode, for messages."""
        return f"{'WebP' if self.format == 'WEBP' else self.format}, mode {self.mode}"

    @property
    def flat(self) -> bool:
        """Whether it holds one exact number per pixel."""
        return self.channels == 1 and not self.lossy and not self.alpha


def walk(file: BinaryIO, where: str) -> Stored:
    """Read what a file says of itself, decoding no pixel.

    Args:
        file: open at its start.
        where: the file, for the error.

    Returns:
        The same for every format.

    Raises:
        UnreadableFile: E0305.
        FileTooLarge: E0308.
        UnsupportedFile: E0311, an animation, or samples that no decoder here reads without loss.
        OrientationUnclear: E0315.
    """
    front = file.read(16)
    file.seek(0)
    if front.startswith(png.SIGNATURE):
        found = _png(png.walk(file, where))
    elif front.startswith(jpeg.SIGNATURE):
        found = _jpeg(jpeg.walk(file, where))
    elif front[:6] in gif.SIGNATURES:
        g = gif.walk(file, where)
        found = Stored("GIF", "P", g.height, g.width, 1, palette=g.palette, opacity=g.transparent)
    elif front[:4] in tiff.SIGNATURES:
        found = _tiff(tiff.walk(file, where))
    elif front[:4] == b"RIFF" and front[8:12] == b"WEBP":
        w = webp.walk(file, where)
        mode = "RGBA" if w.alpha else "RGB"
        found = Stored("WEBP", mode, w.height, w.width, 3, 8, w.orientation, w.alpha, lossy=w.lossy)
    else:
        raise _other(front, where)
    if found.height * found.width > MOST_PIXELS:
        raise FileTooLarge(
            where, "its header claims an enormous image", "check its origin; re-save it at the declared shape"
        )
    return found


def samples(blob: bytes, found: Stored, where: str) -> npt.NDArray[np.generic]:
    """Decode a file's samples, opacity included, as its decoder gives them.

    Args:
        blob: the file's bytes, of a size that was checked.
        found: what `walk` says of it.
        where: the file, for the error.

    Returns:
        [H, W] or [C, H, W], upright.

    Raises:
        UnreadableFile: E0305.
    """
    if found.of_png is not None:
        blob = png.plain(blob, found.of_png, where)
    elif found.format == "JPEG":
        blob = jpeg.plain(blob, where)
    elif found.format in ("WEBP", "TIFF") and not features.check("webp" if found.format == "WEBP" else "libtiff"):
        raise UnreadableFile(
            where, f"this Pillow was built without {found.format}", "install a usual build of Pillow"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(blob), formats=(found.format,)) as image:
                decoded: npt.NDArray[np.generic] = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, MemoryError, Warning) as error:
        raise UnreadableFile(
            where, f"it cannot be decoded as {found.format}: {error}", "restore the file, or narrow the glob"
        ) from error
    # The decoder turns TIFF files itself, and no others.
    turned = 1 if found.format == "TIFF" else found.orientation
    result = upright(decoded.transpose(2, 0, 1) if decoded.ndim == 3 else decoded, turned)
    sides = (found.width, found.height) if found.orientation >= 5 else (found.height, found.width)
    count = found.channels + found.alpha
    if result.shape != ((count, *sides) if count > 1 else sides):
        raise UnreadableFile(where, f"it decodes to {list(result.shape)}, not to what it says", "restore the file")
    return result


def _png(found: png.Png) -> Stored:
    has_palette = found.colour == png.PALETTE
    alpha = found.colour in (png.GREY_ALPHA, png.RGBA)
    return Stored(
        "PNG",
        found.mode,
        found.height,
        found.width,
        found.channels - alpha,
        found.depth,
        found.orientation,
        alpha,
        found.palette if has_palette else b"",
        found.transparent if has_palette else None,
        None if has_palette else found.transparent,
        exact=found.depth == 8 or found.colour in (png.GREY, png.PALETTE),
        of_png=found,
    )


def _jpeg(found: jpeg.Jpeg) -> Stored:
    exact = found.depth == 8 and found.channels in (1, 3)
    sides = found.height, found.width
    return Stored("JPEG", found.mode, *sides, found.channels, found.depth, found.orientation, lossy=True, exact=exact)


def _tiff(found: tiff.Tiff) -> Stored:
    names = {tiff.GREY: "L", tiff.RGB: "RGBA" if found.alpha else "RGB", tiff.PALETTE: "P"}
    mode = names[found.colour] + ("" if found.depth == 8 else f" of {found.depth} bits")
    channels = 3 if found.colour == tiff.RGB else 1
    sides = found.height, found.width
    return Stored("TIFF", mode, *sides, channels, found.depth, found.orientation, found.alpha, found.palette)


def _other(front: bytes, where: str) -> UnreadableFile:
    names = [name for start, name in _OTHERS if front.startswith(start)]
    names += ["HEIF or AVIF"] if front[4:8] == b"ftyp" else []
    if names:
        what = f"it cannot be decoded as {_READ}: whatever its name, it is a {names[0]} file"
        return UnreadableFile(where, what, "convert it once to PNG, or narrow the glob")
    return UnreadableFile(
        where, f"it cannot be decoded as {_READ}: it is none of them", "restore the file, or narrow the glob"
    )
