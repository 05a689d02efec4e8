"""Derives what a certificate says of every image and property, from the logits on, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np
import torch

from robspec.ir.plans import Mean, MeanRate, Objects, Plan, PooledObjects, Precisions, Ranked, Sum, Weighted
from robspec.ir.types import Metric, Program, Property
from robspec.lipschitz.ending import Ending
from robspec.oracle.rounded import best_value
from robspec.oracle.scene import Scene
from robspec.recheck.averages import AverageBook
from robspec.recheck.budget import exponent
from robspec.recheck.cell_claims import counted, divided
from robspec.recheck.cell_pool import CellPool
from robspec.recheck.conditions import metrics_of
from robspec.recheck.counted import CountBook
from robspec.recheck.detections import ObjectsBook, ObjectsPool
from robspec.recheck.divided import RatioBook
from robspec.recheck.entry import Book, image_entry
from robspec.recheck.image import Ledger
from robspec.recheck.lattice import Lattice
from robspec.recheck.located import Located
from robspec.recheck.pooled import Pool
from robspec.recheck.precisions import PrecisionsPool
from robspec.recheck.ranking import Ranks
from robspec.recheck.relaxed import Relaxed
from robspec.recheck.sight import Sight
from robspec.recheck.weighted import WeightedBook
from robspec.semantics.constant import Constant

BOOKS: dict[type[Plan], type[Relaxed]] = {
    Weighted: WeightedBook,
    MeanRate: WeightedBook,
    Mean: AverageBook,
    Sum: AverageBook,
}
"""Plans whose bound is relaxed."""
IN_PARTS: frozenset[type[Plan]] = frozenset({*BOOKS, Objects})
"""Plans whose conditions are written one by one where they are combined."""
Settle: TypeAlias = Callable[[int, int, dict[str, Any]], Any]
"""Takes the number of a property, the number of an image and its entry; gives what is kept in place of the entry."""


class Deriver:
    """Takes images one after the other and derives what a certificate says of them.

    The claims of an entry hold on to the exact costs of all pixels: memory stays that of one image where `settle`
    gives something else in their place.

    Args:
        program: the compiled specification.
        constants: of each property.
        settle: called with every entry as soon as it is derived.
        ending: the fixed up-sampling before which logits are given, whose cells bounds look at; None for full-size
            logits.
    """

    def __init__(
        self, program: Program, constants: Sequence[Constant], settle: Settle, ending: Ending | None = None
    ) -> None:
        self._program = program
        self._constants = tuple(constants)
        self._settle = settle
        self._ending = ending
        self._lattice = None if ending is None else Lattice(ending.lines, ending.sides)
        # What cells count by themselves needs no full-size logits.
        self._full = not all(counted(metric) for p in program.properties for metric in metrics_of(p))
        self._images: list[dict[str, Any]] = []
        self._points: list[list[Any]] = [[] for _ in program.properties]
        whole = [
            (p, c) for p, c in zip(program.properties, constants, strict=True) if next(metrics_of(p)).of_data_set
        ]
        self._pools: dict[str, Ranks | Pool] = {}
        self._objects: dict[str, ObjectsPool | PrecisionsPool] = {}
        for p, c in whole:
            plan = next(metrics_of(p)).plan
            if isinstance(plan, PooledObjects):
                self._objects[p.name] = ObjectsPool(p, c)
            elif isinstance(plan, Precisions):
                self._objects[p.name] = PrecisionsPool(p, c)
            elif ending is not None and c.coarse is not None:
                self._pools[p.name] = CellPool(p, c)
            else:
                self._pools[p.name] = Ranks(p, c) if isinstance(plan, Ranked) else Pool(p, c)

    def add(
        self,
        names: Sequence[str],
        logits: torch.Tensor,
        labels: torch.Tensor | None,
        region: torch.Tensor | None,
        weights: torch.Tensor | None,
    ) -> None:
        """Derive a batch.

        Args:
            names: of the images.
            logits: [B, K, H, W], finite; before a fixed up-sampling [B, K, h, w].
            labels: int64 [B, H, W], or None.
            region: bool [B, H, W], or None.
            weights: floating point [B, H, W], or None.
        """
        full = logits
        if self._ending is not None and self._full:
            full = self._ending.enlarge(logits)
        for i, name in enumerate(names):
            z = logits[i].detach().cpu().contiguous()
            self._images.append({"image": name, "logits": _digest(z)})
            sight, double = None, np.empty((0, 0))
            if self._lattice is not None:
                sight = Sight(np.ascontiguousarray(z.to(torch.float64).numpy()), self._lattice)
                double = np.empty((len(sight), 0))
            if self._ending is None or self._full:
                wide = full[i].detach().cpu().to(torch.float64)
                double = np.ascontiguousarray(wide.reshape(len(z), -1).T.numpy())
            rest = [None if t is None else t[i].detach().cpu().reshape(-1).numpy() for t in (labels, region)]
            weight = None if weights is None else weights[i].detach().cpu().reshape(-1).double().numpy()
            ledgers: dict[tuple[Metric, int | None, bool], Ledger | CountBook | RatioBook] = {}
            for number, (prop, constant) in enumerate(zip(self._program.properties, self._constants, strict=True)):
                scene = self._scene(double, rest[0], rest[1], weight, exponent(constant))
                if prop.name in self._pools:
                    pool = self._pools[prop.name]
                    pool.add(scene)
                    if isinstance(pool, CellPool) and sight is not None:
                        pool.look(scene, sight)
                    continue
                books = _books(prop, scene, ledgers, None if constant.coarse is None else sight)
                best = None
                if constant.rounding:
                    best = {m: _best(m, book, scene, constant.rounding) for m, book in books.items()}
                entry = image_entry(name, prop, constant, books, len(scene), best)
                self._points[number].append(self._settle(number, len(self._images) - 1, entry))

    def add_located(self, names: Sequence[str], logits: torch.Tensor, images: Sequence[Located]) -> None:
        """Derive a batch of a detector.

        Args:
            names: of the images.
            logits: [B, K, 1, N], finite.
            images: with their boxes and what is annotated.
        """
        for name, z, image in zip(names, logits, images, strict=True):
            boxes, marked = image.digests()
            scores = _digest(z.detach().cpu().contiguous())
            self._images.append({"image": name, "logits": scores, "boxes": boxes, "objects": marked})
            books: dict[tuple[Metric, Constant], ObjectsBook] = {}
            for number, (prop, constant) in enumerate(zip(self._program.properties, self._constants, strict=True)):
                if prop.name in self._objects:
                    self._objects[prop.name].add(image)
                    continue
                asked = list(dict.fromkeys(metrics_of(prop)))
                for metric in asked:
                    if (metric, constant) not in books:
                        books[metric, constant] = ObjectsBook(metric, image, constant)
                own: dict[Metric, Book] = {metric: books[metric, constant] for metric in asked}
                rounded = constant.rounding or constant.boxes_rounding
                best = {metric: books[metric, constant].best for metric in asked} if rounded else None
                entry = image_entry(name, prop, constant, own, len(image), best)
                self._points[number].append(self._settle(number, len(self._images) - 1, entry))

    def finish(self) -> tuple[list[dict[str, Any]], list[list[Any]]]:
        """Give the images with the digests of their logits, and for every property what was kept of each of them."""
        for number, prop in enumerate(self._program.properties):
            pool = self._pools.get(prop.name) or self._objects.get(prop.name)
            if pool is not None:
                self._points[number] = [self._settle(number, 0, pool.entry())]
        return self._images, self._points

    def _scene(
        self,
        z: np.typing.NDArray[np.float64],
        labels: np.typing.NDArray[Any] | None,
        region: np.typing.NDArray[Any] | None,
        weights: np.typing.NDArray[np.float64] | None,
        q: int | None,
    ) -> Scene:
        count, ignore = len(z), self._program.data.ignore
        known = np.zeros(count, np.int64) if labels is None else labels
        ignored = known == ignore if labels is not None and ignore is not None else np.zeros(count, np.bool_)
        inside = np.ones(count, np.bool_) if region is None else region
        return Scene(z, known, ignored, inside, np.ones(count) if weights is None else weights, q)


def _digest(values: torch.Tensor) -> str:
    shown = sha256(f"{values.dtype} {tuple(values.shape)}\n".encode())
    shown.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return shown.hexdigest()


def _best(metric: Metric, book: Book, scene: Scene, delta: Fraction) -> Fraction | None:
    return book.best(delta) if isinstance(book, CountBook) else best_value(metric, scene, delta)


def _books(
    prop: Property,
    scene: Scene,
    ledgers: dict[tuple[Metric, int | None, bool], Ledger | CountBook | RatioBook],
    sight: Sight | None = None,
) -> dict[Metric, Book]:
    """The books of every metric of a property; ledgers are shared between properties."""
    books: dict[Metric, Book] = {}
    for metric in metrics_of(prop):
        key = (metric, scene.q, sight is not None)
        if metric in books:
            continue
        if sight is not None and (counted(metric) or divided(metric)):
            if key not in ledgers and counted(metric):
                ledgers[key] = CountBook(metric, scene, sight)
            elif key not in ledgers:
                ledgers[key] = RatioBook(Ledger(metric, scene), scene, sight)
            books[metric] = ledgers[key]
            continue
        if type(metric.plan) in BOOKS:
            books[metric] = BOOKS[type(metric.plan)](metric, scene)
            continue
        if key not in ledgers:
            ledgers[key] = Ledger(metric, scene)
        books[metric] = ledgers[key]
    return books
