"""Which pixels a counterfactual has to flip: those that the cheapest attack of the bound takes.

Only the search aims by this, in float32. Whether an image counts is decided by the metric itself, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robspec.arrays import tensor
from robspec.bounds.confusion import value_at
from robspec.bounds.context import LEFT_OUT
from robspec.explanations.pairs import cheapest
from robspec.explanations.question import Condition, Question, as_maps, predictions
from robspec.ir.plans import Accuracy, Mean, MeanRate, Quotient, Rate, Sum, unweighted
from robspec.ir.types import Metric
from robspec.semantics.classify import Flip
from robspec.verify.margins import margins_by


@dataclass(slots=True)
class Aim:
    """The pixels one condition needs to be wrong.

    Args:
        condition: the condition.
        labels: int64 [1, H, W] as its metric sees them, LEFT_OUT where it does not look.
        worth: [1, H, W], what a flip of each pixel does to the metric, relative to each other; 0 where nothing.
        needed: how many were taken last, where the next search begins.
    """

    condition: Condition
    labels: Tensor
    worth: Tensor
    needed: int = 0

    def margins(self, logits: Tensor) -> Tensor:
        """Margins by which pixels are right, [1, H, W], of logits [1, K, H, W]."""
        return margins_by(logits, self.labels, self.condition.metric)

    def wrong(self, logits: Tensor) -> Tensor:
        """Tell which of the pixels that count are wrong already, bool [1, H, W]."""
        metric, predicted = self.condition.metric, predictions(logits)
        if _one_class(metric):
            return (_inside(self.labels, metric) != _inside(predicted, metric)) & (self.worth > 0)
        return (self.labels != predicted) & (self.worth > 0)

    def taken(self, question: Question, logits: Tensor) -> Tensor:
        """Choose the cheapest pixels that together meet the condition.

        Args:
            question: the question it is part of.
            logits: [1, K, H, W].

        Returns:
            bool [1, H, W], those that are wrong already among them; as many as there are where all do not suffice.
        """
        logits = logits.detach()
        metric = self.condition.metric
        cost = self.margins(logits).clamp_min(0).double().square()
        wrong = self.wrong(logits)
        if _one_class(metric) and not metric.weighted:
            return self._of_one_class(cost, wrong)
        return self._in_order(question, logits, cost, wrong)

    def _of_one_class(self, cost: Tensor, wrong: Tensor) -> Tensor:
        metric, counted = self.condition.metric, self.labels != LEFT_OUT
        inside = _inside(self.labels, metric)
        # The counts are of every pixel the metric sees; those to be flipped only those it depends on.
        right = counted & ~wrong & (self.worth > 0)
        leave, enter = (
            torch.where(right & side, cost, math.inf).flatten().argsort(stable=True)[: int((right & side).sum())]
            for side in (inside, ~inside)
        )
        fn, fp = int((wrong & inside).sum()), int((wrong & ~inside).sum())
        tp, tn = int((counted & inside).sum()) - fn, int((counted & ~inside).sum()) - fp

        def meets(a: int, b: int) -> bool:
            return self.condition.met(value_at(metric, tp - a, fp + b, fn + a, tn - b))

        flat = cost.flatten()
        a, b = cheapest(flat[leave].numpy(), flat[enter].numpy(), meets)
        mask = wrong.flatten().clone()
        mask[leave[:a]] = True
        mask[enter[:b]] = True
        return mask.view_as(self.labels)

    def _in_order(self, question: Question, logits: Tensor, cost: Tensor, wrong: Tensor) -> Tensor:
        """Take pixels in the order of cost / worth until the metric, with them flipped, meets the condition."""
        counts = self.worth.flatten() > 0
        price = torch.where(wrong, -1.0, cost / self.worth.double().clamp_min(1e-30)).flatten()
        order = torch.where(counts, price, math.inf).argsort(stable=True)[: int(counts.sum())]
        channels = logits.shape[1]
        flipped, standing = (_decided(c, channels) for c in (self._targets(logits), predictions(logits)))

        def meets(count: int) -> bool:
            mask = torch.zeros_like(counts)
            mask[order[:count]] = True
            shown = torch.where((mask.view_as(wrong) & ~wrong)[:, None], flipped, standing)
            (value,) = self.condition.values(question.backend, shown, question.constant)
            return self.condition.met(value)

        self.needed = count = self._fewest(meets, int(wrong.sum()), len(order))
        mask = torch.zeros_like(counts)
        mask[order[:count]] = True
        return mask.view_as(self.labels)

    def _fewest(self, meets: Callable[[int], bool], low: int, high: int) -> int:
        """The least count from low to high that meets the condition, or high; near the last one first."""
        metric, gamma = self.condition.metric, self.condition.gamma
        if isinstance(metric.plan, Accuracy):
            exact = (1 - gamma) * high
            return min(max(math.floor(exact) + 1 if self.condition.strict else math.ceil(exact), low), high)
        for reach in (1, 8, 64):
            if not low <= self.needed - reach <= self.needed + reach <= high:
                break
            if not meets(self.needed + reach):
                low = self.needed + reach + 1
                break
            high = self.needed + reach
            if not meets(self.needed - reach):
                low = self.needed - reach + 1
                break
            high = self.needed - reach
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if meets(middle) else (middle + 1, high)
        return high

    def _targets(self, logits: Tensor) -> Tensor:
        """The class each pixel would be taken for next, were it wrong."""
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        metric, labels = self.condition.metric, self.labels.clamp_min(0)
        if not _one_class(metric):
            return logits.scatter(1, labels[:, None], -math.inf).argmax(dim=1)
        inside = _inside(torch.arange(logits.shape[1]), metric)
        best_in = logits.masked_fill(~inside[:, None, None], -math.inf).argmax(dim=1)
        best_out = logits.masked_fill(inside[:, None, None], -math.inf).argmax(dim=1)
        return torch.where(_inside(labels, metric), best_out, best_in)


def aims(question: Question, logits: Tensor) -> list[list[Aim]]:
    """Prepare the aims of each way in which an image can count, from the logits [1, K, H, W] of the clean one."""
    return [[_aim(c, question, logits) for c in way] for way in question.ways]


def distance(aimed: Sequence[Aim], question: Question, logits: Tensor, slack: float = 0.0) -> Tensor:
    """Measure how far logits are from meeting every aim, were all pixels free to move.

    Args:
        aimed: the aims.
        question: what is asked.
        logits: [1, K, H, W], or [1, K].
        slack: by how much each pixel is to be wrong.

    Returns:
        A scalar in units of the l2 norm of logits, differentiable, which is L-Lipschitz in the image: 0 where every
        pixel needed is wrong.

    Source: MATH.md section 2.
    """
    maps = as_maps(logits)
    short = torch.zeros_like(maps[:, 0])
    for aim in aimed:
        margins = torch.where(aim.taken(question, maps), (aim.margins(maps) + slack).clamp_min(0), 0.0)
        short = torch.maximum(short, margins)
    size: Tensor = torch.linalg.vector_norm(short)
    return size if maps.shape[1] == 1 else size / math.sqrt(2)


def _aim(condition: Condition, question: Question, logits: Tensor) -> Aim:
    context = condition.annotation.context(question.backend, logits)
    seen = tensor(context.seen(condition.metric))
    if seen is None:
        raise ValueError("a condition compares with labels")
    metric, counted = condition.metric, seen != LEFT_OUT
    plan = unweighted(metric.plan)
    if isinstance(plan, Rate):
        counted &= _inside(seen, metric) == (plan.flips is Flip.LEAVE)
    return Aim(condition, seen, torch.where(counted, _worth(condition, seen), 0.0))


def _worth(condition: Condition, labels: Tensor) -> Tensor:
    """What one flip does to the metric, about: exact for counts and weights, of first order for averages."""
    metric, weights = condition.metric, condition.annotation.weights
    if metric.weighted and weights is not None:
        return weights.float()
    if isinstance(metric.plan, Mean | MeanRate | Sum):
        # A pixel of a small class moves that class's value, and so the average, by more.
        counts = torch.bincount(labels[labels != LEFT_OUT]).clamp_min(1)
        return 1.0 / counts[labels.clamp_min(0).clamp_max(len(counts) - 1)].float()
    return torch.ones(labels.shape)


def _one_class(metric: Metric) -> bool:
    return isinstance(unweighted(metric.plan), Rate | Quotient)


def _inside(classes: Tensor, metric: Metric) -> Tensor:
    return torch.isin(classes, torch.tensor(metric.classes, dtype=classes.dtype))


def _decided(classes: Tensor, channels: int) -> Tensor:
    """Logits that decide for given classes, [B, K, H, W]."""
    if channels == 1:
        return (2.0 * classes - 1.0)[:, None]
    return torch.nn.functional.one_hot(classes, channels).movedim(-1, 1).float()
