"""Pictures of a check, image by image: what was given, predicted, and what the worst case takes."""

from __future__ import annotations

import heapq
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from robspec.bounds.context import Context, doubles
from robspec.data.dataset import Dataset
from robspec.explanations import panels
from robspec.ir.plans import Accuracy, Stability
from robspec.ir.types import Program, Property, WorstCaseQuery
from robspec.kernels.knapsack.budget import Budget, costs
from robspec.kernels.weighted import backends
from robspec.semantics.constant import Constant
from robspec.semantics.norm import directed_text
from robspec.session import beside
from robspec.verify.result import Panel, Pictures
from robspec.verify.run import Answers

MOST = 60
"""Images that are drawn: those with the lowest certified values of the first property, or the highest where lower is
better."""
_SIDE, _LARGE = 160, 1024
"""Points of a side: in the report, and in the folder beside it."""
_COLOURS = (
    *((68, 84, 106), (230, 126, 34), (39, 174, 96), (41, 128, 185), (192, 57, 43), (142, 68, 173), (241, 196, 15)),
    *((22, 160, 133), (127, 140, 141), (211, 84, 0), (44, 62, 80), (243, 156, 18), (26, 188, 156), (155, 89, 182)),
)
_LEFT_OUT = (225, 225, 225)
_LABELLED = 6
"""Components that carry their radius as a number, the largest first."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is remembered of one image until its pictures are drawn.

    Args:
        name: of the image.
        place: in the data set.
        label: [H, W], or None.
        predicted: [H, W].
        margins: [H, W], logits to the nearest other class.
    """

    name: str
    place: int
    label: npt.NDArray[np.int64] | None
    predicted: npt.NDArray[np.int64]
    margins: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One picture, at one point for each pixel.

    Args:
        title: two or three words.
        picture: the points.
        legend: see `Panel`.
        key: see `Panel`.
        labels: texts and where they stand, in points.
    """

    title: str
    picture: Image.Image
    legend: str = ""
    key: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[float, float, str], ...] = ()

    def png(self, side: int) -> bytes:
        """Write it at about so many points a side, as PNG."""
        picture = panels.sized(self.picture, side)
        draw, grown = ImageDraw.Draw(picture), picture.width / self.picture.width
        for x, y, text in self.labels:
            draw.text(
                (x * grown, y * grown),
                text,
                fill=panels.PAPER,
                font=panels.font(max(12, side // 36)),
                anchor="mm",
                stroke_width=2,
                stroke_fill=panels.INK,
            )
        out = io.BytesIO()
        picture.save(out, "PNG", optimize=True)
        return out.getvalue()


class Gallery:
    """Watches a check and draws the images that are worst in it.

    Args:
        program: its first property that stands on a Lipschitz constant decides which images are worst, in what norm
            radii are, and what is flipped; there is one.
        constants: of the properties, in their order.
        data: the images.
        folder: where larger pictures are written; None for nowhere.
        rest: how many pixels of a region may be left when it counts as changed.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Constant],
        data: Dataset,
        folder: Path | None = None,
        rest: int = 0,
    ) -> None:
        self._program, self._data, self._folder, self._rest = program, data, folder, rest
        self._index = next(k for k, p in enumerate(program.properties) if p.smoothing is None)
        self._first: Property = program.properties[self._index]
        self._constant = constants[self._index]
        self._worst: list[tuple[float, int, _Kept]] = []
        self._seen = 0

    def observe(self, context: Context, names: Sequence[str], answers: Answers) -> None:
        """Remember those images of a batch that are among the worst so far."""
        values = answers[self._index] if answers else []
        for k, name in enumerate(names):
            worth = _worth(values[k].certified[0] if k < len(values) else None, lower=self._lower)
            if len(self._worst) < MOST or worth > self._worst[0][0]:
                entry = (worth, -self._seen - k, self._read(context, k, name, self._seen + k))
                (heapq.heappush if len(self._worst) < MOST else heapq.heappushpop)(self._worst, entry)
        self._seen += len(names)

    @property
    def _lower(self) -> bool:
        query = self._first.query
        return isinstance(query, WorstCaseQuery) and query.metric.lower_is_better

    def _read(self, context: Context, k: int, name: str, place: int) -> _Kept:
        z = doubles(context.logits[k])
        predicted, margins = backends()["cpu"].predictions(z)
        label = None if context.labels is None else np.asarray(context.labels[k].cpu().numpy(), dtype=np.int64)
        return _Kept(name, place, label, predicted.reshape(z.shape[1:]), margins.reshape(z.shape[1:]))

    def pictures(self) -> Iterator[Pictures]:
        """Draw, the worst image first; each is read again, and drawn large as well where there is a folder.

        Raises:
            OutputPathError: the file system refuses a picture (E0602).
        """
        for number, (_, _, kept) in enumerate(sorted(self._worst, key=lambda e: (-e[0], -e[1])), start=1):
            (batch,) = self._data.only([kept.place]).batches(1)
            ends = (float(self._program.model.low), float(self._program.model.high))
            shown = panels.shown(batch.images[0].numpy(), ends)
            drawn = [_Drawn("image", shown)]
            # The scores of a detector are no map of the image.
            if kept.predicted.size > 1 and self._program.model.detector is None:
                drawn += list(self._maps(kept, shown))
            found = tuple(self._panel(d, number) for d in drawn)
            yield Pictures(kept.name, found, self._words(kept))

    def _panel(self, drawn: _Drawn, number: int) -> Panel:
        large = ""
        if self._folder is not None:
            large = beside.write(self._folder, self._program.data.name, number, drawn.title, drawn.png(_LARGE))
        return Panel(drawn.title, drawn.png(_SIDE), drawn.legend, drawn.key, large)

    def _words(self, kept: _Kept) -> str:
        classes = self._program.model.classes
        if kept.predicted.size > 1 or self._program.model.task.scores:
            return ""
        said = f"predicted {classes[int(kept.predicted.flat[0])]}"
        label = None if kept.label is None else int(kept.label.flat[0])
        return said + (f", labelled {classes[label]}" if label is not None and 0 <= label < len(classes) else "")

    def _maps(self, kept: _Kept, shown: Image.Image) -> Iterator[_Drawn]:
        classes = self._program.model.classes
        key = tuple((name, _name(k)) for k, name in enumerate(classes[: len(_COLOURS)]))
        if kept.label is not None:
            yield _Drawn("annotation", _coloured(kept.label), key=key)
        yield _Drawn("prediction", _coloured(kept.predicted), key=key)
        radius = self._radii(kept.margins)
        finite = radius[np.isfinite(radius)]
        top = float(np.quantile(finite, 0.98)) if finite.size else 0.0
        scale = top or 1.0
        legend = f"certified radius of each pixel by itself, {self._norm}: black 0, white {_down(scale)} and more"
        yield _Drawn("radius", _heat(radius / scale), legend)
        flips = self._flips(kept)
        if flips is not None:
            eps, mask = flips
            legend = (
                f"marked: the {int(mask.sum())} pixels that are cheapest to change within {self._norm} eps = {eps}"
            )
            yield _Drawn("worst case", panels.marked(shown, mask), legend)
        parts = self._components(kept, eps=None if flips is None else float(Fraction(eps)))
        if parts is not None:
            yield parts

    @property
    def _norm(self) -> str:
        return self._first.query.norm.name

    def _radii(self, margins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What each pixel alone withstands, not rounded: a picture."""
        constant = float(self._constant.value)
        if constant == 0:
            return np.full(margins.shape, math.inf)
        q = self._constant.output_norm.p
        both = 1.0 if self._single else 2.0 if q is None else 2.0 ** (1 - 1 / float(q))
        return margins / (both * constant)

    @property
    def _single(self) -> bool:
        return self._program.model.plane[0] == 1

    def _flips(self, kept: _Kept) -> tuple[str, npt.NDArray[np.bool_]] | None:
        """The pixels of the first property's worst case at its largest budget, where it counts single pixels."""
        query = self._first.query
        if not isinstance(query, WorstCaseQuery) or not isinstance(query.metric.plan, Accuracy | Stability):
            return None
        metric = query.metric
        if metric.region or metric.region_mask:
            return None
        items = np.ones(kept.predicted.shape, dtype=np.bool_)
        if isinstance(metric.plan, Accuracy) and kept.label is not None:
            items = kept.predicted == kept.label
        eps = query.budgets[-1]
        q, pixels = self._constant.output_norm.p, kept.predicted.size
        budget = Budget.of(eps, self._constant.value, q, pixels, single=self._single)
        places = np.flatnonzero(items)
        order = places[np.argsort(kept.margins.flat[places], kind="stable")]
        if budget.exponent:
            count = int(np.searchsorted(np.cumsum(costs(kept.margins.flat[order], budget)), budget.limit, "right"))
        else:
            count = int((kept.margins.flat[order] <= budget.scale).sum())
        mask = np.zeros(kept.predicted.size, dtype=np.bool_)
        mask[order[:count]] = True
        return f"{float(eps):.6g}", mask.reshape(kept.predicted.shape)

    def _components(self, kept: _Kept, eps: float | None) -> _Drawn | None:
        """Connected regions of one predicted class, each with what it takes to change all of its pixels but a few."""
        try:
            from scipy import ndimage
        except ImportError:
            return None
        radius = self._radii(kept.margins)
        q = self._constant.output_norm.p
        shown = np.array(_coloured(kept.predicted).convert("RGB"))
        found = []
        for k in np.unique(kept.predicted).tolist():
            numbers, count = ndimage.label(kept.predicted == k)
            for part, box in enumerate(ndimage.find_objects(numbers, count), start=1):
                inside = numbers[box] == part
                alone = np.sort(radius[box][inside])[: -self._rest or None]  # a smaller region has changed already
                whole = float(alone.max(initial=0.0) if q is None else (alone ** float(q)).sum() ** (1 / float(q)))
                found.append((int(inside.sum()), whole, box, inside))
        for _, whole, box, inside in found:
            if eps is not None and whole <= eps:
                shown[box][inside] = _LEFT_OUT
        labels = []
        for _, whole, (rows, columns), inside in sorted(found, key=lambda f: -f[0])[:_LABELLED]:
            # The number stands where the region is widest, and not where it has no pixel.
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            labels.append((columns.start + float(x) + 0.5, rows.start + float(y) + 0.5, _down(whole)))
        changes = f"all but {self._rest} pixels" if self._rest else "all"
        grey = "" if eps is None else f"; grey: those within eps = {eps:g}"
        legend = (
            f"regions of one predicted class; no {self._norm} budget below its number changes {changes} of one{grey}"
        )
        return _Drawn("regions", Image.fromarray(shown), legend, labels=tuple(labels))


def _down(radius: float) -> str:
    """Three digits of a radius, rounded down."""
    if not math.isfinite(radius) or radius <= 0:
        return f"{radius:g}"
    return directed_text(Fraction(radius), max(0, 2 - math.floor(math.log10(radius))), up=False)


def _worth(value: object, *, lower: bool) -> float:
    """How much an image should be shown: the larger, the worse it is; what is undefined comes last."""
    if value is None:
        return -math.inf
    number = float(value)  # type: ignore[arg-type]
    return number if lower else -number


def _coloured(classes: npt.NDArray[np.int64]) -> Image.Image:
    table = np.array([*_COLOURS, _LEFT_OUT], dtype=np.uint8)
    inside = (classes >= 0) & (classes < 255)
    return Image.fromarray(table[np.where(inside, classes % len(_COLOURS), len(_COLOURS))])


def _heat(unit: npt.NDArray[np.float64]) -> Image.Image:
    """Black over red and yellow to white."""
    value = np.clip(np.nan_to_num(unit, nan=0.0, posinf=1.0), 0, 1)
    rgb = np.stack([np.clip(3 * value, 0, 1), np.clip(3 * value - 1, 0, 1), np.clip(3 * value - 2, 0, 1)], axis=-1)
    return Image.fromarray(np.rint(255 * rgb).astype(np.uint8))


def _name(k: int) -> str:
    red, green, blue = _COLOURS[k]
    return f"#{red:02x}{green:02x}{blue:02x}"
