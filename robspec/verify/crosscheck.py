"""`--cross-check N`: the queries of a specification answered again, by code that shares nothing with the bounds.

Whole images are solved over the pixels that can matter; random crops are solved over all of theirs, with the bound
recomputed on the crop, at a budget that flips about a third of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.bounds.context import Context
from robspec.ir.types import Metric, Program, Property, RadiusQuery, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.oracle import linear, ratio
from robspec.oracle.cells import Nodes
from robspec.oracle.compare import Comparison, Subject
from robspec.oracle.moves import reach_for
from robspec.semantics.constant import Constant
from robspec.verify.case import Case, Kind
from robspec.verify.crosscheck_cells import by_cells, nodes_of, together_by_cells
from robspec.verify.evaluate import is_pooled, metrics_of
from robspec.verify.piece import Piece, pieces
from robspec.verify.result import ImageResult, PropertyResult, Value

POINTS = 3
CROPS = 2
LOOKS = 12
PIXELS = 32
SIDES = {"linear": 12, "quotient": 8, "tabled": 4}
"""Sides of a crop, by how fast its program grows."""
PART = 1 / 3


class CrossCheck:
    """Collects some images of a check and compares what was certified on them.

    Args:
        program: the compiled specification.
        constants: of each property.
        backend: computes bounds on crops.
        images: how many images to check; spread over the data set.
        total: how many there are.
    """

    def __init__(
        self, program: Program, constants: Sequence[Constant], backend: Backend, images: int, total: int
    ) -> None:
        self.program = program
        self._constants = tuple(constants)
        self.backend = backend
        few = min(images, total)
        self._wanted = {i * total // few for i in range(few)} if few else set()
        self._seen = 0
        self._kept: dict[str, Piece] = {}
        self._nodes: dict[str, Nodes] = {}
        self._batches: dict[str, Context] = {}
        self._priced: set[object] = set()

    def observe(self, context: Context, names: Sequence[str], _: object = None) -> None:
        """Keep the images of a batch that were chosen."""
        chosen = [i for i in range(len(names)) if self._seen + i in self._wanted]
        if chosen:
            found = pieces(context)
            self._kept.update({names[i]: found[i] for i in chosen})
            if context.coarse is not None:
                self._nodes.update({names[i]: nodes_of(context.coarse, i) for i in chosen})
                self._batches.update({names[i]: context.image(i) for i in chosen})
        self._seen += len(names)

    @property
    def steps(self) -> int:
        """How many steps `run` reports: one per image and property, and one per pooled property."""
        alone = sum(not is_pooled(p) for p in self.program.properties)
        return len(self._kept) * alone + len(self.program.properties) - alone

    @property
    def names(self) -> tuple[str, ...]:
        """The images that are checked."""
        return tuple(self._kept)

    def run(
        self, results: Sequence[PropertyResult], progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[Case | None, Comparison]]:
        """Compare everything.

        Args:
            results: what the check certified.
            progress: told of finished steps.

        Returns:
            Each question with its comparison, in the order of the specification; no question of what a reproducer
            cannot hold, coarse logits.
        """
        for result, constant in zip(results, self._constants, strict=True):
            if is_pooled(result.source):
                yield from self._pooled(result.source, constant)
                progress(1)
                continue
            found = {i.image: i for i in result.images}
            for name, piece in self._kept.items():
                yield from self._image(result.source, constant, name, piece, found[name])
                progress(1)

    def _image(
        self, prop: Property, constant: Constant, name: str, piece: Piece, found: ImageResult
    ) -> Iterator[tuple[Case | None, Comparison]]:
        whole = Case(
            Kind.OPTIMUM, Subject(name, prop.name, "whole image"), prop, constant, self._ignore, (piece,), False
        )
        for point in points_of(prop):
            case = replace(whole, prop=_at(prop, point))
            certified = found.certified[point]
            if constant.coarse is not None:
                case = replace(case, constant=replace(constant, coarse=None, coarse_rounding=Fraction(0)))
                ordinary = case.bound(self.backend)
                yield from by_cells(replace(case, constant=constant), self._nodes[name], certified, ordinary)
                certified = ordinary
            yield case, case.run(self.backend, certified, known=True)
            if self._relaxes(case, certified):
                relaxed = replace(case, kind=Kind.RELAXATION)
                yield relaxed, relaxed.run(self.backend, certified, known=True)
        yield from self._crops(whole)
        priced = (name, constant, tuple(m.classes for m in metrics_of(prop.query)))
        if constant.value and priced not in self._priced:
            self._priced.add(priced)
            yield self._costs(whole)

    def _crops(self, whole: Case) -> Iterator[tuple[Case, Comparison]]:
        draw = np.random.default_rng(_seed(whole.subject.image, whole.subject.property))
        asked = list(dict.fromkeys(metrics_of(whole.prop.query)))
        for number in range(CROPS):
            side = min(SIDES[_kind(m)] for m in asked)
            top, left, piece = _window(whole.pieces[0], side, draw, whole.ignore, asked)
            height, width = piece.logits.shape[1:]
            part = f"crop {height}x{width} at ({top}, {left})"
            case = replace(whole, subject=replace(whole.subject, part=part), pieces=(piece,), thorough=True)
            if isinstance(whole.prop.query, RadiusQuery):
                crop = replace(case, prop=_at(whole.prop, points_of(whole.prop)[number % len(points_of(whole.prop))]))
                yield crop, crop.run(self.backend)
            if not whole.constant.value:
                continue
            reach = reach_for(piece.scene(whole.ignore, whole.q), PART)
            eps = Fraction(float(reach / whole.constant.value))
            for metric in asked:
                query = WorstCaseQuery(metric, whole.prop.query.norm, (eps,))
                crop = replace(case, prop=replace(whole.prop, query=query))
                yield crop, crop.run(self.backend)

    def _costs(self, whole: Case) -> tuple[Case, Comparison]:
        piece = whole.pieces[0]
        draw = np.random.default_rng(_seed(whole.subject.image, whole.subject.property))
        pixels = draw.choice(len(piece), size=min(PIXELS, len(piece)), replace=False)
        near = np.sort(pixels)
        case = replace(
            whole,
            kind=Kind.COSTS,
            subject=replace(whole.subject, part=f"{len(near)} random pixels"),
            pieces=(piece.only(near),),
        )
        return case, case.run(self.backend)

    def _pooled(self, prop: Property, constant: Constant) -> Iterator[tuple[Case | None, Comparison]]:
        if not self._kept:
            return
        subject = Subject(f"{len(self._kept)} images together", prop.name, "whole images")
        case = Case(Kind.POOLED, subject, prop, constant, self._ignore, tuple(self._kept.values()), False)
        for point in points_of(prop):
            asked = replace(case, prop=_at(prop, point))
            yield asked, asked.run(self.backend)
            if constant.coarse is not None:
                yield from together_by_cells(asked, list(self._batches.values()), list(self._nodes.values()))

    @property
    def _ignore(self) -> int | None:
        return self.program.data.ignore

    def _relaxes(self, case: Case, certified: Value | None) -> bool:
        query = case.prop.query
        if not isinstance(query, WorstCaseQuery) or certified is None or case.q is None:
            return False
        reach = query.budgets[0] * case.constant.value + case.constant.rounding
        return linear.is_linear(query.metric) and reach > 0


def points_of(prop: Property) -> list[int]:
    """First, middle and last point of a sweep."""
    query = prop.query
    count = len(query.budgets if isinstance(query, WorstCaseQuery) else query.objectives)
    return sorted({round(i * (count - 1) / max(POINTS - 1, 1)) for i in range(POINTS)})


def _at(prop: Property, point: int) -> Property:
    """The property with one point of its sweep."""
    query = prop.query
    if isinstance(query, WorstCaseQuery):
        return replace(prop, query=replace(query, budgets=(query.budgets[point],)))
    return replace(prop, query=replace(query, objectives=(query.objectives[point],), points=()))


def _kind(metric: Metric) -> str:
    if linear.is_linear(metric):
        return "linear"
    return "quotient" if ratio.is_quotient(metric) else "tabled"


def _window(
    piece: Piece, side: int, draw: np.random.Generator, ignore: int | None, asked: Sequence[Metric]
) -> tuple[int, int, Piece]:
    """Of a few random windows, the one with the most different labels and predictions.

    Every other window lies around a pixel labelled with a class that is asked about, where there is one: a class
    metric is undefined on most crops of an image.
    """
    height, width = piece.logits.shape[1:]
    wanted = sorted({k for metric in asked for k in (*metric.classes, *metric.region)})
    labels = None if piece.labels is None else piece.labels.reshape(-1).numpy()
    near = np.flatnonzero(np.isin(labels, wanted)) if labels is not None else np.zeros(0, np.int64)
    best: tuple[int, int, Piece] | None = None
    most = -1
    for look in range(LOOKS):
        top, left = int(draw.integers(0, max(height - side, 0) + 1)), int(draw.integers(0, max(width - side, 0) + 1))
        if look % 2 and len(near):
            row, column = divmod(int(draw.choice(near)), width)
            top = min(max(row - int(draw.integers(0, side)), 0), max(height - side, 0))
            left = min(max(column - int(draw.integers(0, side)), 0), max(width - side, 0))
        window = piece.window(top, left, side)
        scene = window.scene(ignore, None)
        seen = ~scene.ignored
        variety = len(set(zip(scene.labels[seen].tolist(), scene.predicted[seen].tolist(), strict=True)))
        if variety > most:
            best, most = (top, left, window), variety
    if best is None:
        raise ValueError("no window was drawn")
    return best


def _seed(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8], "big")
