"""The learning rate: from where, to where, how high."""

from __future__ import annotations

import pytest

from robspec.train.config import Optimizer
from robspec.train.schedule import rate


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_stays_positive_and_below_the_peak(steps: int, schedule: str, warmup: float) -> None:
    how = Optimizer(rate=0.3, schedule=schedule, warmup=warmup)
    found = [rate(k, steps, how) for k in range(steps)]
    assert all(0 <= r <= 0.3 * (1 + 1e-12) for r in found)


def test_shapes() -> None:
    steps = 1000
    cycle = [rate(k, steps, Optimizer(rate=1.0, schedule="one-cycle", warmup=0.1)) for k in range(steps)]
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle.index(max(cycle)) == 100
    assert max(cycle) == pytest.approx(1.0)
    assert cycle[-1] == pytest.approx(4e-6)
    assert cycle[100:] == sorted(cycle[100:], reverse=True)
    falling = [rate(k, steps, Optimizer(rate=1.0, schedule="cosine", warmup=0.1)) for k in range(steps)]
    assert falling[49] == pytest.approx(0.5)
    assert falling[-1] == pytest.approx(0.0, abs=1e-12)
    assert falling[100 + 450] == pytest.approx(0.5, abs=2e-3)
    flat = [rate(k, steps, Optimizer(rate=1.0, schedule="constant", warmup=0.1)) for k in range(steps)]
    assert flat[99:] == [1.0] * 901
