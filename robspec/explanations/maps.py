"""Attribution maps of one image by several methods, of a model and of another beside it: values, scores, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from robspec.explanations import panels
from robspec.explanations.attribution import Attribution, Curves, attribute, curves, order, score_of
from robspec.explanations.explain import Explained
from robspec.explanations.pictures import rounded_up
from robspec.explanations.search import Model

_PANEL, _GAP, _MARGIN = 192, 12, 24


@dataclass(frozen=True, slots=True)
class Mapped:
    """One map with its scores.

    Args:
        who: the file of the model it is of.
        beside: whether that is the model beside the one explained.
        attribution: the map.
        scores: deletion and insertion; None where the score is the same on the image and its baseline.
    """

    who: str
    beside: bool
    attribution: Attribution
    scores: Curves | None

    @property
    def stem(self) -> str:
        """Name of its files, without ending."""
        return f"attribution-{self.attribution.method}{'-beside' if self.beside else ''}"

    @property
    def scale(self) -> float:
        """What the full colours of its picture stand for."""
        return rounded_up(float(np.abs(_summed(self)).max()))


def mapped(
    result: Explained, models: Mapping[str, Model], methods: Sequence[str], ends: tuple[float, float], seed: int
) -> list[Mapped]:
    """Make and score the maps of one image.

    Args:
        result: what was found of it.
        models: by file, the one explained first; the others beside it.
        methods: some of `METHODS`.
        ends: of the input range.
        seed: of SmoothGrad's noise.

    Returns:
        Maps, method by method.
    """
    return list(_mapped(result, models, methods, ends, seed))


def _mapped(
    result: Explained, models: Mapping[str, Model], methods: Sequence[str], ends: tuple[float, float], seed: int
) -> Iterator[Mapped]:
    image = result.subject.image
    for method in methods:
        for k, (who, model) in enumerate(models.items()):
            score = score_of(result, model)
            found = attribute(method, score, image, ends, seed)
            yield Mapped(who, k > 0, found, curves(score, image, order(found.values)))


def line(item: Mapped) -> str:
    """Say in one line how well a map does."""
    name = f"{item.attribution.method} of {item.who}"
    if item.scores is None:
        return f"{name}: no scores, the margins are those of the baseline"
    return f"{name}: deletion {item.scores.deletion:.4f}, insertion {item.scores.insertion:.4f}"


def entry(item: Mapped) -> dict[str, Any]:
    """Give the entry of the JSON document."""
    return {
        "method": item.attribution.method,
        "model": item.who,
        "file": f"{item.stem}.npy",
        "scale": item.scale,
        "deletion": None if item.scores is None else item.scores.deletion,
        "insertion": None if item.scores is None else item.scores.insertion,
    }


def write(items: Sequence[Mapped], picture: Image.Image, folder: Path) -> None:
    """Write the maps, a picture of each, and all of them beside the image.

    Args:
        items: at least one.
        picture: the image.
        folder: exists.
    """
    for item in items:
        np.save(folder / f"{item.stem}.npy", item.attribution.values)
        legend = _legend(item)
        note = PngInfo()
        note.add_text("Description", " ".join(legend))
        panels.captioned(_drawn(item), legend).save(folder / f"{item.stem}.png", pnginfo=note)
    _together(items, picture).save(folder / "attributions.png")


def _together(items: Sequence[Mapped], picture: Image.Image) -> Image.Image:
    """A row for each model, a column for each method."""
    rows = [[m for m in items if m.who == who] for who in dict.fromkeys(m.who for m in items)]
    tile = panels.sized(picture, _PANEL)
    # A small image grows by whole multiples only; room for its scores is needed all the same.
    wide, step = max(tile.width, 150), tile.height + 66
    width = 2 * _MARGIN + (1 + len(rows[0])) * (wide + _GAP) - _GAP
    page = Image.new("RGB", (width, 2 * _MARGIN + step * len(rows) - 20), panels.PAPER)
    draw = ImageDraw.Draw(page)
    for r, row in enumerate(rows):
        top = _MARGIN + r * step
        draw.text(
            (_MARGIN, top), panels.fitted(draw, row[0].who, width - 2 * _MARGIN, 14), panels.INK, panels.font(14)
        )
        page.paste(tile, (_MARGIN, top + 22))
        for c, item in enumerate(row):
            left = _MARGIN + (c + 1) * (wide + _GAP)
            page.paste(panels.sized(_drawn(item), _PANEL), (left, top + 22))
            shown = item.attribution.method
            if item.scores is not None:
                shown += f"  del {item.scores.deletion:.2f} ins {item.scores.insertion:.2f}"
            text = panels.fitted(draw, shown, wide, 12)
            draw.text((left, top + 26 + tile.height), text, panels.FAINT, panels.font(12))
    return page


def _legend(item: Mapped) -> list[str]:
    units = "contributes" if item.attribution.method == "integrated" else "per unit of the input"
    return [
        f"{item.attribution.method} of the margins at stake, summed over channels",
        f"red: +{item.scale:g}, blue: -{item.scale:g} ({units})",
        Path(item.who).name,
    ]


def _drawn(item: Mapped) -> Image.Image:
    return panels.diverging(_summed(item), item.scale or 1.0)


def _summed(item: Mapped) -> panels.Floats:
    total: panels.Floats = item.attribution.values.astype(np.float64).sum(axis=0)
    return total
