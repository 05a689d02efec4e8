"""The files of a counterfactual: pixels as they are, pictures of them, and a sheet of several."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from robspec.explanations import panels
from robspec.explanations.explain import Explained
from robspec.semantics.norm import directed_text

MOST_ON_A_SHEET = 12
_PANEL, _GAP, _MARGIN, _COLUMNS = 192, 12, 30, 2
_SHOWN = 14


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a result.

    Args:
        stem: of its file.
        title: two or three words.
        picture: one point per pixel.
        legend: what the colours mean.
    """

    stem: str
    title: str
    picture: Image.Image
    legend: tuple[str, ...]


def scale_of(result: Explained) -> float:
    """The largest change of any value, rounded up to two digits; what white and black of the change stand for."""
    if result.found is None:
        return 0.0
    return rounded_up(float(np.abs(_change(result)).max()))


def rounded_up(largest: float) -> float:
    """Round a size up to two digits; 0 stays 0."""
    if not largest:
        return 0.0
    digits = 1 - math.floor(math.log10(largest))
    return math.ceil(largest * 10.0**digits) / 10.0**digits


def drawn(result: Explained, ends: tuple[float, float]) -> Iterator[Panel]:
    """Draw the image, what the bound flips in it, the change, the counterfactual, and what it is decided.

    Args:
        result: what was found.
        ends: ends of the input range.

    Returns:
        The panels in the order of a sheet; of networks that decide once for an image, without marked pixels.
    """
    image = panels.shown(result.subject.image[0].numpy(), ends)
    rounded = "8 bits a value, a rounded view"
    yield Panel("image", "image", image, (rounded,))
    count = int(result.flips.sum())
    maps = result.flips.numel() > 1
    if maps:
        legend = (f"marked: the {count} pixels that the bound's", "cheapest attack flips")
        yield Panel("flips", f"bound flips {count}", panels.marked(image, result.flips.numpy()), legend)
    if result.found is None:
        return
    scale = scale_of(result)
    legend = (
        f"white: +{scale:g}, black: -{scale:g} in units of the input,",
        "grey: no change, each channel by itself",
    )
    change = panels.signed(_change(result), scale or 1.0)
    yield Panel("change", f"change, ±{scale:g}", change, legend)
    reached = panels.shown(result.found.pixels, ends)
    yield Panel("result", "counterfactual", reached, (rounded,))
    changed = result.changed
    if maps and changed is not None:
        count = int(changed.sum())
        legend = (f"marked: the {count} pixels that are decided", "otherwise than in the image")
        yield Panel("decided", f"flipped {count}", panels.marked(reached, changed.numpy()), legend)


def write(result: Explained, ends: tuple[float, float], folder: Path) -> None:
    """Write the pictures of one result and the counterfactual itself.

    Args:
        result: what was found.
        ends: ends of the input range.
        folder: exists.
    """
    for panel in drawn(result, ends):
        note = PngInfo()
        note.add_text("Description", " ".join(panel.legend))
        plain = panel.stem in ("image", "result")
        page = panel.picture if plain else panels.captioned(panel.picture, list(panel.legend))
        page.save(folder / f"{panel.stem}.png", pnginfo=note)
    if result.found is not None:
        np.save(folder / "counterfactual.npy", result.found.pixels)


def folder_names(names: Sequence[str]) -> list[str]:
    """Give every image a folder of its own: the name of its file, numbered where two would share one."""
    taken: set[str] = set()
    found = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(name).stem)[:80].lstrip(".") or "image"
        unique, k = stem, 2
        while unique.lower() in taken:
            unique, k = f"{stem}-{k}", k + 1
        taken.add(unique.lower())
        found.append(unique)
    return found


def sheet(results: Sequence[Explained], ends: tuple[float, float]) -> bytes:
    """Draw up to twelve results on one page.

    Args:
        results: at least one.
        ends: ends of the input range.

    Returns:
        A PNG file.
    """
    cards = [_card(r, ends) for r in results]
    columns = min(_COLUMNS, len(cards))
    width, height = max(c.width for c in cards), max(c.height for c in cards)
    rows = math.ceil(len(cards) / columns)
    page = Image.new(
        "RGB",
        (_MARGIN + columns * (width + _MARGIN), _MARGIN + rows * (height + _MARGIN)),
        panels.PAPER,
    )
    for k, card in enumerate(cards):
        page.paste(card, (_MARGIN + k % columns * (width + _MARGIN), _MARGIN + k // columns * (height + _MARGIN)))
    out = io.BytesIO()
    page.save(out, format="PNG")
    return out.getvalue()


def _card(result: Explained, ends: tuple[float, float]) -> Image.Image:
    found = list(drawn(result, ends))
    pictures = [panels.sized(p.picture, _PANEL) for p in found]
    width = max(sum(p.width for p in pictures) + _GAP * (len(pictures) - 1), 2 * _PANEL)
    top, below = 46, 22
    card = Image.new("RGB", (width, top + max(p.height for p in pictures) + below), panels.PAPER)
    draw = ImageDraw.Draw(card)
    head, under = _words(result)
    draw.text((0, 0), panels.fitted(draw, head, width, 16), fill=panels.INK, font=panels.font(16))
    draw.text((0, 22), panels.fitted(draw, under, width, _SHOWN), fill=panels.FAINT, font=panels.font(_SHOWN))
    left = 0
    for panel, picture in zip(found, pictures, strict=True):
        card.paste(picture, (left, top))
        place = (left, top + picture.height + 4)
        title = panels.fitted(draw, panel.title, picture.width, _SHOWN)
        draw.text(place, title, fill=panels.FAINT, font=panels.font(_SHOWN))
        left += picture.width + _GAP
    return card


def _words(result: Explained) -> tuple[str, str]:
    """The two lines above a card."""
    name = Path(result.subject.name).name
    if result.found is None:
        return name, f"no counterfactual found: {result.question.text}"
    low, high = Fraction(result.question.lower), result.found.distance
    # A picture goes where its report does not: an assumption goes with it.
    between = f"none within {directed_text(low, 3, up=False)}, found at {directed_text(high, 3, up=True)}"
    ratio = directed_text(result.found.ratio, 3, up=False)
    return (
        f"{name}   q = {ratio}",
        f"{result.question.text}: {between} ({result.question.norm}){result.question.constant.qualifier}",
    )


def _change(result: Explained) -> panels.Floats:
    if result.found is None:
        raise ValueError("nothing was found")
    return result.found.pixels.astype(np.float64) - result.subject.image[0].numpy().astype(np.float64)
