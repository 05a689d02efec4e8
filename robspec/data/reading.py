"""The one reader: every image, mask, region file and weight file passes it, whatever its format."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robspec.data import arrays, raster, scaling
from robspec.data.errors import (
    FileChanged,
    FileTooLarge,
    ImageShapeMismatch,
    MaskSizeMismatch,
    OrientationUnclear,
    UnreadableFile,
    UnsupportedFile,
)
from robspec.data.header import Header
from robspec.data.orientation import swaps
from robspec.data.pairing import Pair
from robspec.data.raster import Plane

_MOST = 256 << 20
_MOST_VALUES = 1 << 25
_CONVERT = "write `resize` or `crop` into the data block, convert the images once, or correct `input`"
_TURN = "turn the pixels once as you mean them, and save the files without EXIF"


def file_bytes(path: Path, where: str) -> bytes:
    """Read a whole file, of at most 256 MiB.

    Raises:
        UnreadableFile: E0305.
        FileTooLarge: E0308.
    """
    try:
        with path.open("rb") as file:
            blob = file.read(_MOST + 1)
    except OSError as error:
        raise _closed(where, error) from error
    if len(blob) > _MOST:
        raise FileTooLarge(where, f"the file is larger than {_MOST >> 20} MiB", "re-save it, compressed")
    return blob


def image_header(path: Path, where: str, declared: tuple[int, int, int], *, free: bool = False) -> Header:
    """Read what an image says of itself and check that it fits.

    Args:
        path: the file.
        where: its name, for the error.
        declared: C, H, W.
        free: whether the image is brought to size, so that H and W may be any.

    Returns:
        Its header.

    Raises:
        RobspecError: E0305, E0307, E0308, E0309, E0311 or E0315.
    """
    try:
        with path.open("rb") as file:
            if is_array(path):
                shape, dtype = arrays.peek(file, _is_archive(path), where)
                found = arrays.describe(shape, dtype, None if free else declared)
                scaling.check_dtype(dtype, where)
                if free:
                    _check_free_array(shape, declared[0], where)
            else:
                found = raster.header(file, where)
    except OSError as error:
        raise _closed(where, error) from error
    _check_image(found, where, (declared[0], *found.upright) if free else declared)
    return found


def _check_free_array(shape: tuple[int, ...], channels: int, where: str) -> None:
    """An array of no declared size must be one image only, and no larger than a file of that size would be."""
    if math.prod(shape) > _MOST_VALUES:
        raise FileTooLarge(where, f"its shape {list(shape)} is enormous", "check its origin")
    if len(shape) == 3 and shape[0] == channels and shape[2] == channels:
        raise UnsupportedFile(
            where, f"an array of shape {list(shape)} can be read as [C, H, W] and as [H, W, C]", "save it as PNG"
        )


def refuse_sides(p: Pair, found: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Stop where a drawn mask has not the sides wanted.

    Raises:
        MaskSizeMismatch: E0304.
    """
    raise MaskSizeMismatch(
        p.mask_name,
        f"the annotation of {p.name} is of {found[0]} x {found[1]} pixels, and {wanted[0]} x {wanted[1]} are wanted",
        "write `resize` into the data block, or correct `output`",
    )


def plane_header(p: Pair, image: Header, sides: tuple[int, int], *, colours: bool = False) -> Header:
    """Read what a mask, region file or weight file says of itself and check that it fits.

    Args:
        p: the image and the other file.
        image: the image's header.
        sides: H and W of the logits, or of the image as stored where both are brought to size.
        colours: whether colours are read off it.

    Returns:
        Its header.

    Raises:
        RobspecError: E0304, E0305, E0308, E0309, E0311 or E0315.
    """
    path, where = _other(p), p.mask_name
    try:
        with path.open("rb") as file:
            if is_array(path):
                shape, dtype = arrays.peek(file, _is_archive(path), where)
                height, width = arrays.plane_sides(shape, dtype, sides, where, p.noun)
                found = Header(height, width, 1, str(dtype))
            else:
                found = raster.header(file, where)
    except OSError as error:
        raise _closed(where, error) from error
    _check_plane(found, image, p, sides, colours=colours)
    return found


def image(
    blob: bytes, p: Pair, header: Header, declared: tuple[int, int, int], most_values: int
) -> npt.NDArray[np.generic]:
    """Decode an image.

    Args:
        blob: the file's bytes.
        p: names it.
        header: what it said when the data set was opened.
        declared: C, H, W.
        most_values: how many values an array may hold.

    Returns:
        [C, H, W], upright, as stored: integers, or floating point.

    Raises:
        RobspecError: E0305, E0307, E0308, E0309, E0311, E0312 or E0315.
    """
    if not is_array(p.image):
        found = raster.header_of(blob, p.name)
        _check_image(found, p.name, declared)
        if found.orientation != header.orientation:
            raise FileChanged(p.name, "it changed after it was opened", "stop what writes to it; run again")
        return raster.image_pixels(blob, declared[0], p.name)
    stored = arrays.load(blob, _is_archive(p.image), most_values, p.name)
    pixels = arrays.image_pixels(stored, declared)
    if pixels is None:
        raise _shape_error(arrays.describe(stored.shape, stored.dtype), p.name, declared)
    return pixels


