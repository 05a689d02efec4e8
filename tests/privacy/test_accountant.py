"""Epsilon of a run: published figures, the factor of several layers, and what a target asks for."""

from __future__ import annotations

import math

import pytest

from robspec import extras
from robspec.privacy.accountant import calibrated, effective, epsilon
from robspec.privacy.errors import NoBudget

installed = pytest.mark.skipif(bool(extras.missing("private")), reason="dp-accounting is not installed")


@pytest.mark.parametrize(("sigmas", "exact"), [([2.0], 2.0), ([2.0] * 4, 1.0), ([3.0, 4.0], 2.4)])
def test_layers_are_one_mechanism(sigmas: list[float], exact: float) -> None:
    found = effective(sigmas)
    assert found <= exact
    assert found == pytest.approx(exact, rel=1e-12)


@installed
def test_five_layers_cost_more_than_one() -> None:
    """PRIVACY.md: 0.82 for one layer, 2.98 for five; without the factor the second would be told as the first."""
    assert epsilon(2.0, 0.0085, 2340, 1e-5) == pytest.approx(0.82, abs=0.005)
    assert epsilon(effective([2.0] * 5), 0.0085, 2340, 1e-5) == pytest.approx(2.97, abs=0.02)


@installed
def test_one_step_without_sampling_is_the_gaussian_mechanism() -> None:
    """delta(epsilon) in closed form: Balle and Wang 2018."""
    found = epsilon(1.5, 1.0, 1, 1e-5)

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    def delta(eps: float) -> float:
        a, b = 1 / (2 * 1.5), eps * 1.5
        return normal(a - b) - math.exp(eps) * normal(-a - b)

    assert delta(found) <= 1e-5
    assert delta(found - 0.01) > 1e-5


@installed
def test_a_calibrated_multiplier_keeps_its_target() -> None:
    sigma = calibrated(2.0, 1.0, 4, 1e-5)
    assert 1.9 <= epsilon(sigma, 1.0, 4, 1e-5) <= 2.0
    assert epsilon(sigma, 1.0, 0, 1e-5) == 0.0


def test_what_is_beyond_bounds_is_not_computed() -> None:
    """A table of 5e15 entries would be made of a multiplier of 1e-6."""
    assert epsilon(1e-6, 0.125, 64, 1e-5) == math.inf
    assert epsilon(1.0, 1.0, 10**6, 1e-5) == math.inf


@pytest.mark.parametrize("given", [(0.0, 0.1, 1, 1e-5), (1.0, 0.0, 1, 1e-5), (1.0, 1.5, 1, 1e-5), (1.0, 0.1, 1, 0.0)])
def test_what_is_no_run(given: tuple[float, float, int, float]) -> None:
    with pytest.raises(NoBudget):
        epsilon(*given)
