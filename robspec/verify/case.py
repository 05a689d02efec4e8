"""One question put to a bound and to the oracle alike; what a reproducer stores."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.ir.plans import Accuracy, Formula, Rate
from robspec.ir.types import Degraded, Metric, Property, Query, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.oracle import compare, costs, pooled
from robspec.oracle.compare import Comparison, Subject
from robspec.oracle.ranks import ranked
from robspec.oracle.rounded import best_value, favoured, grounded
from robspec.oracle.scene import Scene
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant
from robspec.semantics.formula import Polynomial, Ratio
from robspec.semantics.norm import decimal_text
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, metrics_of
from robspec.verify.piece import Piece
from robspec.verify.result import Value

SHRINKING = 40
"""How many smaller images are tried before a disagreement is written down."""


class Kind(enum.Enum):
    """What is compared."""

    OPTIMUM = "optimum"
    RELAXATION = "relaxation"
    COSTS = "costs"
    POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Case:
    """A question.

    Args:
        kind: which comparison.
        subject: for the report.
        prop: its query has one point; for COSTS, only its norm and its classes matter.
        constant: for the property's norm.
        ignore: the ignore label, or None.
        pieces: the image; several for POOLED.
        thorough: every move of every pixel, or the program for whole images.
    """

    kind: Kind
    subject: Subject
    prop: Property
    constant: Constant
    ignore: int | None
    pieces: tuple[Piece, ...]
    thorough: bool = True

    @property
    def q(self) -> int | None:
        """Exponent of the norm on the logits."""
        p = self.constant.output_norm.p
        return None if p is None else int(p)

    def bound(self, backend: Backend) -> Value | None:
        """Ask robspec's own bound."""
        if self.kind is Kind.POOLED:
            return self._pooled_bound(backend)
        evaluator = BatchEvaluator(self.pieces[0].context(backend, self.ignore), ["piece"])
        return evaluator.answer(self.prop, self.constant)[0].certified[0]

    def run(self, backend: Backend, bound: Value | None = None, *, known: bool = False) -> Comparison:
        """Compare.

        Args:
            backend: computes the bound.
            bound: the certified value, where it is known already.
            known: whether it is.

        Returns:
            The comparison.
        """
        if self.kind is Kind.COSTS:
            return self._costs(backend)
        found = bound if known else self.bound(backend)
        scenes = [p.scene(self.ignore, self.q) for p in self.pieces]
        query, scenes = _by_rank(self.prop.query, scenes)
        if isinstance(query, WorstCaseQuery):
            eps = query.budgets[0]
            reach, text = eps * self.constant.value + self.constant.rounding, _eps_text(eps)
            exact = None if found is None else Fraction(found)
            if self.kind is Kind.POOLED:
                return pooled.worst_case(self.subject, query.metric, scenes, reach, text, exact)
            if self.kind is Kind.RELAXATION and exact is not None:
                return compare.relaxation(self.subject, query.metric, scenes[0], reach, text, exact)
            asked = self.subject, query.metric, scenes[0], reach, text, exact
            return compare.worst_case(*asked, thorough=self.thorough)
        objective, delta = query.objectives[0], self.constant.rounding
        if delta:
            objective = grounded(objective, self._best(query, scenes))
        if self.kind is Kind.POOLED and isinstance(objective, Degraded):
            return pooled.radius(self.subject, objective, scenes, self.constant.value, found, delta)
        asked_radius = self.subject, objective, scenes[0], self.constant.value, found
        return compare.radius(*asked_radius, thorough=self.thorough, rounding=delta)

    def _best(self, query: Query, scenes: list[Scene]) -> dict[Metric, Fraction | None]:
        """What the clean images are worth at most, from which thresholds follow."""
        delta = self.constant.rounding
        if self.kind is Kind.POOLED:
            return {
                m: pooled.clean_value(m, [favoured(scene, delta, m) for scene in scenes]) for m in metrics_of(query)
            }
        return {m: best_value(m, scenes[0], delta) for m in metrics_of(query)}

    def shrunk(self, backend: Backend) -> Case:
        """Drop pixels as long as the disagreement stays: first halves, then smaller parts."""
        smallest = self
        if len(self.pieces) != 1 or self.kind is Kind.COSTS:
            return self
        tries, parts = 0, 2
        while tries < SHRINKING and parts <= 2 * len(smallest.pieces[0]):
            count = len(smallest.pieces[0])
            size = max(1, -(-count // parts))
            for start in range(0, count, size):
                tries += 1
                kept = np.delete(np.arange(count), np.s_[start : start + size])
                if not len(kept) or tries > SHRINKING:
                    continue
                smaller = replace(smallest, pieces=(smallest.pieces[0].only(kept),))
                if smaller.run(backend).agreed is False:
                    smallest = smaller
                    break
            else:
                parts *= 2
                continue
        return smallest

    def _pooled_bound(self, backend: Backend) -> Value | None:
        channels, height, width = self.pieces[0].logits.shape
        pools = PooledEvaluator([(self.prop, self.constant)], (channels, height, width))
        try:
            for piece in self.pieces:
                pools.add(piece.context(backend, self.ignore))
            return pools.answer(self.prop.name)[0].certified[0]
        finally:
            pools.close()

    def _costs(self, backend: Backend) -> Comparison:
        """Each pixel is an image of its own; its radius is what its flip costs."""
        piece = self.pieces[0]
        scene = piece.scene(None, self.q)
        inside = next(metrics_of(self.prop.query)).classes
        table = costs.table(scene)
        clean = scene.predicted
        across = np.isin(np.arange(scene.classes), inside)[None, :] != np.isin(clean, inside)[:, None]
        if not inside or len(inside) == scene.classes:
            across = np.arange(scene.classes)[None, :] != clean[:, None]
        targets = np.argmin(np.where(across, table, np.inf), axis=1).astype(np.int64)
        labels = torch.from_numpy(clean).reshape(-1, 1, 1)
        stack = piece.logits.reshape(len(piece.logits), -1).T.reshape(-1, len(piece.logits), 1, 1).contiguous()
        context = Context(backend, stack, labels, None)
        zero = [(Fraction(0),)] * len(scene)
        if not inside or len(inside) == scene.classes:
            rows = open_bound(Metric("correct", Accuracy()), context, self.constant).radius(zero, strict=False)
            return compare.flip_costs(self.subject, scene, targets, self.constant.value, [r[0] for r in rows])
        rates = [_rate(Flip.LEAVE, "TP", "FN", inside), _rate(Flip.ENTER, "TN", "FP", inside)]
        leave, enter = (open_bound(rate, context, self.constant).radius(zero, strict=False) for rate in rates)
        said = np.isin(clean, inside).tolist()
        radii = [a[0] if mine else b[0] for mine, a, b in zip(said, leave, enter, strict=True)]
        return compare.flip_costs(self.subject, scene, targets, self.constant.value, radii)


def _by_rank(query: Query, scenes: list[Scene]) -> tuple[Query, list[Scene]]:
    """Put a question about one metric of ranks as one of plain accuracy, as the oracle answers it."""
    metrics = set(metrics_of(query))
    if len(metrics) > 1 or next(iter(metrics)).rank == 1:
        return query, scenes
    pairs = [ranked(next(iter(metrics)), scene) for scene in scenes]
    plain, reduced = pairs[0][0], [scene for _, scene in pairs]
    if isinstance(query, WorstCaseQuery):
        return replace(query, metric=plain), reduced
    objectives = tuple(replace(o, metric=plain) if isinstance(o, Degraded) else o for o in query.objectives)
    return replace(query, objectives=objectives), reduced


def _rate(flips: Flip, kept: str, lost: str, inside: tuple[int, ...]) -> Metric:
    """A metric that is 1 on an image of one pixel until it flips."""
    below = Polynomial.count(kept, lost)
    return Metric(flips.value, Rate(Formula(Ratio(Polynomial.count(kept), below), below), inside, flips))


def _eps_text(eps: Fraction) -> str:
    text = decimal_text(eps)
    return text if len(text) <= 12 else f"{float(eps):.6g}"


def is_trivial(value: Value | None) -> bool:
    """Tell whether a radius says nothing: undefined, 0 or infinite."""
    return value is None or value == 0 or value == math.inf
