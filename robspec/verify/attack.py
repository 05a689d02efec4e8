"""A search for images that do worse than the clean ones: projected gradient inside the budget, every find re-checked.

What is found is evidence of one kind only: a concrete image. It is stored, read back, measured and evaluated like any
other image, so a refutation never rests on the search. A find that does worse than the certified bound is an alarm.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.errors import SoundnessAlarm
from robspec.ir.plans import Attacked, Components, OverClasses, OverCounts, Ranked, Rate, Stability, unweighted
from robspec.ir.types import Metric, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, LINF, Norm
from robspec.tasks import Task
from robspec.verify import attack_objects
from robspec.verify.attack_dataset import DatasetAttack
from robspec.verify.descent import Differentiable, descend, distance_up, float_range
from robspec.verify.result import Attack, ImageResult
from robspec.verify.run import ImageBatch

_SHARES = (math.inf, 1.0, 0.5, 0.1)
"""What is aimed at in turn: all pixels; as many as the bound allows to flip; half, a tenth of them."""


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
        model: Differentiable,
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
        self._whole: dict[str, DatasetAttack] = {}
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
        if not isinstance(query, WorstCaseQuery) or not searchable(query, self._program.model.task):
            return list(results)
        if query.metric.of_data_set:
            (self._objects_together if query.metric.of_objects else self._together)(prop, constant, batch)
            return list(results)
        found = list(results)
        for point, eps in enumerate(query.budgets):
            if eps == 0:
                continue
            if query.metric.of_objects:
                for moved in self._of_objects(query.metric, constant, batch, eps, query.norm):
                    self._take_over(prop, constant, batch, point, moved.numpy(), found)
                continue
            for share in _SHARES:
                aims = [share if share == math.inf else share * _aim(result, point) for result in results]
                tried = self._search(query.metric, batch, float(eps), query.norm, aims)
                self._take_over(prop, constant, batch, point, tried, found)
        return found

    def conclude(self, prop: Property, results: Sequence[ImageResult]) -> list[ImageResult]:
        """Say what the attacked images attain together, once all have been seen.

        Args:
            prop: a property of the data set as one whole.
            results: its one result.

        Returns:
            The same, with what is attained by attacked images wherever that is worse than the clean ones.

        Raises:
            SoundnessAlarm: they do worse than certified (E0901).
        """
        attack = self._whole.get(prop.name)
        query = prop.query
        if attack is None or not isinstance(query, WorstCaseQuery):
            return list(results)
        found = list(results)
        for point, (value, made) in enumerate(attack.conclude()):
            for i, result in enumerate(found):
                if value is not None and made is not None:
                    self._compare(result, point, value, made, query.metric, attack.constant)
                    found[i] = taken_over(result, point, value, made, query.metric)
        return found

    def _of_objects(
        self, metric: Metric, constant: Constant, batch: ImageBatch, eps: Fraction, norm: Norm
    ) -> Iterator[Tensor]:
        """Images that a detector may find less on, or more than there is."""
        clean = self._context(batch, self._model.logits(batch.images))
        given = (self._model, batch, clean, metric, constant)
        yield from attack_objects.candidates(*given, eps=eps, norm=norm, steps=self.steps, ends=self._range)

    def _objects_together(self, prop: Property, constant: Constant, batch: ImageBatch) -> None:
        """Attack the images of a detector for a metric of all of them: of each the find that looks worst."""
        attack = self._attack_of(prop, constant)
        metric, clean = attack.metric, batch.images
        first = attack_objects.harm(metric, self._context(batch, self._model.logits(clean)))
        for point, eps in enumerate(attack.budgets):
            best, ranks = clean.clone(), list(first)
            for tried in self._of_objects(metric, constant, batch, eps, attack.norm) if eps else ():
                context, _, usable = self._judge_objects(batch, tried, norm=attack.norm, eps=eps)
                for i, rank in enumerate(attack_objects.harm(metric, context)):
                    if usable[i] and rank > ranks[i]:
                        best[i], ranks[i] = tried[i], rank
            attack.take(point, batch, best, partial(self._judge_objects, batch, norm=attack.norm, eps=eps))

    def _judge_objects(
        self, batch: ImageBatch, images: Tensor, *, norm: Norm, eps: Fraction
    ) -> tuple[Context, list[Fraction], list[bool]]:
        """See images as they are stored; those that are none, or lie too far away, stay clean."""
        distances = [distance_up(a.numpy(), b.numpy(), norm) for a, b in zip(images, batch.images, strict=True)]
        known = zip(images, distances, self._finite(images), strict=True)
        usable = [finite and 0 < far <= eps and self._in_range(image) for image, far, finite in known]
        kept = torch.where(torch.tensor(usable)[:, None, None, None], images, batch.images)
        return self._context(batch, self._model.logits(kept), kept), distances, usable

    def _finite(self, images: Tensor) -> list[bool]:
        """Of which images all that the model returns is finite, and small enough for the bounds."""
        sound = Context(self._backend, self._model.logits(images), None, None).finite()
        return [a and b for a, b in zip(sound, attack_objects.finite_boxes(self._model, images), strict=True)]

    def _attack_of(self, prop: Property, constant: Constant) -> DatasetAttack:
        if prop.name not in self._whole:
            folder = self._folder / prop.name
            self._whole[prop.name] = DatasetAttack(prop, constant, self._program.model.plane, folder)
        return self._whole[prop.name]

    def _together(self, prop: Property, constant: Constant, batch: ImageBatch) -> None:
        """Attack images that are judged as a whole, for a metric of all of them."""
        attack = self._attack_of(prop, constant)
        context = self._context(batch, self._model.logits(batch.images))
        labels = context.seen(attack.metric)
        if labels is None:
            raise ValueError("a metric that can be attacked has labels")

        def margins(logits: Tensor) -> Tensor:
            if isinstance(attack.metric.plan, Ranked):
                return _sides(logits, labels, attack.metric.plan)
            return margins_by(logits, labels, attack.metric)

        for point, eps in enumerate(attack.budgets):
            tried = batch.images
            if eps:
                tried = descend(
                    self._model,
                    batch.images,
                    lambda logits: torch.tanh(margins(logits) / _typical(margins(logits.detach()))).sum(),
                    eps=float(eps),
                    norm=attack.norm,
                    steps=self.steps,
                    ends=self._range,
                )
            attack.take(point, batch, tried, self._judged(batch, margins, attack.norm, eps))

    def _judged(
        self, batch: ImageBatch, margins: Callable[[Tensor], Tensor], norm: Norm, eps: Fraction
    ) -> Callable[[Tensor], tuple[Context, list[Fraction], list[bool]]]:
        """How stored images are judged: which of them count, at what distance, and what the model makes of them."""
        clean = margins(self._model.logits(batch.images)).flatten(1).sum(1)

        def judge(images: Tensor) -> tuple[Context, list[Fraction], list[bool]]:
            logits = self._model.logits(images)
            finite = self._context(batch, logits).finite()
            worse = (margins(logits).flatten(1).sum(1) < clean).tolist()
            distances = [distance_up(a.numpy(), b.numpy(), norm) for a, b in zip(images, batch.images, strict=True)]
            usable = [
                sound and lower and far <= eps and self._in_range(image)
                for sound, lower, far, image in zip(finite, worse, distances, images, strict=True)
            ]
            kept = torch.where(torch.tensor(usable)[:, None, None, None], images, batch.images)
            return self._context(batch, self._model.logits(kept)), distances, usable

        return judge

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
        usable = [finite and self._in_range(image) for image, finite in zip(again, self._finite(again), strict=True)]
        # What is no image, or has no finite logits, is left out before anything counts on it.
        sound = torch.tensor(usable)[:, None, None, None]
        logits = torch.where(sound, logits, 0.0)
        context = self._context(batch, logits, torch.where(sound, again, batch.images))
        values = open_bound(query.metric, context, constant).clean()
        for i, value in enumerate(values):
            before = found[i]
            distance = distance_up(again[i].numpy(), batch.images[i].numpy(), query.norm) if usable[i] else None
            if value is not None and distance is not None and distance <= query.budgets[point]:
                self._compare(before, point, value, Attack(distance, paths[i]), query.metric, constant)
                found[i] = taken_over(before, point, value, Attack(distance, paths[i]), query.metric)
            if found[i] is before:
                paths[i].unlink()

    def _context(self, batch: ImageBatch, logits: Tensor, images: Tensor | None = None) -> Context:
        """What the model makes of images, beside the annotation; of a detector their boxes too, clean for None."""
        if self._program.model.detector is not None:
            given = (self._program, self._backend, self._model, logits, batch)
            return attack_objects.context(*given, batch.images if images is None else images)
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
        aimed: list[tuple[Tensor, Tensor]] = []

        def loss(logits: Tensor) -> Tensor:
            margins = margins_by(logits, labels, metric)
            if not aimed:
                aimed.append((_cheapest(margins.detach(), aims), _typical(margins.detach())))
            ((chosen, scale),) = aimed
            # Each pixel counts until it is wrong by about the typical margin, so that no step is wasted on it.
            return (torch.tanh(margins / scale) * chosen).sum()

        moved = descend(self._model, clean, loss, eps=eps, norm=norm, steps=self.steps, ends=self._range)
        result: npt.NDArray[np.float32] = moved.numpy()
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
        mend = "keep the model, the image and this file, and report it"
        detector = self._program.model.detector
        if detector is not None and detector.assumption:
            mend = "the boxes moved, which `boxes frozen` takes for granted they do not: write `boxes proved`"
        if constant.status is ConstantStatus.ASSUMED:
            mend = "the constant assumed with --assume-lipschitz is too small for this model: assume a larger one"
        raise SoundnessAlarm(
            f"{result.image}, stored as {kept}",
            f"an image at distance <= {float(attack.distance):.9g} has {metric.name} {value}, certified {certified}",
            mend,
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


def searchable(query: WorstCaseQuery, task: Task) -> bool:
    """Tell whether the search knows the norm and the metric.

    It knows l2 and linf, all metrics but stability, and those of a whole data set where each image is one item, or of
    objects.
    """
    stability = isinstance(unweighted(query.metric.plan), Stability)
    known = not query.metric.of_data_set or task.item == "image" or task.objects
    return query.norm in (L2, LINF) and not stability and known


def taken_over(result: ImageResult, point: int, value: Fraction, attack: Attack, metric: Metric) -> ImageResult:
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


def _sides(logits: Tensor, labels: Tensor, plan: Ranked) -> Tensor:
    """What each score has to lose, [B, 1, 1]: anomalies fall, normal images rise; 0 where nothing is attacked."""
    normal = -logits[:, 0] if plan.attacked is Attacked.BOTH else torch.zeros_like(logits[:, 0])
    return torch.where(labels == 1, logits[:, 0], normal)


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
    plan = unweighted(metric.plan)
    if isinstance(plan, OverCounts | Components) and not isinstance(plan, OverClasses):
        inside = torch.zeros(logits.shape[1], dtype=torch.bool)
        inside[list(metric.classes)] = True
        mine = inside[target]
        across = logits[:, inside].amax(dim=1) - logits[:, ~inside].amax(dim=1)
        margins = torch.where(mine, across, -across)
        if isinstance(plan, Rate):
            counted &= mine if plan.flips is Flip.LEAVE else ~mine
        elif isinstance(plan, Components):
            counted &= mine
    else:
        own = logits.gather(1, target[:, None])[:, 0]
        others = logits.scatter(1, target[:, None], -math.inf)
        margins = own - others.topk(metric.rank, dim=1).values[:, -1]
    return torch.where(counted, margins, 0.0)
