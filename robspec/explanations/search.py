"""The search for a near counterfactual: along the gradient of the distance to the decision, then back.

The distance of the logits from meeting the objective is L-Lipschitz in the image, and of networks trained to be
1-Lipschitz it is nearly affine along the way there; a Newton step of distance / ||gradient|| then ends close to the
boundary. What is found is evidence by itself: the image is stored in float32 and evaluated as stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.errors import SoundnessAlarm
from robspec.explanations.aims import Aim, aims, distance
from robspec.explanations.question import Question, as_maps
from robspec.semantics.constant import ConstantStatus
from robspec.semantics.norm import LINF, Norm
from robspec.verify.descent import distance_up

_ROUNDING = Fraction(1, 2**36)
"""What float64 logits may be off by, relative to the largest of them; the same that `check` allows their company."""
_SHORTENED = (1.0, 0.95, 0.9, 0.9, 0.8, 0.5)
"""Where the search starts from in turn: the image (whatever is known then), or so far along the way to the best."""
ROUNDS = len(_SHORTENED)
"""What the progress of one image adds up to."""

_COARSE, _FINE = 12, 26
"""How often the way to a find is halved: while it is compared with others, and of the best."""


class Model(Protocol):
    """What the search needs of a model."""

    def logits(self, images: Tensor) -> Tensor:
        """Run it, [B, C, H, W] to [B, K, H, W] or [B, K]."""
        ...

    def differentiable(self, images: Tensor) -> Tensor:
        """The same, so that gradients reach the images."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A counterfactual.

    Args:
        pixels: float32 [C, H, W], within the range.
        distance: from the image, rounded up.
        ratio: q in [0, 1], rounded down: the nearest counterfactual is at least q times as far.
    """

    pixels: npt.NDArray[np.float32]
    distance: Fraction
    ratio: Fraction


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to search.

    Args:
        steps: gradients of one descent at most.
        seed: of the starts beside the image.
    """

    steps: int = 60
    seed: int = 0


def search(
    models: Sequence[Model],
    question: Question,
    image: Tensor,
    ends: tuple[float, float],
    effort: Effort,
    progress: Callable[[float], None] = lambda _: None,
) -> Found | None:
    """Search for an image near by that counts.

    Args:
        models: the model, which is searched, and the same in every other arithmetic in which a find has to count.
        question: when an image counts.
        image: float32 [1, C, H, W].
        ends: the float32 numbers at the ends of the input range.
        effort: how long to search.
        progress: called with the share of the work that is finished, ROUNDS in all.

    Returns:
        The nearest found; None where none was.

    Raises:
        SoundnessAlarm: E0901, it is nearer than the certified lower bound by more than rounding.
    """
    if question.lower == math.inf:
        return None
    seeker = _Seeker(models, question, image, ends, effort)
    for aimed in aims(question, as_maps(models[0].logits(image))):
        seeker.follow(aimed, lambda: progress(1 / len(question.ways)))
    return seeker.result()


