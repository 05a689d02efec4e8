"""A search for images that do worse than the clean ones: projected gradient inside the budget, every find re-checked.

What is found is evidence of one kind only: a concrete image. It is stored, read back, measured and evaluated like any
other image, so a refutation never rests on the search. A find that does worse than the certified bound is an alarm.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.errors import SoundnessAlarm
from robspec.ir.types import Metric, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, LINF, Norm
from robspec.verify.result import Attack, ImageResult
from robspec.verify.run import ImageBatch, LogitsModel

_INSIDE = 1 - 1e-6
"""The search stays this far inside the ball, so that rounding to float32 does not leave it."""
_SHARES = (math.inf, 1.0, 0.5, 0.1)
"""What is aimed at in turn: all pixels; as many as the bound allows to flip; half, a tenth of them."""
_UPWARD = 1 + Fraction(1, 2**40)


class DifferentiableModel(LogitsModel, Protocol):
    """What the search needs of a model."""

    def differentiable(self, images: Tensor) -> Tensor:
        """Run the model so that gradients reach the images."""
        ...


class Attacker:
    """The search, for every property it can help.

    Args:
        program: the compiled specification.
        model: the loaded model.
        backend: computes the metrics of what is found.
        steps: gradients per image and budget, for each of four aims.
        folder: where finds are stored; exists.
        alarms: where a find that contradicts a bound is kept; created when needed.
    """

    def __init__(
        self,
        program: Program,
        model: DifferentiableModel,
        backend: Backend,
        steps: int,
        folder: Path,
        alarms: Path,
    ) -> None:
        self.steps = steps
        self._program = program
        self._model = model
        self._backend = backend
        self._folder = folder
        self._alarms = alarms
        self._finds = 0
        self._range = float_range(program.model.low, program.model.high)

    def improve(
        self, prop: Property, constant: Constant, batch: ImageBatch, results: Sequence[ImageResult]
    ) -> list[ImageResult]:
        """Attack every image of a batch at every budget of a property.

        Args:
            prop: the property.
            constant: Lipschitz constant for its norm, as for the bound.
            batch: the images.
            results: what the bound and the clean images gave.

        Returns:
            The same, with what is attained by a concrete image wherever that is worse than the clean one.

        Raises:
            SoundnessAlarm: a find does worse than certified (E0901).
        """
        query = prop.query
        if not isinstance(query, WorstCaseQuery) or not searchable(query):
            return list(results)
        found = list(results)
        for point, eps in enumerate(query.budgets):
            if eps == 0:
                continue
            for share in _SHARES:
                aims = [share if share == math.inf else share * _aim(result, point) for result in results]
                tried = self._search(query.metric, batch, float(eps), query.norm, aims)
                self._take_over(prop, constant, batch, point, tried, found)
        return found

    def _take_over(
        self,
        prop: Property,
        constant: Constant,
        batch: ImageBatch,
        point: int,
        tried: npt.NDArray[np.float32],
        found: list[ImageResult],
    ) -> None:
        """Store images, read them back, measure and evaluate them, and keep what is worse than what is known."""
        query = prop.query
        if not isinstance(query, WorstCaseQuery):
            raise ValueError("only worst cases are attacked")
        paths = [self._stored(prop, name, image) for name, image in zip(batch.names, tried, strict=True)]
        again = torch.from_numpy(np.stack([np.load(path, allow_pickle=False) for path in paths]))
        logits = self._model.logits(again)
        usable = [
            finite and self._in_range(image)
            for image, finite in zip(again, self._context(batch, logits).finite(), strict=True)
        ]
        # What is no image, or has no finite logits, is left out before anything counts on it.
        logits = torch.where(torch.tensor(usable)[:, None, None, None], logits, 0.0)
        values = open_bound(query.metric, self._context(batch, logits), constant).clean()
        for i, value in enumerate(values):
            before = found[i]
            distance = distance_up(again[i].numpy(), batch.images[i].numpy(), query.norm) if usable[i] else None
            if value is not None and distance is not None and distance <= query.budgets[point]:
                self._compare(before, point, value, Attack(distance, paths[i]), query.metric, constant)
                found[i] = _with(before, point, value, Attack(distance, paths[i]), query.metric)
            if found[i] is before:
                paths[i].unlink()

    def _context(self, batch: ImageBatch, logits: Tensor) -> Context:
        ignore = self._program.data.ignore
        return Context(self._backend, logits, batch.labels, ignore, batch.region, batch.weights)

    def _search(
        self, metric: Metric, batch: ImageBatch, eps: float, norm: Norm, aims: Sequence[float]
    ) -> npt.NDArray[np.float32]:
        """Descend on the margins of the cheapest pixels, as many of each image as is aimed at (a share of all)."""
        clean = batch.images
        labels = self._context(batch, self._model.logits(clean)).seen(metric)
        if labels is None:
            raise ValueError("a metric that can be attacked has labels")
        scale = aimed = None
        change = torch.zeros_like(clean)
        low, high = self._range
        for k in range(self.steps):
            tried = (clean + change).clamp(low, high).requires_grad_()
            margins = margins_by(self._model.differentiable(tried), labels, metric)
            if scale is None or aimed is None:
                aimed = _cheapest(margins.detach(), aims)
                scale = _typical(margins.detach())
            # Each pixel counts until it is wrong by about the typical margin, so that no step is wasted on it.
            (slope,) = torch.autograd.grad((torch.tanh(margins / scale) * aimed).sum(), tried)
            step = 2.5 * eps / self.steps * (2 if 2 * k < self.steps else 0.5)
            moved = (clean + change - step * _direction(slope, norm)).clamp(low, high)
            change = _inside(moved - clean, eps * _INSIDE, norm)
        result: npt.NDArray[np.float32] = (clean + change).clamp(low, high).numpy()
        return result

    def _compare(
        self, result: ImageResult, point: int, value: Fraction, attack: Attack, metric: Metric, constant: Constant
    ) -> None:
        """Raise the alarm where a find is worse than what is certified, and keep it."""
        certified = result.certified[point]
        sign = -1 if metric.lower_is_better else 1
        if certified is None or sign * value >= sign * certified:
            return
        self._alarms.mkdir(parents=True, exist_ok=True)
        kept = self._alarms / f"alarm-{attack.path.name}"
        shutil.copyfile(attack.path, kept)
        assumed = constant.status is ConstantStatus.ASSUMED
        raise SoundnessAlarm(
            f"{result.image}, stored as {kept}",
            f"an image at distance <= {float(attack.distance):.9g} has {metric.name} {value}, certified {certified}",
            "the constant assumed with --assume-lipschitz is too small for this model: assume a larger one"
            if assumed
            else "keep the model, the image and this file, and report it",
        )

    def _stored(self, prop: Property, name: str, image: npt.NDArray[np.float32]) -> Path:
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
        self._finds += 1
        path = self._folder / f"{prop.name}-{self._finds:05d}-{stem}.npy"
        np.save(path, image)
        return path

    def _in_range(self, image: Tensor) -> bool:
        low, high = self._range
        return bool((image >= low).all()) and bool((image <= high).all())


def _aim(result: ImageResult, point: int) -> float:
    """The share of the pixels that the bound allows to be lost: to aim at more only scatters the budget."""
    certified, clean = result.certified[point], result.clean
    return 1.0 if certified is None or clean is None else abs(float(Fraction(certified) - clean))


def _cheapest(margins: Tensor, aims: Sequence[float]) -> Tensor:
    """Mark the pixels of least positive margin, a share of each image; [B, H, W] of 0 and 1."""
    flat = torch.where(margins > 0, margins, math.inf).flatten(1)
    ranks = flat.argsort(dim=1).argsort(dim=1)
    counted = (margins.flatten(1) != 0).sum(dim=1).tolist()
    wanted = [min(max(1.0, aim * n), n) if n else 0 for aim, n in zip(aims, counted, strict=True)]
    return (ranks < torch.tensor(wanted)[:, None]).view_as(margins).to(margins.dtype)


def _typical(margins: Tensor) -> Tensor:
    """The mean size of the margins that are not 0, [B, 1, 1]."""
    counted = (margins != 0).sum(dim=(1, 2), keepdim=True).clamp_min(1)
    return (margins.abs().sum(dim=(1, 2), keepdim=True) / counted).clamp_min(1e-20)


def searchable(query: WorstCaseQuery) -> bool:
    """Tell whether the search knows the norm and the metric: l2 and linf, all but stability and pooled ones."""
    return query.norm in (L2, LINF) and query.metric.items != "predicted" and query.metric.family != "pooled"


def distance_up(image: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], norm: Norm) -> Fraction:
    """Measure how far two images are apart, rounded up.

    Args:
        image: float32, any shape.
        clean: the same shape.
        norm: l2 or linf.

    Returns:
        A bound on the norm of the difference, not below it.
    """
    difference = np.abs(image.astype(np.float64) - clean.astype(np.float64)).reshape(-1)
    if norm == LINF:
        return Fraction(float(difference.max())) * _UPWARD
    if not difference.any():
        return Fraction(0)
    # Squares that vanish are below 2^-1074 each.
    squared = math.fsum((difference * difference).tolist()) + len(difference) * 2.0**-1000
    return Fraction(math.sqrt(squared)) * _UPWARD


def _with(result: ImageResult, point: int, value: Fraction, attack: Attack, metric: Metric) -> ImageResult:
    """Take a find over where it is worse than what was attained."""
    attained = result.attained[point]
    if attained is None:
        return result
    sign = -1 if metric.lower_is_better else 1
    if sign * value >= sign * attained:
        return result
    attacks = list(result.attacks or (None,) * len(result.attained))
    values = list(result.attained)
    attacks[point], values[point] = attack, value
    return replace(result, attained=tuple(values), attacks=tuple(attacks))


def margins_by(logits: Tensor, labels: Tensor, metric: Metric) -> Tensor:
    """Compute the margins by which pixels are right.

    Args:
        logits: [B, K, H, W].
        labels: int64 [B, H, W] as the metric sees them, negative where it does not look.
        metric: the metric.

    Returns:
        [B, H, W], differentiable; 0 where being wrong makes the metric no worse.
    """
    counted = labels >= 0
    target = labels.clamp_min(0)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    if metric.classes and not metric.average:
        inside = torch.zeros(logits.shape[1], dtype=torch.bool)
        inside[list(metric.classes)] = True
        mine = inside[target]
        across = logits[:, inside].amax(dim=1) - logits[:, ~inside].amax(dim=1)
        margins = torch.where(mine, across, -across)
        if metric.items in ("leave", "enter"):
            counted &= mine if metric.items == "leave" else ~mine
    else:
        own = logits.gather(1, target[:, None])[:, 0]
        others = logits.scatter(1, target[:, None], -math.inf)
        margins = own - others.amax(dim=1)
    return torch.where(counted, margins, 0.0)


def _direction(slope: Tensor, norm: Norm) -> Tensor:
    if norm == LINF:
        return slope.sign()
    size: Tensor = torch.linalg.vector_norm(slope, dim=(1, 2, 3), keepdim=True)
    return slope / size.clamp_min(1e-30)


def _inside(change: Tensor, eps: float, norm: Norm) -> Tensor:
    """Shrink what lies outside the ball."""
    if norm == LINF:
        return change.clamp(-eps, eps)
    size: Tensor = torch.linalg.vector_norm(change.double(), dim=(1, 2, 3), keepdim=True)
    return (change * (eps / size.clamp_min(1e-30)).clamp_max(1)).float()


def float_range(low: Fraction, high: Fraction) -> tuple[float, float]:
    """The float32 numbers nearest the ends of the input range, inside it."""
    ends = [np.float32(float(end)) for end in (low, high)]
    if Fraction(float(ends[0])) < low:
        ends[0] = np.nextafter(ends[0], np.float32(np.inf))
    if Fraction(float(ends[1])) > high:
        ends[1] = np.nextafter(ends[1], np.float32(-np.inf))
    return float(ends[0]), float(ends[1])
