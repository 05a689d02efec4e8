"""Explains images one by one: question, search, and what the answer shows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from robspec.explanations.aims import Aim, aims
from robspec.explanations.decision import Decision, only_objective
from robspec.explanations.question import Annotation, Question, as_maps, ask, objective_of, predictions
from robspec.explanations.search import ROUNDS, Effort, Found, Model, search
from robspec.ir.types import Property, Requirement
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant


@dataclass(frozen=True, slots=True)
class Subject:
    """One image to be explained.

    Args:
        name: of the image.
        image: float32 [1, C, H, W] in the declared range.
        annotation: what is known of it; nothing where a decision is asked for.
    """

    name: str
    image: Tensor
    annotation: Annotation


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found of one image.

    Args:
        subject: the image.
        question: what was asked.
        found: the counterfactual, or None.
        logits: of the image, [1, K, H, W].
        reached: of the counterfactual, or None.
        aimed: the aims of the cheapest way, each with the pixels it has to flip, bool [1, H, W].
    """

    subject: Subject
    question: Question
    found: Found | None
    logits: Tensor
    reached: Tensor | None
    aimed: tuple[tuple[Aim, Tensor], ...]

    @property
    def flips(self) -> Tensor:
        """The pixels that the bound's cheapest attack flips, bool [H, W]."""
        none = torch.zeros(self.logits.shape[2:], dtype=torch.bool)
        return torch.stack([none, *(mask[0] for _, mask in self.aimed)]).any(dim=0)

    @property
    def changed(self) -> Tensor | None:
        """Where the counterfactual is decided otherwise, bool [H, W]."""
        if self.reached is None:
            return None
        return (predictions(self.logits) != predictions(self.reached))[0]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Puts the same question to any number of images.

    Args:
        models: the model, and the same in every other arithmetic a find has to hold in.
        constant: its Lipschitz constant for the norm of the question, to the logits.
        asked: a property with the requirement and the swept threshold that are meant, or a decision.
        output_shape: K, or K, H, W.
        classes: names.
        backend: computes bounds.
        ends: the float32 numbers at the ends of the input range.
        effort: how long to search.
    """

    models: Sequence[Model]
    constant: Constant
    asked: tuple[Property, Requirement | None, int] | Decision
    classes: tuple[str, ...]
    backend: Backend
    ends: tuple[float, float]
    effort: Effort

    def question(self, subject: Subject) -> Question:
        """Ask of one image.

        Raises:
            RobspecError: E0401, E0851 or E0852; see `ask`.
        """
        logits = [model.logits(subject.image) for model in self.models]
        annotation, text = subject.annotation, ""
        if isinstance(self.asked, Decision):
            program = self.asked.program(_shape(subject.image), tuple(logits[0].shape[1:]))
            annotation = self.asked.annotation(logits[0], self.classes, subject.name)
            objective, text = only_objective(program), self.asked.text(annotation, self.classes)
        else:
            prop, requirement, point = self.asked
            objective = objective_of(prop, requirement, point, f"property {prop.name}")
        norm, where = self.constant.input_norm, subject.name
        return ask(objective, norm, self.constant, logits, annotation, self.backend, self.classes, where, text)

    def explain(self, subject: Subject, progress: Callable[[float], None] = lambda _: None) -> Explained:
        """Search for a counterfactual to one image.

        Args:
            subject: the image.
            progress: told of finished work, `ROUNDS` in all.

        Returns:
            What was found.

        Raises:
            RobspecError: E0401, E0851 or E0852.
            SoundnessAlarm: E0901, a find is nearer than certified.
        """
        question = self.question(subject)
        done = 0.0

        def step(share: float) -> None:
            nonlocal done
            done += share
            progress(share)

        found = search(self.models, question, subject.image, self.ends, self.effort, step)
        progress(ROUNDS - done)
        logits = as_maps(self.models[0].logits(subject.image))
        reached = None
        if found is not None:
            reached = as_maps(self.models[0].logits(torch.from_numpy(found.pixels)[None]))
        return Explained(subject, question, found, logits, reached, _cheapest_way(question, logits))


def _cheapest_way(question: Question, logits: Tensor) -> tuple[tuple[Aim, Tensor], ...]:
    """Choose the way whose pixels, those that are not wrong already, cost least."""
    ways = [
        tuple((aim, aim.taken(question, logits) & ~aim.wrong(logits)) for aim in way)
        for way in aims(question, logits)
    ]

    def cost(way: tuple[tuple[Aim, Tensor], ...]) -> float:
        return max(float((aim.margins(logits)[mask].double() ** 2).sum()) for aim, mask in way)

    return min(ways, key=cost, default=())


def _shape(image: Tensor) -> tuple[int, int, int]:
    return int(image.shape[1]), int(image.shape[2]), int(image.shape[3])


def ratios(results: Sequence[Explained]) -> Iterator[tuple[str, Fraction]]:
    """Sum the ratios q of several images up: their median, rounded down, and the worst.

    Args:
        results: any; those without a find do not count.

    Returns:
        Names and values; nothing for fewer than two finds.
    """
    found = [r.found.ratio for r in results if r.found is not None]
    if len(found) > 1:
        yield "median", statistics.median(found)
        yield "worst", min(found)
