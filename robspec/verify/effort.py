"""How hard an attack tries: which methods, how often, how long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from robspec.ir.types import Model
from robspec.semantics.constant import Constant
from robspec.verify.attacks import DEFAULT

_PIXELS = 1 << 18
"""Pixels whose gradients are taken at once: what they need lies within a gigabyte for the networks at hand."""
_MOST = 16
_SHARES = (1.0, 0.5, 0.1, 0.25)
"""Of the pixels that the bound concedes: what one start after the other aims at. Fewer scatter the budget less."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search may do.

    Args:
        steps: gradients of each image, for each budget, method and start.
        methods: their names, none twice.
        restarts: starts of each image: the clean image, then random ones.
        everything: whether images are attacked too whose verdict cannot change.
        seconds: after how many to stop, or None.
    """

    steps: int
    methods: tuple[str, ...] = (DEFAULT,)
    restarts: int = 1
    everything: bool = False
    seconds: float | None = None


class Clock:
    """Says when the time is up; it runs from the first question.

    Args:
        seconds: how long it runs, None for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self.rang = False
        """Whether the time was up when it was asked."""

    def late(self) -> bool:
        """Tell whether the time is up."""
        if self._seconds is None:
            return False
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._seconds
        self.rang = self.rang or now >= self._end
        return self.rang


def group_size(model: Model, restarts: int) -> int:
    """How many images are attacked at once, however many a forward pass of the check takes: answers are the same."""
    _, height, width = model.input_shape
    rows = min(max(_PIXELS // (height * width), 1), _MOST)
    return max(rows // restarts, 1)


def aims(margins: Tensor, constant: Constant, eps: Fraction, *, single: bool) -> Tensor:
    """Estimate how many pixels of each image the bound concedes: the cheapest, as many as the budget pays for.

    Args:
        margins: [N, M], positive where a pixel is right and counts.
        constant: L, and the norm of the logits.
        eps: the budget.
        single: whether the logits are one for each pixel.

    Returns:
        [N] in double, at least 1, those that are wrong already not counted. Not rounded in any direction:
        nothing is certified by it.

    Source: MATH.md sections 2 and 3.A.
    """
    q = constant.output_norm.p
    exponent = 1.0 if q is None else float(q)
    both = 1.0 if single else 2.0 if q is None else 2.0 ** (1 - 1 / exponent)
    price = torch.where(margins > 0, margins.double() / both, torch.inf).sort(dim=1).values
    # What is larger pays for every pixel there is.
    budget = float(min(eps * constant.value, Fraction(10**60)))
    paid = price <= budget if q is None else (price**exponent).cumsum(dim=1) <= budget**exponent
    return paid.sum(dim=1).double().clamp_min(1.0)


def share(start: int) -> float:
    """Which share of what the bound concedes one of the starts aims at."""
    return _SHARES[start % len(_SHARES)]


def noise(clean: Tensor, name: str, start: int) -> Tensor:
    """Draw where a start begins, by the image's name: the first at the image itself; [C, H, W] within [-1, 1]."""
    if start == 0:
        return torch.zeros_like(clean)
    seed = [start, *name.encode()]
    drawn = np.random.Generator(np.random.PCG64(seed)).uniform(-1.0, 1.0, tuple(clean.shape))
    return torch.from_numpy(drawn).to(clean.dtype)
