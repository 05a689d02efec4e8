"""What every attack is given, and how it keeps the best of what it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robspec.semantics.norm import Norm
from robspec.verify.balls import inside, sizes, spread
from robspec.verify.descent import INSIDE, Differentiable
from robspec.verify.goals import Goal


@dataclass(frozen=True, slots=True, eq=False)
class Hunt:
    """Images to be changed as little as possible until a goal is met, or within a ball until it is as low as can be.

    Args:
        model: gives logits with gradients.
        clean: float32 [N, C, H, W].
        start: what is added to them at first, [N, C, H, W].
        goal: what is brought down.
        aim: how many pixels of each image an attack may hope to be wrong, [N] in double, at least 1.
        norm: l1, l2 or linf.
        eps: radius of each ball, [N] in double; infinite where the smallest change is looked for.
        steps: gradients to be taken of each image.
        ends: of the input range, as float32 numbers inside it.
        late: whether the time is up; asked before each gradient.
    """

    model: Differentiable
    clean: Tensor
    start: Tensor
    goal: Goal
    aim: Tensor
    norm: Norm
    eps: Tensor
    steps: int
    ends: tuple[float, float]
    late: Callable[[], bool]

    @property
    def smallest(self) -> bool:
        """Whether the smallest change is looked for."""
        return bool(torch.isinf(self.eps).all())

    @property
    def diameter(self) -> float:
        """Of the input range, in the norm."""
        whole = torch.full_like(self.clean[:1], self.ends[1] - self.ends[0])
        return float(sizes(whole, self.norm))

    def within(self, eps: Tensor, steps: int, start: Tensor | None = None) -> Hunt:
        """The same within balls of other radii, perhaps from elsewhere."""
        return replace(self, eps=eps, steps=steps, start=self.start if start is None else start)

    def at(self, change: Tensor) -> Tensor:
        """Put changed images into the range, and into their balls: float32 [N, C, H, W]."""
        return (self.clean + inside(change, self.eps * INSIDE, self.norm)).clamp(*self.ends)


class Best:
    """The best image seen of each: the lowest value within the ball, or the smallest change that meets the goal.

    Args:
        hunt: what is looked for.
    """

    def __init__(self, hunt: Hunt) -> None:
        self._hunt = hunt
        self.images = hunt.clean.clone()
        self.values = torch.full((len(hunt.clean),), torch.inf, dtype=torch.float64)
        """Of the best images: what is attained, or how far they are; infinite where there is none."""

    def see(self, images: Tensor, logits: Tensor) -> Tensor:
        """Take a batch over where it is better.

        Args:
            images: in the range, and in their balls where there are any.
            logits: of them.

        Returns:
            The value of the goal of each, [N].
        """
        value = self._hunt.goal.value(logits.detach())
        if self._hunt.smallest:
            far = sizes(images - self._hunt.clean, self._hunt.norm)
            rank = torch.where(value <= 0, far, torch.inf)
        else:
            rank = value
        better = rank < self.values
        self.values = torch.where(better, rank, self.values)
        self.images = torch.where(better[:, None, None, None], images.detach(), self.images)
        return value

    def last(self, change: Tensor) -> Tensor:
        """See the images that a search ends at, and give the best of all."""
        images = self._hunt.at(change)
        self.see(images, self._hunt.model.logits(images))
        return self.images


def shortened(hunt: Hunt, images: Tensor, rounds: int = 8) -> Tensor:
    """Bisect, on the straight line to the clean image, for the smallest change that still meets the goal.

    Args:
        hunt: for the smallest change.
        images: what was found, the clean image where nothing was.
        rounds: forward passes.

    Returns:
        Images no farther from the clean ones, float32 [N, C, H, W].
    """
    best = Best(hunt)
    best.see(images, hunt.model.logits(images))
    low, high = torch.zeros(len(images)), torch.ones(len(images))
    for _ in range(rounds):
        if hunt.late():
            break
        part = (low + high) / 2
        tried = (hunt.clean + spread(part) * (images - hunt.clean)).clamp(*hunt.ends)
        met = best.see(tried, hunt.model.logits(tried)) <= 0
        low, high = torch.where(met, low, part), torch.where(met, part, high)
    return best.images


@dataclass(frozen=True, slots=True)
class Method:
    """One attack.

    Args:
        search: gives an image for each, float32 [N, C, H, W]: the best it saw, the clean one where there is none.
        smallest: whether it looks for the smallest change by itself; else `bisection` calls it at one radius after
            the other where that is asked.
    """

    search: Callable[[Hunt], Tensor]
    smallest: bool = True
