"""The learning rate as a function of the step alone, so that a resumed run needs no state of it."""

from __future__ import annotations

import math

from robspec.train.config import Optimizer


def rate(step: int, steps: int, how: Optimizer) -> float:
    """Compute the learning rate of a step.

    Args:
        step: from 0.
        steps: how many there will be.
        how: peak rate, schedule, and the share of the steps spent warming up.

    Returns:
        "one-cycle": rises as a cosine from 1/25 of the peak, falls as a cosine to 1/10000 of that; "cosine": rises
        linearly, falls as a cosine to 0; "constant": rises linearly, stays.
    """
    warm = how.warmup * steps
    if how.schedule == "one-cycle":
        if step < warm:
            return how.rate * (0.04 + 0.96 * _half_cosine(1 - step / warm))
        return how.rate * (4e-6 + (1 - 4e-6) * _half_cosine(_part(step, warm, steps)))
    rising = min(1.0, (step + 1) / warm) if warm >= 1 else 1.0
    if how.schedule == "cosine" and step >= warm:
        return how.rate * _half_cosine(_part(step, warm, steps))
    return how.rate * rising


def _part(step: int, warm: float, steps: int) -> float:
    return (step - warm) / max(1.0, steps - 1 - warm) if step < steps - 1 else 1.0


def _half_cosine(part: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, part))))
