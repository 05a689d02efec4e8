"""Integers of samples: never beyond their limit, whatever gradient there is, and sums of them without an order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robspec.privacy.grid import Grid
from robspec.privacy.normal import UNIT

SIZES, NOISE, LIMITS = (3, 1, 4), (10.0, 0.7, 3e-3), (2.0, 0.1, 1e-3)
GRID = Grid.of(SIZES, NOISE, LIMITS)
PARTS = (slice(0, 3), slice(3, 4), slice(4, 8))


def integers(gradient: np.ndarray, unit: float = 1.0) -> np.ndarray:  # type: ignore[type-arg]
    """What one sample adds."""
    totals = [np.zeros(size, dtype=np.int64) for size in SIZES]
    for k, part in enumerate(PARTS):
        GRID.add(k, np.ascontiguousarray(gradient[None, part]), unit, totals[k])
    return np.concatenate(totals)


def squares(whole: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    """Exact, in integers of any size."""
    return [sum(int(v) ** 2 for v in whole[part]) for part in PARTS]


def test_the_multiplier_is_that_of_noise_and_sensitivity() -> None:
    for found, noise, sensitivity in zip(GRID.multipliers, NOISE, LIMITS, strict=True):
        assert found >= Fraction(noise) / Fraction(sensitivity)
        assert float(found) == pytest.approx(noise / sensitivity, rel=1e-6)
    assert Grid.of((2,), (0.0,), (0.0,)).multipliers == ()


ENTRIES = st.one_of(
    st.floats(-1e-2, 1e-2, allow_subnormal=False),
    st.floats(allow_subnormal=False),
    st.sampled_from([2.0, -2.0, 1e-3, 0.1, 1.0000001]),
)


@given(arrays(np.float64, 8, elements=ENTRIES))
def test_no_gradient_goes_beyond_the_limit(gradient: np.ndarray) -> None:  # type: ignore[type-arg]
    whole = integers(gradient)
    for size, limit in zip(squares(whole), GRID.limits, strict=True):
        assert size <= limit**2
    # Signs stay, and nothing grows.
    kept = np.isfinite(gradient)
    assert np.all(whole[~kept] == 0)
    with np.errstate(over="ignore"):
        quotients = np.abs(gradient) / np.repeat(GRID.steps, SIZES)
    assert np.all(np.abs(whole[kept]) <= quotients[kept])
    assert np.all(whole[kept] * np.sign(gradient[kept]) >= 0)


def test_what_keeps_its_bound_is_cut_off_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        gradient = rng.standard_normal(8)
        for part, limit in zip(PARTS, LIMITS, strict=True):
            gradient[part] *= 0.9999 * limit / np.linalg.norm(gradient[part])
        exact = [
            int(Fraction(float(v)) / Fraction(float(s)))
            for v, s in zip(gradient, np.repeat(GRID.steps, SIZES), strict=True)
        ]
        assert np.abs(integers(gradient) - exact).max() <= 1


def test_what_does_not_is_brought_back_to_just_below_it() -> None:
    gradient = np.array([30.0, 40.0, 0.0, -0.2, 1e-3, 0, 0, 0])
    whole = integers(gradient)
    first, second, third = (s**0.5 / limit for s, limit in zip(squares(whole), GRID.limits, strict=True))
    assert 0.99999 < first <= 1
    assert 0.99999 < second <= 1
    assert 0.99999 < third <= 1
    assert whole[0] / whole[1] == pytest.approx(0.75, rel=1e-5)
    assert whole[3] < 0
    broken = np.array([np.nan, np.inf, 1.0, np.inf, 1e300, 1e300, 0, 0])
    sizes = squares(integers(broken))
    assert sizes[1] == 0
    assert all(size <= limit**2 for size, limit in zip(sizes, GRID.limits, strict=True))


@given(arrays(np.float64, (5, 8), elements=ENTRIES))
def test_several_add_what_each_adds(gradients: np.ndarray) -> None:  # type: ignore[type-arg]
    totals = [np.full(size, 3, dtype=np.int64) for size in SIZES]
    for k, part in enumerate(PARTS):
        GRID.add(k, np.ascontiguousarray(gradients[:, part]), 0.25, totals[k])
    alone = [integers(each, 0.25) for each in gradients]
    assert np.array_equal(np.concatenate(totals), 3 + sum(alone))


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    grid = Grid.of((20_000, 20_000), (10.0, 0.5), (1.0, 1.0))
    found = grid.noisy(np.zeros(40_000, dtype=np.int64), rng.bytes)
    for part, noise in ((found[:20_000], 10.0), (found[20_000:], 0.5)):
        assert part.std() == pytest.approx(noise, rel=0.03)
    shifted = grid.noisy(np.full(40_000, 7 * UNIT), np.random.default_rng(0).bytes)
    assert np.array_equal(
        grid.noisy(np.zeros(40_000, dtype=np.int64), np.random.default_rng(0).bytes) / grid._each + 7 * UNIT,
        shifted / grid._each,
    )
