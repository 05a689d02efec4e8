"""Arrays as pictures: pixels in their range, signed changes on mid-grey, marked pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

MARK = (233, 30, 140)
"""The colour of marked pixels, which neither photographs nor grey images hold much of."""
RAISES, LOWERS = (178, 24, 43), (33, 102, 172)
INK, FAINT, PAPER = (28, 30, 33), (110, 114, 120), (255, 255, 255)


def shown(pixels: Floats, ends: tuple[float, float]) -> Image.Image:
    """Round an image to 8 bits.

    Args:
        pixels: [C, H, W]; other numbers of channels than 1 and 3 are averaged to grey.
        ends: what becomes black and white.

    Returns:
        An RGB picture, one point per pixel.
    """
    low, high = ends
    return _rgb((pixels.astype(np.float64) - low) / (high - low))


def signed(change: Floats, scale: float) -> Image.Image:
    """Show a change on mid-grey, channel by channel.

    Args:
        change: [C, H, W].
        scale: the size that becomes white (raised) and black (lowered); positive.

    Returns:
        An RGB picture.
    """
    return _rgb(0.5 + change.astype(np.float64) / (2 * scale))


def diverging(values: Floats, scale: float) -> Image.Image:
    """Show signed numbers, one per pixel: red above 0, blue below, white at 0.

    Args:
        values: [H, W].
        scale: the size that has the full colour; positive.

    Returns:
        An RGB picture.
    """
    share = np.clip(np.abs(values) / scale, 0, 1)[..., None]
    full = np.where((values > 0)[..., None], np.array(RAISES, np.float64), np.array(LOWERS, np.float64))
    return Image.fromarray(np.rint(255 * (1 - share) + full * share).astype(np.uint8))


def marked(picture: Image.Image, mask: Mask, strength: float = 0.55) -> Image.Image:
    """Colour some pixels; a mask of another size is stretched over the picture."""
    stretched = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
    share = np.asarray(stretched, np.float64)[..., None] / 255 * strength
    return Image.fromarray(
        np.rint(np.asarray(picture, np.float64) * (1 - share) + np.array(MARK) * share).astype(np.uint8)
    )


def sized(picture: Image.Image, side: int) -> Image.Image:
    """Bring a picture to a longer side of about `side` points, by whole multiples where it is smaller."""
    longest = max(picture.size)
    if longest <= side:
        factor = max(1, side // longest)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(n * side / longest)) for n in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def fitted(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """Shorten a text in front until it fits a width in points."""
    if draw.textlength(text, font=font(size)) <= width:
        return text
    while text and draw.textlength("..." + text, font=font(size)) > width:
        text = text[1:]
    return "..." + text


def captioned(picture: Image.Image, lines: list[str], side: int = 320) -> Image.Image:
    """Put lines of text under an enlarged picture."""
    grown = sized(picture, side)
    margin, size, step = 12, 13, 18
    probe = ImageDraw.Draw(grown)
    width = max([grown.width, *(int(probe.textlength(line, font=font(size))) + 1 for line in lines)])
    page = Image.new("RGB", (width + 2 * margin, grown.height + 2 * margin + step * len(lines)), PAPER)
    page.paste(grown, (margin, margin))
    draw = ImageDraw.Draw(page)
    for k, line in enumerate(lines):
        draw.text((margin, grown.height + margin + 4 + step * k), line, fill=INK, font=font(size))
    return page


def _rgb(unit: Floats) -> Image.Image:
    """Round [C, H, W] with values in [0, 1] to an RGB picture."""
    if unit.shape[0] not in (1, 3):
        unit = unit.mean(axis=0, keepdims=True)
    levels = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    channels = np.repeat(levels, 3, axis=0) if len(levels) == 1 else levels
    return Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))
