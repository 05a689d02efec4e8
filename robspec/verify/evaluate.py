"""Answers every query of a program on one batch of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch

from robspec.bounds import counting
from robspec.ir.types import AllOf, Degraded, Metric, Objective, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend, Items, LogitsBatch, Prepared
from robspec.semantics.constant import Constant
from robspec.verify.errors import NonFiniteLogitsError, UnsupportedMetricError
from robspec.verify.result import ImageResult, Value


class BatchEvaluator:
    """The queries of a program on one batch; each needed margin pass is made once and shared.

    Args:
        backend: computes the knapsacks.
        logits: [B, K, H, W].
        labels: int64 [B, H, W], or None when no property needs an annotation.
        ignore: the label left out, or None.
        names: the images' names, for messages.
    """

    def __init__(
        self,
        backend: Backend,
        logits: torch.Tensor,
        labels: torch.Tensor | None,
        ignore: int | None,
        names: Sequence[str],
    ) -> None:
        self._backend = backend
        self._logits = logits
        self._labels = labels
        self._ignore = ignore
        self._names = tuple(names)
        self._prepared: dict[Items, Prepared] = {}

    def answer(self, prop: Property, constant: Constant) -> list[ImageResult]:
        """Answer one property for every image of the batch.

        Args:
            prop: the property.
            constant: Lipschitz constant for the property's norm.

        Returns:
            One result per image, in order.

        Raises:
            NonFiniteLogitsError: the logits of an image hold a NaN or an infinity (E0401).
        """
        query = prop.query
        if isinstance(query, WorstCaseQuery):
            prepared = self._prepare(query.metric)
            clean = counting.clean(prepared)
            certified: list[tuple[Value | None, ...]] = [
                tuple(row) for row in counting.worst_case(prepared, query.budgets, constant)
            ]
            attained = [(value,) * len(query.budgets) for value in clean]
        else:
            clean = counting.clean(self._prepare(_first(query.objectives[0])))
            lows, highs = zip(*(self._radii(o, constant) for o in query.objectives), strict=True)
            certified = [tuple(row) for row in zip(*lows, strict=True)]
            attained = [tuple(row) for row in zip(*highs, strict=True)]
        rows = zip(self._names, clean, certified, attained, strict=True)
        return [ImageResult(name, h, tuple(low), tuple(high)) for name, h, low, high in rows]

    def _radii(self, objective: Objective, constant: Constant) -> tuple[list[Value | None], list[Value | None]]:
        """Certified and attained radii of one objective for every image."""
        if isinstance(objective, Degraded):
            prepared = self._prepare(objective.metric)
            clean = counting.clean(prepared)
            gammas = [None if h is None else objective.threshold.at(h) for h in clean]
            found = counting.radius(prepared, [(g,) for g in gammas], objective.strict, constant)
            attained = [_attained(h, g, strict=objective.strict) for h, g in zip(clean, gammas, strict=True)]
            return [row[0] for row in found], attained
        parts = [self._radii(part, constant) for part in objective.parts]
        combine = _all_of if isinstance(objective, AllOf) else _any_of
        lows = [combine(values) for values in zip(*(low for low, _ in parts), strict=True)]
        highs = [combine(values) for values in zip(*(high for _, high in parts), strict=True)]
        return lows, highs

    def _prepare(self, metric: Metric) -> Prepared:
        items = counting.ITEMS.get(metric.name)
        if items is None:
            raise UnsupportedMetricError(
                f"metric {metric.name}", "this version has no bound for it", "ask for one `robspec metrics` lists"
            )
        if items not in self._prepared:
            prepared = self._backend.prepare(LogitsBatch(self._logits, self._labels, items, self._ignore))
            if not prepared.finite.all():
                name = self._names[int(prepared.finite.argmin())]
                raise NonFiniteLogitsError(
                    name,
                    "the model's logits hold a NaN or an infinity on this image",
                    "run the model on this image alone, or check with --forward float64",
                )
            self._prepared[items] = prepared
        return self._prepared[items]


def needs_labels(program: Program) -> bool:
    """Tell whether any property of a program needs masks."""
    return any(m.needs_masks for p in program.properties for m in _metrics(p))


def _metrics(prop: Property) -> list[Metric]:
    if isinstance(prop.query, WorstCaseQuery):
        return [prop.query.metric]
    return [metric for objective in prop.query.objectives for metric in _leaves(objective)]


def _leaves(objective: Objective) -> list[Metric]:
    if isinstance(objective, Degraded):
        return [objective.metric]
    return [metric for part in objective.parts for metric in _leaves(part)]


def _first(objective: Objective) -> Metric:
    return _leaves(objective)[0]


def _attained(clean: Fraction | None, gamma: Fraction | None, *, strict: bool) -> Value | None:
    if clean is None or gamma is None:
        return None
    met = clean < gamma if strict else clean <= gamma
    return Fraction(0) if met else math.inf


def _all_of(values: Sequence[Value | None]) -> Value | None:
    """Maximum; an undefined operand leaves it undefined unless another is infinite (MATH.md 3.F)."""
    known = [v for v in values if v is not None]
    return max(known) if len(known) == len(values) or math.inf in known else None


def _any_of(values: Sequence[Value | None]) -> Value | None:
    """Minimum; an undefined operand leaves it undefined unless another is 0 (MATH.md 3.F)."""
    known = [v for v in values if v is not None]
    return min(known) if len(known) == len(values) or 0 in known else None
