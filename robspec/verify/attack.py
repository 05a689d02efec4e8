"""A search for images that do worse than the clean ones, every find re-checked.

What is found is evidence of one kind only: a concrete image. It is rounded into its ball, stored, read back, measured
and evaluated like any other image, so a refutation never rests on the search. A find that does worse than the
certified bound is an alarm. How images are proposed is the matter of `robspec.verify.attacks`.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.arrays import tensor
from robspec.bounds.context import Context
from robspec.errors import SoundnessAlarm
from robspec.ir.types import Metric, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import Norm
from robspec.verify import arithmetic, attack_objects, attacks, effort
from robspec.verify.aimed import Question, goal_of, searchable
from robspec.verify.attack_dataset import DatasetAttack
from robspec.verify.attack_nearest import Nearest
from robspec.verify.attack_pooled import PooledSearch
from robspec.verify.attacks import bisection
from robspec.verify.attacks._hunt import Hunt, shortened
from robspec.verify.balls import inside
from robspec.verify.descent import Differentiable, distance_up, fitted, float_range
from robspec.verify.effort import Clock, Effort
from robspec.verify.evaluate import metrics_of
from robspec.verify.result import Attack, ImageResult, Value
from robspec.verify.run import ImageBatch


class Kept(Protocol):
    """What searches tried before; see `robspec.store.Proposals`."""

    def tried(
        self,
        about: str,
        tensors: Iterable[Tensor | None],
        search: Callable[[], Iterable[Tensor]],
        ended: Callable[[], bool],
    ) -> Iterator[Tensor]:
        """Search, or give what the same search tried before."""
        ...


class Attacker:
    """The search, for every property it can help.

    Args:
        program: the compiled specification.
        model: the loaded model.
        backend: computes the metrics of what is found.
        given: how hard it tries.
        folder: where finds are stored; exists.
        alarms: where a find that contradicts a bound is kept; created when needed.
        kept: what the same searches tried before, or None.
        by: what is searched by, such as the same model in a type that is faster; what is found is judged by `model`.
    """

    def __init__(
        self,
        program: Program,
        model: Differentiable,
        backend: Backend,
        given: Effort,
        folder: Path,
        alarms: Path,
        kept: Kept | None = None,
        by: Differentiable | None = None,
    ) -> None:
        self.effort, self.clock = given, Clock(given.seconds)
        self._program = program
        self._model = model
        self._by = model if by is None else by
        self._backend = backend
        self._folder = folder
        self._alarms = alarms
        self._known = kept
        self._finds = 0
        self._whole: dict[str, DatasetAttack] = {}
        self._range = float_range(program.model.low, program.model.high)

    def group(self) -> int:
        """How many images are attacked at once."""
        return effort.group_size(self._program.model, self.effort.restarts)

    def one_gradient(self, images: Tensor) -> None:
        """Take a gradient for nothing, to see how long it takes."""
        tried = images.clone().requires_grad_()
        torch.autograd.grad(self._by.differentiable(tried).sum(), tried)

    def searchable(self, prop: Property) -> bool:
        """Tell whether the search knows a property's norm and metrics."""
        return prop.smoothing is None and searchable(prop.query)

    def improve(
        self, prop: Property, constant: Constant, batch: ImageBatch, results: Sequence[ImageResult], point: int
    ) -> list[ImageResult]:
        """Attack a few images at one swept point of a property.

        Args:
            prop: the property, about single images.
            constant: Lipschitz constant for its norm, as for the bound.
            batch: the images.
            results: what is known of them.
            point: index of the budget or the objective.

        Returns:
            The same, with what is attained by a concrete image wherever that is worse than what was known.

        Raises:
            SoundnessAlarm: a find does worse than certified (E0901).
        """
        found, query = list(results), prop.query
        if not isinstance(query, WorstCaseQuery) and any(m.of_objects for m in metrics_of(query)):
            known = [result.certified[point] for result in results]
            nearest = partial(self._nearest, prop, constant, batch, point)
            for tried in self._once(prop, constant, point, batch, partial(map, nearest, [known])):
                self._take_over(prop, constant, batch, point, tried, found)
            return found
        if isinstance(query, WorstCaseQuery) and query.metric.of_objects:
            objects = partial(self._of_objects, query.metric, constant, batch, query.budgets[point], query.norm)
            for moved in self._once(prop, constant, point, batch, objects):
                if self.clock.late():
                    break
                self._take_over(prop, constant, batch, point, moved, found)
            return found
        search = partial(self._search, prop, constant, batch, point)
        for tried in self._once(prop, constant, point, batch, search):
            self._take_over(prop, constant, batch, point, tried, found)
        return found

    def _once(
        self,
        prop: Property,
        constant: Constant,
        point: int,
        batch: ImageBatch,
        search: Callable[[], Iterable[Tensor]],
    ) -> Iterable[Tensor]:
        """What a search tries, from the store where it was made before."""
        if self._known is None:
            return search()
        hard = (self.effort.steps, self.effort.methods, self.effort.restarts)
        about = repr((prop, point, constant, self._program.model, self._program.data.ignore, batch.names, hard))
        about += repr(getattr(batch, "objects", None))
        tensors = (batch.images, batch.labels, batch.region, batch.weights)
        return self._known.tried(about, tensors, search, lambda: self.clock.rang)

    def _search(self, prop: Property, constant: Constant, batch: ImageBatch, point: int) -> Iterator[Tensor]:
        """Images that may do worse, from each method and each start."""
        query, images = prop.query, batch.images
        context = self._context(batch, self._model.logits(images))
        count, starts = len(images), self.effort.restarts
        goal = goal_of(query, point, context, constant)
        logits = tensor(context.logits)
        margins = goal.margins(logits)
        wrong = (margins < 0).sum(dim=1).double()
        eps = query.budgets[point] if isinstance(query, WorstCaseQuery) else None
        single = self._program.model.plane[0] == 1
        if eps is None:
            # Of an accuracy as many as it takes; of a ratio too many, of which a method leaves out those that resist.
            lost = goal.value(logits).clamp(0.0, 1.0)
            aim = ((margins != 0).sum(dim=1) * lost - 1e-6).ceil().clamp_min(1.0)
            radius = torch.full((count,), math.inf, dtype=torch.float64)
        else:
            aim = effort.aims(margins, constant, eps, single=single)
            radius = torch.full((count,), float(eps), dtype=torch.float64)
        rows = torch.arange(count).repeat(starts)
        shares = torch.tensor([effort.share(r) if eps is not None else 1.0 for r in range(starts)])
        drawn = torch.stack([effort.noise(images[0], n, r) for r in range(starts) for n in batch.names])
        width = self._range[1] - self._range[0]
        reach = torch.where(torch.isinf(radius), 0.02 * width, radius)[rows]
        norm = query.norm
        hunt = Hunt(
            self._by,
            images[rows],
            inside(drawn * width, 0.5 * reach, norm),
            goal.rows(rows),
            wrong.repeat(starts) + (aim.repeat(starts) * shares.repeat_interleave(count)).clamp_min(1.0),
            norm,
            radius[rows],
            self.effort.steps,
            self._range,
            self.clock.late,
        )
        for name in self.effort.methods:
            method = attacks.load(name)
            search = method.search if eps is not None or method.smallest else bisection.search
            found = search(hunt)
            if eps is None:
                found = shortened(hunt, found)
            yield from found.reshape(starts, count, *images.shape[1:])
            if self.clock.late():
                return

    def whole(self, prop: Property, constant: Constant, batch: ImageBatch) -> None:
        """Attack the images of a batch for a metric of the data set as one whole; see `conclude`.

        Args:
            prop: the property.
            constant: Lipschitz constant for its norm.
            batch: images; every image of the data set comes once, in order.
        """
        attack = self._attack_of(prop, constant)
        if attack.metric.of_objects:
            self._objects_together(prop, attack, constant, batch)
            return
        clean = self._context(batch, self._model.logits(batch.images))
        search = PooledSearch(self._by, batch.images, clean, attack, self.effort, self._range, self.clock.late)
        for point, eps in enumerate(attack.budgets):
            eps = max(eps - self._off(constant, attack.norm), Fraction(0))
            (tried,) = self._once(prop, constant, point, batch, partial(map, search.tried, [eps]))
            attack.take(point, batch, tried, partial(self._judged, batch, search, attack.norm, eps))

    def close(self) -> None:
        """Delete what was written down of data sets as a whole, however far the search came."""
        for attack in self._whole.values():
            attack.close()

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
        found = list(results)
        if attack is None:
            return found
        for point, (value, made) in enumerate(attack.conclude()):
            for i in range(len(found)):
                if value is not None and made is not None:
                    found[i] = self._kept(found[i], point, value, made, attack.metric, attack.constant)
        return found

    def judge(
        self,
        prop: Property,
        constant: Constant,
        batch: ImageBatch,
        images: Tensor,
        paths: Sequence[Path],
        found: list[ImageResult],
    ) -> list[tuple[Fraction | None, Fraction | None]]:
        """Evaluate stored images in place of clean ones, and take over what is worse than what is known.

        Args:
            prop: the property, about single images.
            constant: Lipschitz constant for its norm.
            batch: the clean images.
            images: float32 of the same shape, as read from `paths`.
            paths: one file each.
            found: results, changed in place.

        Returns:
            How far each is from the clean image, rounded up, None where it is no image in the range with finite
            logits; and the value of the (first) metric.

        Raises:
            SoundnessAlarm: an image does worse than certified (E0901).
        """
        off = self._off(constant, prop.query.norm)
        usable = [
            finite and self._in_range(image) for image, finite in zip(images, self._finite(images), strict=True)
        ]
        # What is no image, or has no finite logits, is left out before anything counts on it.
        kept = torch.where(torch.tensor(usable)[:, None, None, None], images, batch.images)
        clean = self._context(batch, self._model.logits(batch.images))
        question = Question(prop.query, clean, self._context(batch, self._model.logits(kept), kept), constant)
        judged: list[tuple[Fraction | None, Fraction | None]] = []
        for i, path in enumerate(paths):
            if not usable[i]:
                judged.append((None, None))
                continue
            distance = distance_up(images[i].numpy(), batch.images[i].numpy(), prop.query.norm) + off
            judged.append((distance, question.first[i]))
            for point, value in question.attained(i, distance):
                found[i] = self._kept(found[i], point, value, Attack(distance, path), question, constant)
        return judged

    def _take_over(
        self,
        prop: Property,
        constant: Constant,
        batch: ImageBatch,
        point: int,
        tried: Tensor,
        found: list[ImageResult],
    ) -> None:
        """Round images into their balls, store them, read them back and judge them."""
        query = prop.query
        eps = query.budgets[point] if isinstance(query, WorstCaseQuery) else None
        if eps is not None:
            eps = max(eps - self._off(constant, query.norm), Fraction(0))
        paths = []
        for name, image, clean in zip(batch.names, tried.numpy(), batch.images.numpy(), strict=True):
            if eps is not None and bool(np.isfinite(image).all()):
                image = fitted(image, clean, eps, query.norm)
            paths.append(self._stored(prop, name, image))
        again = torch.from_numpy(np.stack([np.load(path, allow_pickle=False) for path in paths]))
        self.judge(prop, constant, batch, again, paths, found)
        used = {a.path for result in found for a in result.attacks if a is not None}
        for path in paths:
            if path not in used:
                path.unlink()

    def _kept(
        self,
        before: ImageResult,
        point: int,
        value: Value,
        attack: Attack,
        question: Question | Metric,
        constant: Constant,
    ) -> ImageResult:
        """Take a find over where it is worse than what was attained; raise the alarm if than certified."""
        if isinstance(question, Question):
            metric, sign = question.metric, question.sign
        else:
            metric, sign = question, -1 if question.lower_is_better else 1
        attained, certified = before.attained[point], before.certified[point]
        if certified is not None and sign * value < sign * certified:
            self._alarm(before, value, attack, metric, constant, certified)
        if attained is None or sign * value >= sign * attained:
            return before
        attacks_ = list(before.attacks or (None,) * len(before.attained))
        values = list(before.attained)
        attacks_[point], values[point] = attack, value
        return replace(before, attained=tuple(values), attacks=tuple(attacks_))

    def _alarm(
        self, result: ImageResult, value: Value, attack: Attack, metric: Metric, constant: Constant, certified: Value
    ) -> None:
        """Keep a find that is worse than what is certified, and raise the alarm."""
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

    def _context(self, batch: ImageBatch, logits: Tensor, images: Tensor | None = None) -> Context:
        """What the model makes of images, beside the annotation; of a detector their boxes too, clean for None."""
        if self._program.model.detector is not None:
            given = (self._program, self._backend, self._model, logits, batch)
            return attack_objects.context(*given, batch.images if images is None else images)
        ignore = self._program.data.ignore
        return Context(self._backend, logits, batch.labels, ignore, batch.region, batch.weights)

    def _finite(self, images: Tensor) -> list[bool]:
        """Of which images all that the model returns is finite, and small enough for the bounds."""
        sound = Context(self._backend, self._model.logits(images), None, None).finite()
        return [a and b for a, b in zip(sound, attack_objects.finite_boxes(self._model, images), strict=True)]

    def _attack_of(self, prop: Property, constant: Constant) -> DatasetAttack:
        if prop.name not in self._whole:
            folder = self._folder / prop.name
            self._whole[prop.name] = DatasetAttack(prop, constant, self._program.model.plane, folder)
        return self._whole[prop.name]

    def _of_objects(
        self, metric: Metric, constant: Constant, batch: ImageBatch, eps: Fraction, norm: Norm
    ) -> Iterator[Tensor]:
        """Images that a detector may find less on, or more than there is."""
        clean = self._context(batch, self._model.logits(batch.images))
        given = (self._by, batch, clean, [metric], constant)
        radii = torch.full((len(batch.images),), float(eps), dtype=torch.float64)
        yield from attack_objects.candidates(*given, eps=radii, norm=norm, steps=self.effort.steps, ends=self._range)

    def _nearest(
        self, prop: Property, constant: Constant, batch: ImageBatch, point: int, known: Sequence[Value | None]
    ) -> Tensor:
        """The nearest images found on which a detector is degraded."""
        clean = self._context(batch, self._model.logits(batch.images))

        def met(images: Tensor) -> list[bool]:
            sound = torch.tensor(self._finite(images))[:, None, None, None]
            kept = torch.where(sound, images, batch.images)
            seen = self._context(batch, self._model.logits(kept), kept)
            question = Question(prop.query, clean, seen, constant)
            return [any(at == point for at, _ in question.attained(i, Fraction(0))) for i in range(len(images))]

        search = Nearest(self._by, batch, clean, prop.query, constant, self._range, met, self.clock.late)
        return search.found(point, known, self.effort.steps)

    def _objects_together(self, prop: Property, attack: DatasetAttack, constant: Constant, batch: ImageBatch) -> None:
        """Attack the images of a detector for a metric of all of them: of each the find that looks worst."""
        metric, clean = attack.metric, batch.images
        first = attack_objects.harm(metric, self._context(batch, self._model.logits(clean)))
        for point, eps in enumerate(attack.budgets):
            eps = max(eps - self._off(constant, attack.norm), Fraction(0))
            best, ranks = clean.clone(), list(first)
            search = partial(self._of_objects, metric, constant, batch, eps, attack.norm)
            for tried in self._once(prop, constant, point, batch, search) if eps else ():
                context, _, usable = self._judged(batch, None, attack.norm, eps, tried)
                for i, rank in enumerate(attack_objects.harm(metric, context)):
                    if usable[i] and rank > ranks[i]:
                        best[i], ranks[i] = tried[i], rank
                if self.clock.late():
                    break
            attack.take(point, batch, best, partial(self._judged, batch, None, attack.norm, eps))

    def _judged(
        self, batch: ImageBatch, search: PooledSearch | None, norm: Norm, eps: Fraction, images: Tensor
    ) -> tuple[Context, list[Fraction], list[bool]]:
        """See images as they are stored; those that are none, lie too far away or are no worse stay clean."""
        sound = self._finite(images)
        worse = [True] * len(sound) if search is None else search.worse(images)
        distances, usable = [], []
        for image, clean, finite, lower in zip(images, batch.images, sound, worse, strict=True):
            distances.append(distance_up(image.numpy(), clean.numpy(), norm) if finite else Fraction(0))
            usable.append(finite and lower and 0 < distances[-1] <= eps and self._in_range(image))
        kept = torch.where(torch.tensor(usable)[:, None, None, None], images, batch.images)
        return self._context(batch, self._model.logits(kept), kept), distances, usable

    def _stored(self, prop: Property, name: str, image: npt.NDArray[np.float32]) -> Path:
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
        self._finds += 1
        path = self._folder / f"{prop.name}-{self._finds:05d}-{stem}.npy"
        np.save(path, image)
        return path

    def _off(self, constant: Constant, norm: Norm) -> Fraction:
        """How far a clean image is from what is meant by it, where that counts."""
        return arithmetic.pixels_off(self._program, norm) if arithmetic.shift(constant) else Fraction(0)

    def _in_range(self, image: Tensor) -> bool:
        low, high = self._range
        return bool((image >= low).all()) and bool((image <= high).all())
