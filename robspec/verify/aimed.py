"""What a property asks of attacked images: the goal of a search, and the judgement of what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import torch

from robspec.arrays import tensor
from robspec.bounds import open_bound
from robspec.bounds.context import LEFT_OUT, Context
from robspec.ir.plans import Accuracy, Stability, Sum, Weighted, unweighted
from robspec.ir.types import AllOf, Degraded, Metric, Objective, Query, RadiusQuery, WorstCaseQuery
from robspec.semantics.constant import Constant
from robspec.semantics.objective import Threshold
from robspec.verify import arithmetic
from robspec.verify.balls import NORMS
from robspec.verify.conditions import all_met
from robspec.verify.evaluate import marked, metrics_of, summed
from robspec.verify.goals import AnyGoal, EveryGoal, Goal, MetricGoal
from robspec.verify.margins import two_sided
from robspec.verify.result import Value

_STRICT = 1e-9
"""Metric values differ by more than this where they differ, but for averages of very many classes."""


def searchable(query: Query) -> bool:
    """Tell whether an attack knows the norm and the metrics: l1, l2 and linf; of radii, those of single images."""
    metrics = list(metrics_of(query))
    whole = any(m.of_data_set for m in metrics)
    if query.norm not in NORMS:
        return False
    if isinstance(query, RadiusQuery):
        return not whole
    return not (whole and any(m.weighted for m in metrics))


def as_labelled(metric: Metric, clean: Context) -> tuple[Metric, torch.Tensor | None]:
    """Turn a comparison with the clean prediction into one with labels, as attacked images have none of their own.

    Args:
        metric: any.
        clean: what the model makes of the clean images.

    Returns:
        The metric, and the labels that it sees, [B, H, W], negative where it does not look; None where the images
        are not judged by labels.
    """
    if metric.of_objects:
        return metric, None
    plan = unweighted(metric.plan)
    if not isinstance(plan, Stability):
        return metric, tensor(clean.seen(metric))
    looked = tensor(clean.seen(metric, annotated=False))
    labels = two_sided(tensor(clean.logits)).argmax(dim=1)
    if looked is not None:
        labels = torch.where(looked == LEFT_OUT, LEFT_OUT, labels)
    same = Weighted(Accuracy()) if metric.weighted else Accuracy()
    return replace(metric, plan=same, region=(), region_mask=False), labels


def values_of(metric: Metric, clean: Context, seen: Context, constant: Constant) -> list[Fraction | None]:
    """Evaluate a metric on attacked images, exactly, as on clean ones.

    Args:
        metric: of single images.
        clean: the clean images.
        seen: the attacked ones in their places.
        constant: opens the bound; where it knows of rounding, what is level within it counts in favour of the metric.
    """
    turned, labels = as_labelled(metric, clean)
    exact = arithmetic.bare(constant)
    if turned is metric and constant.rounding and isinstance(metric.plan, Sum):
        rows = zip(*(values_of(part, clean, seen, constant) for _, part in metric.parts), strict=True)
        return [summed(metric, row) for row in rows]
    if metric.of_objects:
        values = open_bound(metric, seen, exact).clean()
        sure, (_, scenes) = arithmetic.objects_settled(seen, metric, constant), seen.detections()
        found = zip(values, scenes, sure, strict=True)
        return [arithmetic.best_of_objects(metric, h, marked(scene, metric), settled=s) for h, scene, s in found]
    if turned is metric:
        return open_bound(metric, arithmetic.in_favour(seen, metric, constant), exact).clean()
    compared = Context(seen.backend, seen.logits, labels, LEFT_OUT, None, seen.weights)
    if constant.rounding:
        # Whatever the clean prediction is where rounding leaves it open, the pixel may have kept it.
        open_ = arithmetic.undecided(tensor(clean.logits), constant.rounding)
        compared = arithmetic.in_favour(compared, turned, constant, open_)
    return open_bound(turned, compared, exact).clean()


def goal_of(query: Query, point: int, clean: Context, constant: Constant) -> Goal:
    """Say what a search brings down.

    Args:
        query: of single images, and not of a detector's objects.
        point: the swept point; of radii the objective.
        clean: the clean images.
        constant: opens bounds.
    """
    if isinstance(query, WorstCaseQuery):
        return _goal(query.metric, clean, torch.zeros(len(clean), dtype=torch.float64))
    return _objective(query.objectives[point], clean, constant)


def _goal(metric: Metric, clean: Context, threshold: torch.Tensor) -> MetricGoal:
    turned, labels = as_labelled(metric, clean)
    if labels is None:
        labels = torch.zeros((len(clean), *clean.logits.shape[2:]), dtype=torch.int64)
    return MetricGoal(turned, labels, tensor(clean.weights) if metric.weighted else None, threshold)


def _objective(objective: Objective, clean: Context, constant: Constant) -> Goal:
    if not isinstance(objective, Degraded):
        parts = tuple(_objective(part, clean, constant) for part in objective.parts)
        return EveryGoal(parts) if isinstance(objective, AllOf) else AnyGoal(parts)
    gammas = []
    for h in values_of(objective.metric, clean, clean, constant):
        gamma = 0.0 if h is None else float(objective.threshold.at(h))
        gammas.append((-gamma if objective.metric.lower_is_better else gamma) - _STRICT * objective.strict)
    return _goal(objective.metric, clean, torch.tensor(gammas, dtype=torch.float64))


class Question:
    """Attacked images under one query.

    Args:
        query: of single images.
        clean: the clean images.
        seen: the attacked ones in their places.
        constant: opens bounds.
    """

    def __init__(self, query: Query, clean: Context, seen: Context, constant: Constant) -> None:
        self._query = query
        metrics = tuple(dict.fromkeys(metrics_of(query)))
        self.metric = metrics[0]
        self._values = {m: values_of(m, clean, seen, constant) for m in metrics}
        # A worst case is compared with what was attained, and not with the clean value.
        radii = isinstance(query, RadiusQuery)
        self._clean = {m: values_of(m, clean, clean, constant) for m in metrics} if radii else {}
        self._least = self._clean
        if radii and (constant.rounding or constant.boxes_rounding):
            # A threshold follows the clean value over the reals, which is no less than this.
            exact, reach = arithmetic.bare(constant), (arithmetic.reach(constant),)
            self._least = {m: [r[0] for r in open_bound(m, clean, exact).worst_case(reach)] for m in metrics}

    @property
    def first(self) -> list[Fraction | None]:
        """The values of the first metric."""
        return self._values[self.metric]

    @property
    def sign(self) -> int:
        """-1 where a larger value is worse."""
        return -1 if isinstance(self._query, WorstCaseQuery) and self.metric.lower_is_better else 1

    def attained(self, image: int, distance: Fraction) -> Iterator[tuple[int, Value]]:
        """List what an image at a distance, rounded up, attains: swept point and value."""
        if isinstance(self._query, WorstCaseQuery):
            value = self._values[self.metric][image]
            for point, eps in enumerate(self._query.budgets):
                if value is not None and distance <= eps:
                    yield point, value
            return
        known = (self._clean, self._least, self._values)
        clean, least, values = ({m: of[image] for m, of in each.items()} for each in known)
        for point, objective in enumerate(self._query.objectives):
            asked = objective if self._least is self._clean else _severe(objective, clean, least)
            if all_met(asked, clean, values):
                yield point, distance


def _severe(
    objective: Objective, best: Mapping[Metric, Fraction | None], least: Mapping[Metric, Fraction | None]
) -> Objective:
    """Put the threshold that is hardest to meet, of all that the clean value may lead to, in each condition."""
    if not isinstance(objective, Degraded):
        return replace(objective, parts=tuple(_severe(part, best, least) for part in objective.parts))
    ends = [v for v in (best[objective.metric], least[objective.metric]) if v is not None]
    gammas = [objective.threshold.at(v) for v in ends]
    if not gammas:
        return objective
    hardest = max(gammas) if objective.metric.lower_is_better else min(gammas)
    return replace(objective, threshold=Threshold(hardest))
