"""Images attacked for a metric of the data set as one whole, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from robspec.arrays import tensor
from robspec.bounds.context import Context
from robspec.ir.plans import Mean, Pooled, PooledMean, Quotient, Ranked
from robspec.verify.attack_dataset import DatasetAttack
from robspec.verify.attacks import pgd
from robspec.verify.attacks._hunt import Hunt
from robspec.verify.descent import Differentiable, descend
from robspec.verify.effort import Effort
from robspec.verify.goals import MetricGoal, typical
from robspec.verify.margins import margins_by, score_margins


class PooledSearch:
    """The images of a batch: where each is one item its margin or score is brought down, else its own ratio.

    Args:
        model: gives logits with gradients.
        images: the clean ones, float32 [B, C, H, W].
        clean: what the model makes of them.
        attack: the metric and the norm.
        effort: how hard to try.
        ends: of the input range.
        late: whether the time is up.
    """

    def __init__(
        self,
        model: Differentiable,
        images: Tensor,
        clean: Context,
        attack: DatasetAttack,
        effort: Effort,
        ends: tuple[float, float],
        late: Callable[[], bool],
    ) -> None:
        labels = tensor(clean.seen(attack.metric))
        if labels is None:
            raise ValueError("a metric that can be attacked has labels")
        self._model, self._images, self._labels, self._attack = model, images, labels, attack
        self._effort, self._ends, self._late = effort, ends, late
        self._goal = self._ratio(labels)
        self._before = self._harmed(tensor(clean.logits))

    def _ratio(self, labels: Tensor) -> MetricGoal | None:
        metric, plan = self._attack.metric, self._attack.metric.plan
        if not isinstance(plan, Pooled | PooledMean) or labels[0].numel() == 1:
            return None
        alone = Quotient(plan.formula, plan.classes) if isinstance(plan, Pooled) else Mean(plan.formula, plan.classes)
        return MetricGoal(replace(metric, plan=alone), labels, None, torch.zeros(len(labels), dtype=torch.float64))

    def _margins(self, logits: Tensor) -> Tensor:
        plan = self._attack.metric.plan
        if isinstance(plan, Ranked):
            return score_margins(logits, self._labels, plan).flatten(1)
        return margins_by(logits, self._labels, self._attack.metric).flatten(1)

    def tried(self, eps: Fraction) -> Tensor:
        """Search within balls of one radius; float32 [B, C, H, W]."""
        images, norm, steps = self._images, self._attack.norm, self._effort.steps
        if not eps or self._late():
            return images
        if self._goal is None:

            def loss(logits: Tensor) -> Tensor:
                margins = self._margins(logits)
                return torch.tanh(margins / typical(margins.detach())[:, None]).sum()

            given = (self._model, images, loss)
            return descend(*given, eps=float(eps), norm=norm, steps=steps, ends=self._ends)
        radii = torch.full((len(images),), float(eps), dtype=torch.float64)
        whole = torch.full_like(radii, float(self._labels[0].numel()))
        hunt = Hunt(
            self._model,
            images,
            torch.zeros_like(images),
            self._goal,
            whole,
            norm,
            radii,
            steps,
            self._ends,
            self._late,
        )
        return pgd.search(hunt)

    def worse(self, images: Tensor) -> list[bool]:
        """Tell which images do worse than the clean ones."""
        found: list[bool] = (self._harmed(self._model.logits(images)) < self._before).tolist()
        return found

    def _harmed(self, logits: Tensor) -> Tensor:
        if self._goal is None:
            return self._margins(logits).double().sum(dim=1)
        # Where the counts are the same, as of an image without the class, margins decide.
        return self._goal.value(logits) + 1e-9 * torch.tanh(self._margins(logits).double().mean(dim=1))
