"""Properties answered by randomised smoothing: certified items stay, and all others may become anything.

What a test certifies is a set of items, each by itself: radii of smoothing share no budget and are never added up.
The worst case over the items that are left is found by the bounds of the metrics, on logits that say just this:
1 for the class of a certified item and 0 for its others, 0 for every class of the rest, and a budget that moves ties
alone. Of a detector that matches by location each score is an item: 1 where it certainly fires, -1 where it does not,
0, the threshold, where it may do either; each moves by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from robspec.bounds.context import Context
from robspec.bounds.scene import threshold_of
from robspec.data.batching import default_batch_size
from robspec.data.objects import Objects
from robspec.ir.types import Model as Declared
from robspec.ir.types import Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.notes import Note, percent
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, LINF, decimal_text
from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.testing import enough, histogram, least_hits, radii
from robspec.verify import seen
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled
from robspec.verify.result import ImageResult, Value

if TYPE_CHECKING:
    import torch

    from robspec.smoothing.sampling import Counts, Model

_MOST = 10_000
"""Samples that a specification may ask for."""
_TIES = Fraction(1, 2**20)
"""A budget that ties cost nothing of, and a margin of 1 too much."""


def answerable(prop: Property, model: Declared) -> bool:
    """Tell whether smoothing could answer a property on worst cases that a constant answers; as E0159 has it."""
    query, task = prop.query, model.task
    by_location = model.detector is not None and model.detector.match == "location"
    return (
        prop.smoothing is None
        and isinstance(query, WorstCaseQuery)
        and query.norm == L2
        and query.metric.rank == 1
        and not (task.scores or (task.objects and not by_location))
        and not (query.metric.of_data_set and len(query.budgets) > 1)
        and all(r.confidence is None for r in prop.requirements)
    )


def asked(program: Program) -> tuple[Smoothing, ...]:
    """The settings that every image is sampled with, each once."""
    return tuple(dict.fromkeys(_sampled(p.smoothing, program) for p in program.properties if p.smoothing is not None))


def chunk(program: Program, *, apart: bool) -> int:
    """How many samples go through the model at once; see `SmoothedEvaluator`."""
    return default_batch_size(program.model) if apart else 1


class SmoothedEvaluator:
    """The properties of a program that are answered by smoothing.

    Args:
        program: the compiled specification.
        model: the network under the noise.
        backend: computes the bounds.
        images: how many images anything is claimed of; alpha is shared by them.
        apart: whether the logits of an image are known to depend on no other image of a batch. Where they are not,
            each sample is a batch of its own: what is sampled is then a function of one image by construction.
        sampler: counts decisions under noise.
    """

    def __init__(
        self,
        program: Program,
        model: Model,
        backend: Backend,
        images: int,
        *,
        apart: bool = True,
        sampler: Callable[[Model, torch.Tensor, Smoothing, int], Counts] | None = None,
    ) -> None:
        self._sampler = sampler
        self._program, self._model, self._backend, self._images = program, model, backend, max(images, 1)
        self._chunk = chunk(program, apart=apart)
        self._seen: dict[Smoothing, list[Counts]] = {}
        self._items: dict[str, list[int]] = {}
        self._short: dict[str, tuple[Fraction, int]] = {}
        self._unit = _UNIT if program.model.detector is None else _EACH
        pooled = [p for p in program.properties if p.smoothing is not None and is_pooled(p)]
        self._pools, self._chosen = (
            {p.name: PooledEvaluator([(_certain(p), self._unit)], program.model.plane) for p in pooled}
            for _ in range(2)
        )

    def meet(self, images: Iterable[torch.Tensor]) -> None:
        """Sample a batch of images, float32 [B, C, H, W], for every property that asks for it."""
        settings = asked(self._program)
        if not settings:
            return
        from robspec.smoothing.sampling import sample

        take = self._sampler or sample
        self._seen = {s: [take(self._model, image, s, self._chunk) for image in images] for s in settings}

    def answer(self, prop: Property, smoothing: Smoothing, batch: seen.Batch) -> list[ImageResult]:
        """Answer a property for the images that were sampled last.

        Args:
            prop: one of the program's.
            smoothing: its settings.
            batch: the same images, with what is annotated.

        Returns:
            One result per image, without what concrete images attain: samples refute nothing. None of a property of
            the data set as a whole.
        """
        counts = self._seen[_sampled(smoothing, self._program)]
        if is_pooled(prop):
            self._pools[prop.name].add(self._context(batch, self._certified(prop, smoothing, counts, 0)))
            self._chosen[prop.name].add(self._context(batch, _all(counts)))
            return []
        clean = self._clean(prop, batch, counts)
        if isinstance(prop.query, WorstCaseQuery):
            columns = [
                self._worst(prop, batch, self._certified(prop, smoothing, counts, point))
                for point in range(len(prop.query.budgets))
            ]
            certified: list[tuple[Value | None, ...]] = list(zip(*columns, strict=True))
        else:
            certified = [self._radius(prop, smoothing, _one(batch, i), c) for i, c in enumerate(counts)]
        rows = zip(batch.names, clean, certified, strict=True)
        return [ImageResult(name, h, found, (None,) * len(found)) for name, h, found in rows]

    def conclude(self, prop: Property) -> list[ImageResult]:
        """Answer a property of the data set as a whole."""
        found, chosen = (pools[prop.name].answer(prop.name) for pools in (self._pools, self._chosen))
        return [
            replace(r, clean=c.clean, attained=(None,) * len(r.certified)) for r, c in zip(found, chosen, strict=True)
        ]

    def close(self) -> None:
        """Delete what was kept of the batches."""
        for pool in (*self._pools.values(), *self._chosen.values()):
            pool.close()

    def notes(self) -> Iterator[Note]:
        """Say how many items were not certified, of a sweep at its largest budget."""
        for name, (abstained, items) in self._items.items():
            share = Fraction(abstained, items)
            noun = "score" if self._program.model.detector is not None else self._program.model.task.item
            as_what = "fire or not, whichever is worse" if noun == "score" else "count as wrong"
            text = f"{percent(share)} of the {noun}s are not certified and {as_what}"
            yield Note("smoothing-abstains", f"property {name}", text, {"share": share, f"{noun}s": abstained})
            if name in self._short:
                eps, needed = self._short[name]
                at = f"at eps = {decimal_text(eps)}" if eps else "at any radius"
                takes = f"that takes some {needed} samples" if needed <= _MOST else "that takes a larger sigma"
                text = f"{at} nothing can be certified, however often it is found: {takes}"
                yield Note("smoothing-samples", f"property {name}", text, {"samples": needed})

    def _certified(
        self, prop: Property, smoothing: Smoothing, counts: Sequence[Counts], point: int
    ) -> list[tuple[Counts, np.ndarray]]:
        """Which items no attack within a budget changes."""
        query, alpha = prop.query, smoothing.alpha / self._images
        if not isinstance(query, WorstCaseQuery):
            raise ValueError("a radius has no budget")
        eps = query.budgets[point]
        found = []
        for image in counts:
            held, spread = np.zeros(image.hits.shape, np.bool_), histogram(image.hits, smoothing.samples)
            tau = smoothing.frequency(eps)
            if tau is not None:
                self._suffice(prop, smoothing, image, tau, eps)
            if tau is not None and len(query.budgets) == 1:
                held = image.hits >= least_hits(spread, tau, alpha)
            elif tau is not None:
                # Of several budgets the one that looks best may be picked afterwards: radii are right at all at once.
                held = np.array([r >= eps and r > 0 for r in radii(spread, smoothing, alpha)])[image.hits]
            found.append((image, held))
            if eps == max(query.budgets):
                self._count(prop, held)
        return found

    def _count(self, prop: Property, held: np.ndarray) -> None:
        items = self._items.setdefault(prop.name, [0, 0])
        items[0] += int((~held).sum())
        items[1] += held.size

    def _suffice(self, prop: Property, smoothing: Smoothing, image: Counts, tau: Fraction, eps: Fraction) -> None:
        """Remember the least budget at which no outcome of the samples certifies anything."""
        needed = enough(image.hits.size, tau, smoothing.alpha / self._images, smoothing.samples)
        if needed is not None and eps <= self._short.get(prop.name, (eps, 0))[0]:
            self._short[prop.name] = (eps, needed)

    def _context(self, batch: seen.Batch, certified: Sequence[tuple[Counts, np.ndarray]]) -> Context:
        logits = np.stack([self._logits(c.chosen, held) for c, held in certified])
        return seen.context(_at_zero(self._program), self._backend, None, logits, batch)

    def _logits(self, chosen: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Logits [K, H, W] that say what is certified, and nothing else."""
        channels = self._program.model.plane[0]
        kept = held.astype(np.float32)
        side = (2 * chosen.astype(np.float32) - 1) * kept
        if self._program.model.detector is not None:
            return side[:, None]
        if channels == 1:
            return side[None]
        found = np.zeros((channels, *chosen.shape), dtype=np.float32)
        np.put_along_axis(found, chosen[None], kept[None], axis=0)
        return found

    def _clean(self, prop: Property, batch: seen.Batch, counts: Sequence[Counts]) -> list[Fraction | None]:
        """What the classes chosen are worth, an estimate."""
        context = self._context(batch, _all(counts))
        evaluator = BatchEvaluator(context, batch.names)
        return [r.clean for r in evaluator.answer(_certain(prop), self._unit)]

    def _worst(
        self, prop: Property, batch: seen.Batch, certified: Sequence[tuple[Counts, np.ndarray]]
    ) -> list[Value | None]:
        evaluator = BatchEvaluator(self._context(batch, certified), batch.names)
        return [r.certified[0] for r in evaluator.answer(_certain(prop), self._unit)]

    def _radius(
        self, prop: Property, smoothing: Smoothing, image: seen.Batch, counts: Counts
    ) -> tuple[Value | None, ...]:
        """The largest radius at which what is certified keeps each objective from being met, one image."""
        points = len(prop.query.objectives) if not isinstance(prop.query, WorstCaseQuery) else 0
        spread, alpha = histogram(counts.hits, smoothing.samples), smoothing.alpha / self._images
        self._suffice(prop, smoothing, counts, smoothing.tau or Fraction(1, 2), Fraction(0))
        if smoothing.tau is None:
            of = radii(spread, smoothing, alpha)
        else:
            least = least_hits(spread, smoothing.tau, alpha)
            of = [smoothing.radius(smoothing.tau) if k >= least else Fraction(0) for k in range(len(spread))]
        levels = sorted({r for r in of if r > 0})
        reach = np.array([levels.index(r) if r > 0 else -1 for r in of])[counts.hits]
        self._count(prop, reach >= 0)

        def kept(held: np.ndarray, point: int) -> Value | None:
            context = self._context(image, [(counts, held)])
            return BatchEvaluator(context, image.names).answer(prop, self._unit)[0].certified[point]

        found: list[Value | None] = []
        for point in range(points):
            nothing = kept(np.zeros(counts.hits.shape, np.bool_), point)
            if nothing is None or nothing > 0:
                found.append(None if nothing is None else math.inf)
                continue
            low, high = -1, len(levels)
            while high - low > 1:
                middle = (low + high) // 2
                value = kept(reach >= middle, point)
                low, high = (middle, high) if value is not None and value > 0 else (low, middle)
            found.append(levels[low] if low >= 0 else Fraction(0))
        return tuple(found)