def plane(blob: bytes, p: Pair, image: Header, sides: tuple[int, int], most_values: int) -> Plane:
    """Decode a mask, region file or weight file.

    Args:
        blob: the file's bytes.
        p: the image and the other file.
        image: the image's header.
        sides: H and W of the logits.
        most_values: how many values an array may hold.

    Returns:
        One number per pixel, upright, as stored: integers; of a region or weight array, any numbers.

    Raises:
        RobspecError: E0304, E0305, E0308, E0309, E0311 or E0315.
    """
    path, where = _other(p), p.mask_name
    if is_array(path):
        stored = arrays.load(blob, _is_archive(path), most_values, where)
        height, width = arrays.plane_sides(stored.shape, stored.dtype, sides, where, p.noun)
        _check_plane(Header(height, width, 1, str(stored.dtype)), image, p, sides)
        values = stored.reshape(sides)
        return Plane(values.astype(np.uint8) if values.dtype.kind == "b" else values)
    _check_plane(raster.header_of(blob, where), image, p, sides)
    return raster.plane(blob, where, p.noun)


def colours(blob: bytes, p: Pair, image: Header, sides: tuple[int, int]) -> Plane:
    """Decode a mask whose colours are its labels; see `plane`.

    Raises:
        RobspecError: E0304, E0305, E0308, E0311 or E0315.
    """
    path, where = _other(p), p.mask_name
    if is_array(path):
        raise UnsupportedFile(where, "colours are read from image files, and this is an array", "map its numbers")
    _check_plane(raster.header_of(blob, where), image, p, sides, colours=True)
    return Plane(raster.colours(blob, where))


def is_array(path: Path) -> bool:
    """Tell whether a file is read as an array."""
    return path.suffix.lower() in (".npy", ".npz")


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _other(p: Pair) -> Path:
    if p.mask is None:
        raise ValueError("an unpaired file")
    return p.mask


def _check_image(found: Header, where: str, declared: tuple[int, int, int]) -> None:
    channels, height, width = declared
    fits = found.channels == channels or (found.palette and channels == 3)
    if fits and found.upright == (height, width):
        if not found.exact:
            raise raster.no_reading(found.kind, channels, where)
        return
    if found.alpha and channels == found.channels + 1:
        raise raster.no_reading(found.kind, channels, where)
    if fits and found.sides == (height, width):
        raise OrientationUnclear(
            where,
            f"its EXIF orientation {found.orientation} turns it to {found.width} x {found.height}; only as stored is "
            f"it {height} x {width}, as the input is declared",
            _TURN + ", or correct `input`",
        )
    raise _shape_error(found, where, declared)


def _shape_error(found: Header, where: str, declared: tuple[int, int, int]) -> ImageShapeMismatch:
    height, width = found.upright
    turned = "" if found.orientation == 1 else f", turned by EXIF orientation {found.orientation}"
    error = ImageShapeMismatch(
        where,
        f"the image is {found.channels} x {height} x {width} ({found.kind}{turned}), "
        f"the declared input is {' x '.join(map(str, declared))}",
        _CONVERT if found.channels == declared[0] else _channels(declared[0], array=is_array(Path(where))),
    )
    error.shape = (found.channels, height, width)
    return error


def _channels(declared: int, *, array: bool) -> str:
    """The mend for an image of other channels than declared, which no step of the data block adds or drops."""
    kind = None if array else {1: "grey", 3: "RGB"}.get(declared)
    return f"{f'save it as {kind}' if kind else 'convert the images once'}, or correct `input`"


def _check_plane(found: Header, image: Header, p: Pair, sides: tuple[int, int], *, colours: bool = False) -> None:
    """A file without an orientation is taken as drawn on the upright image; another must have the image's."""
    where = p.mask_name
    if found.orientation not in (1, image.orientation):
        raise OrientationUnclear(
            where,
            f"the {p.noun} has the EXIF orientation {found.orientation} and {p.name} has {image.orientation}",
            _TURN,
        )
    if found.upright != sides:
        if swaps(image.orientation) and found.upright == sides[::-1]:
            raise OrientationUnclear(
                where,
                f"the {p.noun} is {found.height} x {found.width} like {p.name} as stored, which its EXIF orientation "
                f"{image.orientation} turns to {sides[0]} x {sides[1]}",
                _TURN,
            )
        height, width = found.upright
        raise MaskSizeMismatch(
            where,
            f"the {p.noun} is {height} x {width}, the logits are {sides[0]} x {sides[1]}",
            f"resize the {p.noun}s once, with nearest-neighbour interpolation",
        )
    if not found.flat and not colours:
        raise raster.not_flat(found.kind, where, p.noun)


def _closed(where: str, error: OSError) -> UnreadableFile:
    return UnreadableFile(where, f"it cannot be opened: {error.strerror or error}", "check its permissions")
