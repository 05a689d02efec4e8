"""Attacked images of a detector: the descent towards each aim, and images with their boxes judged anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from robspec.arrays import tensor
from robspec.bounds.context import Context
from robspec.bounds.mislabelled import counts_of
from robspec.bounds.objects import classes_of, value_at
from robspec.bounds.scene import cut_of
from robspec.ir.plans import Precisions
from robspec.ir.types import Metric, Program
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant
from robspec.semantics.norm import Norm
from robspec.verify import seen
from robspec.verify.aims_objects import SHARES, aims, kinds
from robspec.verify.descent import Differentiable, descend
from robspec.verify.run import ImageBatch


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """A batch with other images in place of the clean ones, and the same annotation.

    Args:
        clean: the batch.
        images: float32 [B, C, H, W].
    """

    clean: ImageBatch
    images: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names."""
        return self.clean.names

    @property
    def labels(self) -> Tensor | None:
        """int64 [B, H, W], or None."""
        return self.clean.labels

    @property
    def region(self) -> Tensor | None:
        """bool [B, H, W], or None."""
        return self.clean.region

    @property
    def weights(self) -> Tensor | None:
        """float64 [B, H, W], or None."""
        return self.clean.weights

    @property
    def objects(self) -> object:
        """What is annotated on each image."""
        return getattr(self.clean, "objects", None)


def context(
    program: Program, backend: Backend, model: object, logits: Tensor, batch: ImageBatch, images: Tensor
) -> Context:
    """See attacked images as the bounds see clean ones: their own scores, their own boxes."""
    return seen.context(program, backend, model, logits, Attacked(batch, images))


def finite_boxes(model: object, images: Tensor) -> list[bool]:
    """Tell of which images all boxes are finite."""
    boxes = seen.second(model)
    if boxes is None:
        return [True] * len(images)
    return [bool(torch.isfinite(b).all()) for b in boxes.logits(images)]


def candidates(
    model: Differentiable,
    batch: ImageBatch,
    context: Context,
    metrics: Sequence[Metric],
    constant: Constant,
    *,
    eps: Tensor,
    norm: Norm,
    steps: int,
    ends: tuple[float, float],
) -> Iterator[Tensor]:
    """Search from clean images, once for each kind of attack, for all together and for how much of it is aimed at.

    Args:
        model: gives scores with gradients.
        batch: the clean images.
        context: what the model makes of them.
        metrics: of objects.
        constant: says what the budget pays for.
        eps: radii of the balls, [B] in double, above 0.
        norm: l1, l2 or linf.
        steps: gradients taken.
        ends: of the input range.

    Yields:
        float32 [B, C, H, W].
    """
    detector, scenes = context.detections()
    budgets, cut = (eps * float(min(constant.value, Fraction(10**60)))).tolist(), cut_of(detector)
    single = [(metric, kind) for metric in metrics for kind in kinds(metric)]
    # Of one metric each kind makes it worse alone; several may have to be worse at once.
    for group in [[one] for one in single] + [single] * (len(metrics) > 1):
        for share in SHARES:
            pairs = list(zip(scenes, budgets, strict=True))
            chosen = np.zeros((len(scenes), *scenes[0].scores.shape), dtype=np.int64)
            for metric, kind in group:
                aimed = [aims(metric, scene, detector, kind, share, budget) for scene, budget in pairs]
                # What one pulls down and another lifts is left to the first.
                chosen = np.where(chosen == 0, np.stack(aimed), chosen)
            if not chosen.any():
                continue
            ways = torch.from_numpy(chosen)[:, :, None, :]
            # A little beyond the threshold, as far as its distances there are typical.
            gaps = (tensor(context.logits) - cut).abs()[ways != 0]
            beyond = 0.02 * float(gaps.double().mean()) + 1e-4

            def loss(logits: Tensor, ways: Tensor = ways, beyond: float = beyond) -> Tensor:
                # What is past the threshold already pulls no further, and what is far from it pulls more: of a linear
                # map this is the way to the nearest image on which all are past it.
                return torch.relu(beyond - ways * (logits - cut))[ways != 0].square().sum()

            yield descend(model, batch.images, loss, eps=eps, norm=norm, steps=steps, ends=ends)


def harm(metric: Metric, context: Context) -> list[tuple[Fraction, ...]]:
    """Rank what was made of each image by how bad it is for a metric of the whole data set; the larger, the worse."""
    detector, scenes = context.detections()
    ranks: list[tuple[Fraction, ...]] = []
    for scene in scenes:
        tp, fp, fn = counts_of(metric, scene, detector, classes_of(metric, [scene]))
        if isinstance(metric.plan, Precisions):
            ranks.append((Fraction(-tp), Fraction(fp)))
            continue
        value = value_at(metric, tp, fp, fn)
        sign = 1 if metric.lower_is_better else -1
        ranks.append((Fraction(0) if value is None else sign * value, Fraction(fp - tp)))
    return ranks