class _Seeker:
    def __init__(
        self,
        models: Sequence[Model],
        question: Question,
        image: Tensor,
        ends: tuple[float, float],
        effort: Effort,
    ) -> None:
        self._models, self._question, self._image, self._ends, self._effort = models, question, image, ends, effort
        self._random = torch.Generator().manual_seed(effort.seed)
        self._best: Tensor | None = None
        self._distance: Fraction | float = math.inf

    def follow(self, aimed: Sequence[Aim], progress: Callable[[], None]) -> None:
        """Descend from the image, and from places on the way to what was found so long as that helps."""
        idle = 0
        for share in _SHORTENED:
            before = self._distance
            if share == 1.0 or self._best is None:
                start = self._image if share == 1.0 else self._beside()
            else:
                start = self._image + share * (self._best - self._image)
            self._keep(self._descend(aimed, start), _COARSE)
            progress()
            idle = 0 if float(self._distance) < 0.999 * float(before) else idle + 1
            if self._best is not None and idle == 2:
                break
        self._keep(self._best, _FINE)

    def _descend(self, aimed: Sequence[Aim], start: Tensor) -> Tensor | None:
        """Half Newton steps, and whole ones near the end; None where no counterfactual is met on the way."""
        x, first, slack = start, 0.0, 0.0
        steps = self._effort.steps
        for k in range(steps):
            x = x.detach().requires_grad_()
            logits = self._models[0].differentiable(x)
            if self._question.met(logits.detach())[0]:
                return self._beyond(x.detach())
            away = distance(aimed, self._question, logits, slack)
            if not away > 0:
                # On a tie, or beyond it in some pixels: aim a little further, and further still.
                slack = max(10 * slack, 1e-7 * float(logits.detach().abs().max()), 1e-12)
                away = distance(aimed, self._question, logits, slack)
            (slope,) = torch.autograd.grad(away, x)
            first = first or float(away.detach())
            length = float(away.detach())
            # A little beyond the boundary, as rounding decides on it.
            half = length > 0.02 * first and 2 * k < steps
            length = 0.5 * length if half else 1.01 * length + 1e-6 * first + 1e-12
            moved = self._step(x.detach(), slope, length)
            if moved is None or torch.equal(moved, x.detach()):
                return self._beyond(x.detach())
            x = moved
        return None

    def _beyond(self, x: Tensor) -> Tensor | None:
        """Go on a little, past ties and to where the image counts in every arithmetic; None where it does not."""
        for more in (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            further = (self._image + (1 + more) * (x - self._image)).clamp(*self._ends)
            if self._counts(further):
                return further
        return None

    def _step(self, x: Tensor, slope: Tensor, length: float) -> Tensor | None:
        """Move so that the linear part falls by `length`, as little as the norm allows; None where it is flat."""
        low, high = self._ends
        # What the range stops cannot help.
        slope = torch.where(((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0)), 0.0, slope).double()
        linf = self._question.norm == LINF
        size = float(slope.abs().sum() if linf else (slope * slope).sum())
        if not 0 < size < math.inf:
            return None
        return (x - (length / size) * (slope.sign() if linf else slope)).clamp(low, high).float()

    def _beside(self) -> Tensor:
        """A start near the image, for where its own gradient leads nowhere."""
        noise = torch.randn(self._image.shape, generator=self._random)
        scale = float(self._question.lower) / max(_size(noise, self._question.norm), 1e-30)
        return (self._image + 0.1 * scale * noise).clamp(*self._ends)

    def _keep(self, found: Tensor | None, halvings: int) -> None:
        """Go back towards the image as far as it still counts, and keep the nearest."""
        if found is None:
            return
        near, far = 0.0, 1.0
        for _ in range(halvings):
            middle = (near + far) / 2
            near, far = (near, middle) if self._counts(self._between(found, middle)) else (middle, far)
        stored = self._between(found, far)
        away = distance_up(stored[0].numpy(), self._image[0].numpy(), self._question.norm)
        if away < self._distance and self._counts(stored):
            self._best, self._distance = stored, away

    def _between(self, found: Tensor, share: float) -> Tensor:
        """A place on the segment from the image, in float32."""
        start = self._image.double()
        return (start + share * (found.double() - start)).float().clamp(*self._ends)

    def _counts(self, image: Tensor) -> bool:
        return all(self._question.met(model.logits(image))[0] for model in self._models)

    def result(self) -> Found | None:
        """The best, held against the lower bound."""
        if self._best is None or not isinstance(self._distance, Fraction):
            return None
        lower = Fraction(self._question.lower)
        if lower > self._distance:
            self._refuse_contradiction(lower - self._distance)
        ratio = min(lower / self._distance, Fraction(1)) if self._distance else Fraction(0)
        pixels: npt.NDArray[np.float32] = self._best[0].numpy().copy()
        return Found(pixels, self._distance, ratio)

    def _refuse_contradiction(self, gap: Fraction) -> None:
        logits = self._models[-1].logits(self._image)
        largest = Fraction(float(logits.abs().max())) * math.isqrt(2 * logits.numel() + 4)
        if logits.dtype != torch.float64:
            largest *= 2**24
        if gap * self._question.constant.value <= largest * _ROUNDING:
            return
        assumed = self._question.constant.status is ConstantStatus.ASSUMED
        raise SoundnessAlarm(
            "counterfactual",
            f"an image at distance {float(self._distance):.9g} has {self._question.text}, and none nearer than "
            f"{float(self._question.lower):.9g} should",
            "the constant assumed with --assume-lipschitz is too small for this model: assume a larger one"
            if assumed
            else "keep the model and the image, and report it",
        )


def _size(change: Tensor, norm: Norm) -> float:
    return float(change.abs().max() if norm == LINF else torch.linalg.vector_norm(change))