_UNIT = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
"""Of the logits that are made here, which move by no more than they are moved by."""
_EACH = Constant(Fraction(1), L2, LINF, ConstantStatus.PROVED)
"""The same of scores, which share nothing."""


def _all(counts: Sequence[Counts]) -> list[tuple[Counts, np.ndarray]]:
    """Every item as if it were certified."""
    return [(c, np.ones(c.hits.shape, np.bool_)) for c in counts]


def _sampled(smoothing: Smoothing, program: Program) -> Smoothing:
    """The part of the settings on which samples depend; of a detector with its threshold."""
    fires, detector = None, program.model.detector
    if detector is not None:
        threshold = threshold_of(detector)
        fires = (threshold.low, threshold.high)
    return replace(smoothing, alpha=Fraction(1, 2), tau=None, fires=fires)


def _at_zero(program: Program) -> Program:
    """The same with a detector whose scores fire from 0 on; no other statement is about the size of a score."""
    detector = program.model.detector
    if detector is None:
        return program
    fires = replace(detector, of="score", threshold=Fraction(0))
    return replace(program, model=replace(program.model, detector=fires))


def _certain(prop: Property) -> Property:
    """The same property of logits on which ties alone can be moved."""
    if not isinstance(prop.query, WorstCaseQuery):
        return prop
    return replace(prop, query=replace(prop.query, budgets=(_TIES,)))


def _one(batch: seen.Batch, i: int) -> seen.Batch:
    """One image of a batch, with what is annotated."""
    labels, region, weights = (
        None if t is None else t[i : i + 1] for t in (batch.labels, batch.region, batch.weights)
    )
    objects: tuple[Objects, ...] | None = getattr(batch, "objects", None)
    mine = None if objects is None else objects[i : i + 1]
    return _Image((batch.names[i],), batch.images[i : i + 1], labels, region, weights, mine)


class _Image:
    """A batch of one image."""

    def __init__(
        self,
        names: tuple[str, ...],
        images: torch.Tensor,
        labels: torch.Tensor | None,
        region: torch.Tensor | None,
        weights: torch.Tensor | None,
        objects: tuple[Objects, ...] | None,
    ) -> None:
        self.names, self.images, self.labels, self.region, self.weights = names, images, labels, region, weights
        self.objects = objects
