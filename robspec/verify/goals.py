"""What an attack is after, in numbers that have gradients: the metric itself, smooth and as it is counted.

Nothing rests on these numbers: what is found is evaluated by the code that evaluates clean images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from robspec.ir.plans import Accuracy, Components, Mean, MeanRate, OverClasses, Stability, Sum, unweighted
from robspec.ir.types import Metric
from robspec.kernels import components
from robspec.semantics.formula import Polynomial
from robspec.verify.margins import margins_by, own_margins, side_margins, two_sided

_ENOUGH = -0.02
"""How far below its threshold a goal is brought before it stops to pull, so that others can."""


class Goal(Protocol):
    """What is to be brought down on each image of a batch."""

    def margins(self, logits: Tensor) -> Tensor:
        """By how much each pixel is right, [N, M]; 0 where being wrong makes nothing worse."""
        ...

    def value(self, logits: Tensor) -> Tensor:
        """What is brought down, as it is counted, [N] in double; where it is at most 0, a goal with an end is met."""
        ...

    def soft(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """The same with every pixel right to a degree, [N] in double.

        Args:
            logits: differentiable.
            scale: of the sigmoid of each image's margins, [N] in double.
            chosen: bool [N, M], the pixels that pull; the others count and have no gradient.
        """
        ...

    def rows(self, places: Tensor) -> Goal:
        """The same of some of the images, in this order, an image as often as it is named."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MetricGoal:
    """One metric, turned so that less is worse.

    Args:
        metric: the metric, one that has a value for each image.
        labels: int64 [N, H, W] as the metric sees them, negative where it does not look.
        weights: float64 [N, H, W] of a weighted metric, or None.
        threshold: subtracted, [N] in double: the goal is met where the value is at most this.
    """

    metric: Metric
    labels: Tensor
    weights: Tensor | None
    threshold: Tensor

    def margins(self, logits: Tensor) -> Tensor:
        """See `Goal`."""
        return margins_by(logits, self.labels, self.metric).flatten(1)

    def value(self, logits: Tensor) -> Tensor:
        """See `Goal`."""
        with torch.no_grad():
            return self._turned(two_sided(logits), None)

    def soft(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """See `Goal`."""
        pulling = chosen.view_as(self.labels)
        logits = two_sided(logits)
        kept = torch.where(pulling[:, None], logits, logits.detach())
        return self._turned(kept, scale[:, None, None])

    def rows(self, places: Tensor) -> MetricGoal:
        """See `Goal`."""
        weights = None if self.weights is None else self.weights[places]
        return replace(self, labels=self.labels[places], weights=weights, threshold=self.threshold[places])

    def _turned(self, logits: Tensor, scale: Tensor | None) -> Tensor:
        found = _value(self.metric, logits, self.labels, self.weights, scale)
        return (-found if self.metric.lower_is_better else found) - self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class _Several:
    """Several goals, whose pixels stand side by side.

    Args:
        parts: each with its threshold.
    """

    parts: tuple[Goal, ...]

    def margins(self, logits: Tensor) -> Tensor:
        """See `Goal`."""
        return torch.cat([part.margins(logits) for part in self.parts], dim=1)

    def rows(self, places: Tensor) -> Self:
        """See `Goal`."""
        return type(self)(tuple(part.rows(places) for part in self.parts))

    def _values(self, logits: Tensor) -> Tensor:
        return torch.stack([part.value(logits) for part in self.parts])

    def _softened(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """What is chosen of all pixels is cut into that of each part."""
        shares = chosen.chunk(len(self.parts), dim=1)
        return torch.stack([p.soft(logits, scale, c) for p, c in zip(self.parts, shares, strict=True)])


class EveryGoal(_Several):
    """Several goals at once: met where every one is."""

    def value(self, logits: Tensor) -> Tensor:
        """See `Goal`."""
        return self._values(logits).amax(dim=0)

    def soft(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """See `Goal`; what is met already pulls no further."""
        return self._softened(logits, scale, chosen).clamp_min(_ENOUGH).sum(dim=0)


class AnyGoal(_Several):
    """Several goals, one of which is enough."""

    def value(self, logits: Tensor) -> Tensor:
        """See `Goal`."""
        return self._values(logits).amin(dim=0)

    def soft(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """See `Goal`; the one that is nearest to be met pulls."""
        return self._softened(logits, scale, chosen).amin(dim=0)


def typical(margins: Tensor) -> Tensor:
    """The mean size of the margins that are not 0, [N] in double."""
    counted = (margins != 0).sum(dim=1).clamp_min(1)
    return (margins.double().abs().sum(dim=1) / counted).clamp_min(1e-20)


def profits(goal: Goal, logits: Tensor, margins: Tensor) -> Tensor:
    """What each pixel counts for, as the metric is at present; 1 on average.

    Args:
        goal: what is brought down.
        logits: [N, K, H, W].
        margins: of the goal, [N, M].

    Returns:
        float64 [N, M], above 0.
    """
    leaf = logits.detach().requires_grad_()
    # So wide that every pixel lies on the straight part of its sigmoid: what is left is the metric's own slope.
    soft = goal.soft(leaf, 1e3 * typical(margins), torch.ones_like(margins, dtype=torch.bool))
    (slope,) = torch.autograd.grad(soft.sum(), leaf)
    worth = slope.abs().sum(dim=1).flatten(1).double()
    worth = worth.repeat(1, margins.shape[1] // worth.shape[1]) * (margins != 0)
    mean = worth.sum(dim=1) / (worth > 0).sum(dim=1).clamp_min(1)
    found: Tensor = (worth / mean.clamp_min(1e-300)[:, None]).clamp(1e-3, 1e3)
    return found


def cheapest(margins: Tensor, count: Tensor) -> Tensor:
    """Mark the pixels of each image that are lost already or come next, as many as are aimed at.

    Args:
        margins: [N, M], 0 where nothing is to be gained.
        count: [N], at least 1 of those that count.

    Returns:
        bool [N, M].
    """
    counted = margins != 0
    ordered = torch.where(counted, margins, torch.inf).sort(dim=1).values
    most = counted.sum(dim=1).clamp_min(1)
    last = torch.minimum(count.round().long().clamp_min(1), most) - 1
    return counted & (margins <= ordered.gather(1, last[:, None]))


def _value(metric: Metric, logits: Tensor, labels: Tensor, weights: Tensor | None, scale: Tensor | None) -> Tensor:
    """The metric, its pixels right or wrong, or right to a degree where there is a scale; [N] in double."""
    plan, target = unweighted(metric.plan), labels.clamp_min(0)
    worth = (labels >= 0).double() if weights is None else weights * (labels >= 0)
    if isinstance(plan, Sum):
        parts = [float(weight) * _value(part, logits, labels, weights, scale) for weight, part in metric.parts]
        return torch.stack(parts).sum(dim=0)
    if isinstance(plan, Accuracy | Stability):
        right = _right(own_margins(logits, target, metric.rank), scale)
        return (worth * right).sum(dim=(1, 2)) / worth.sum(dim=(1, 2)).clamp_min(1e-30)
    if isinstance(plan, Components):
        return _objects(metric, logits, labels, scale)
    if not isinstance(plan, OverClasses):
        return _one_class(metric, metric.classes, logits, labels, worth, scale)
    values, shares = [], []
    for k in plan.classes or range(logits.shape[1]):
        pixels = ((labels == k).double() * worth).sum(dim=(1, 2))
        frequent = isinstance(plan, MeanRate | Mean) and plan.frequency
        shares.append(pixels if frequent else (pixels > 0).double())
        values.append(_one_class(metric, (k,), logits, labels, worth, scale))
    share = torch.stack(shares)
    return (torch.stack(values) * share).sum(dim=0) / share.sum(dim=0).clamp_min(1e-30)


def _right(margins: Tensor, scale: Tensor | None) -> Tensor:
    return (margins > 0).double() if scale is None else torch.sigmoid(margins.double() / scale)


def _one_class(
    metric: Metric, classes: tuple[int, ...], logits: Tensor, labels: Tensor, worth: Tensor, scale: Tensor | None
) -> Tensor:
    mine = torch.isin(labels, torch.tensor(classes))
    right = _right(side_margins(logits, mine, classes), scale)
    inner, outer = worth * mine, worth * ~mine
    hits, quiet = (inner * right).sum(dim=(1, 2)), (outer * right).sum(dim=(1, 2))
    counts = (hits, outer.sum(dim=(1, 2)) - quiet, inner.sum(dim=(1, 2)) - hits, quiet)
    ratio = metric.formula.ratio
    return _at(ratio.numerator, counts) / _at(ratio.denominator, counts).clamp_min(1e-9)


def _at(polynomial: Polynomial, counts: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    found = torch.zeros_like(counts[0])
    for exponents, coefficient in polynomial.terms:
        term = torch.full_like(found, float(coefficient))
        for count, power in zip(counts, exponents, strict=True):
            term = term * count**power if power else term
        found = found + term
    return found


def _objects(metric: Metric, logits: Tensor, labels: Tensor, scale: Tensor | None) -> Tensor:
    mine = torch.isin(labels, torch.tensor(metric.classes))
    right = _right(side_margins(logits, mine, metric.classes), scale)
    return torch.stack([_found(metric, *each, soft=scale is not None) for each in zip(mine, right, strict=True)])


def _found(metric: Metric, mine: Tensor, right: Tensor, *, soft: bool) -> Tensor:
    """The share of the connected parts of one mask that keep as many right pixels as they need."""
    number = torch.from_numpy(components.labelled(np.asarray(mine.numpy())).reshape(-1))
    count = int(number.max())
    if not count:
        return right.new_zeros(())
    kept = right.new_zeros(count + 1).index_add(0, number, right.reshape(-1))[1:]
    need = kept.new_tensor(list(_needs(metric, number, count)))
    found = torch.sigmoid(4 * (kept / need - 1)) if soft else (kept >= need).to(kept.dtype)
    return found.mean()


def _needs(metric: Metric, number: Tensor, count: int) -> Iterator[int]:
    (share,) = metric.arguments
    for pixels in torch.bincount(number, minlength=count + 1)[1:].tolist():
        yield components.needed(share, pixels)
