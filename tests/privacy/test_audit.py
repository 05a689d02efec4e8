"""The audit in one run: what it refutes is wrong in one of twenty at most, and it finds noise that is missing."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.private.audit import chance, gradients, refuted, run
from benchmarks.private.digits import SHAPES, Digits, classifier, configured
from robspec import extras
from robspec.privacy.accountant import epsilon
from robspec.train.private import PrivateSteps
from tests.train.autograd import sample_losses

deep = pytest.mark.skipif(os.environ.get("ROBSPEC_HYPOTHESIS") != "deep", reason="trains twice")


def exactly(guesses: int, right: int, odds: Fraction) -> Fraction:
    """How likely so many right guesses are, each right with the same chance: in rationals."""
    share = odds / (1 + odds)
    return sum(
        (math.comb(guesses, k) * share**k * (1 - share) ** (guesses - k) for k in range(right, guesses + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize(("guesses", "right"), [(1, 1), (7, 5), (40, 31), (200, 130)])
@pytest.mark.parametrize("odds", [Fraction(1), Fraction(3), Fraction(20)])
def test_the_chance_of_so_many_right_guesses(guesses: int, right: int, odds: Fraction) -> None:
    found = chance(guesses, guesses, right, math.log(odds), 0.0)
    assert found == pytest.approx(float(exactly(guesses, right, odds)), rel=1e-9, abs=1e-300)
    assert chance(guesses, guesses, right, math.log(odds), 1e-3) >= found


def test_delta_adds_what_the_theorem_says() -> None:
    """2 m delta times the largest P[right - i <= W < right] / i, by hand for three guesses of fair coins."""
    below = [Fraction(1, 8), Fraction(4, 8), Fraction(7, 8)]  # P[W <= 0], P[W <= 1], P[W <= 2]
    alpha = max(below[1] - below[0], (below[1]) / 2)
    assert chance(5, 3, 2, 0.0, 1e-3) == pytest.approx(float(1 - below[1] + 2 * 5 * Fraction(1, 1000) * alpha))


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_what_is_refuted_is_wrong_in_one_of_twenty_at_most(true: float) -> None:
    """Randomised response keeps its epsilon and no smaller one: the chance that the audit says more is exact."""
    size, share = 40, 1 / (1 + math.exp(-true))
    wrong = sum(
        math.comb(size, right) * share**right * (1 - share) ** (size - right)
        for right in range(size + 1)
        if refuted(size, size, right, 0.0) > true
    )
    assert 0 < wrong <= 0.05


def test_all_right_and_half_right() -> None:
    share = 0.05 ** (1 / 100)
    assert refuted(100, 100, 100, 0.0) == math.floor(1000 * math.log(share / (1 - share))) / 1000
    assert refuted(100, 100, 50, 0.0) == 0.0


def drawn(count: int) -> Digits:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 8, 8, generator=generator)
    return Digits(images, torch.randint(0, 10, (count, 1, 1), generator=generator))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_attacker_knows_each_gradient(shape: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, data = classifier(shape), drawn(3)
    private = PrivateSteps(configured(tmp_path, 3, "noise = 1", shape), network, 3, 2, tmp_path, 0, {})
    found = gradients(private, data.images, data.labels)
    for k in range(3):
        images, labels = data.take([k])
        exact = torch.autograd.grad(
            sample_losses(network, private._config, images, labels).sum(), network.parameters()
        )
        for part, wanted in zip(found, exact, strict=True):
            assert torch.allclose(part[k], wanted.double().flatten(), atol=1e-6)


@deep
@pytest.mark.parametrize("weaker", [1.0, 50.0])
def test_a_run_keeps_its_promise_and_one_without_noise_does_not(weaker: float, tmp_path: Path) -> None:
    """Noise of 6.3 over 10 steps of half the data is epsilon 0.81 at 1e-4; 40 guesses can refute 2.5 at most."""
    noise, steps, delta, promised = 6.3, 10, 1e-4, 1.0
    if not extras.missing("private"):
        assert epsilon(noise, 0.5, steps, delta) <= promised
    rng = np.random.default_rng(0)
    kept = {"canaries": 60, "steps": steps, "delta": delta, "rng": rng, "shape": "one layer"}
    found = run(drawn(60), tmp_path, f"noise = {noise}", weaker=weaker, **kept)
    assert found.guesses == 40
    assert (found.epsilon > promised) == (weaker > 1), found
