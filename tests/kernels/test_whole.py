"""Whole images on the CPU: the same integers and doubles as the reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Backend, Items, LogitsBatch, backends
from robspec.kernels.knapsack._cpu_whole import WholePrepared
from robspec.kernels.knapsack.budget import Budget
from tests.kernels.available import REFERENCE

CPU = backends()["cpu"]
"""Also where numba is told not to compile: a row is short enough for plain Python."""


def both(batch: LogitsBatch, norm: Fraction | None, constant: Fraction) -> None:
    """Ask both backends everything."""
    answers = []
    for backend in (CPU, REFERENCE):
        prepared = backend.prepare(batch)
        assert isinstance(prepared, WholePrepared) == (backend is CPU)
        budgets = [
            Budget.of(eps, constant, norm, 1, single=prepared.single)
            for eps in (Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(2), Fraction(10) ** 200)
        ]
        wanted = np.tile(np.array([[0, 1, 2]]), (len(prepared.items), 1))
        sound = np.asarray(prepared.finite)
        answers.append(
            (
                sound.tolist(),
                np.asarray(prepared.items)[sound].tolist(),
                np.asarray(prepared.valid).tolist(),
                prepared.flips(budgets)[sound].tolist(),
                prepared.radii(wanted, constant, norm)[sound].tolist(),
            )
        )
    assert answers[0] == answers[1]


@pytest.mark.parametrize("norm", [None, Fraction(1), Fraction(2)], ids=["linf", "l1", "l2"])
@pytest.mark.parametrize("classes", [1, 2, 31, 32, 33, 70, 255, 256, 257, 520])
def test_equal_to_the_reference(classes: int, norm: Fraction | None) -> None:
    """Ties, whole lanes and what is left over, labels left out, every dtype."""
    rng = np.random.default_rng(classes)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        # Few different values, so that largest logits tie, within a lane and across.
        z = torch.from_numpy(rng.integers(-3, 4, (40, classes)) / 2).to(dtype)
        z[::3] += torch.from_numpy(rng.normal(size=z[::3].shape)).to(dtype)
        labels = torch.from_numpy(rng.integers(0, max(classes, 2), (40, 1, 1)))
        said = (z[:, 0] > 0).long() if classes == 1 else torch.from_numpy(z.float().numpy().argmax(1))
        labels[::2, 0, 0] = said[::2]
        labels[5] = 255
        # No class, and not left out either: never right, whatever is predicted.
        labels[7:11, 0, 0] = torch.tensor([-2, max(classes, 2), 256, 2**32 + 1])
        for items in (Items.CORRECT, Items.PREDICTED):
            both(LogitsBatch(z[:, :, None, None], labels, items, 255), norm, Fraction(3, 2))
    both(LogitsBatch(z[:, :, None, None], None, Items.PREDICTED), norm, Fraction(0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_seen_anywhere(bad: float) -> None:
    z = torch.zeros(70, 70)
    z[torch.arange(70), torch.arange(70)] = bad
    z[3] = 3e38  # finite, though the sum is not
    prepared = CPU.prepare(LogitsBatch(z[:, :, None, None], torch.zeros(70, 1, 1, dtype=torch.int64), Items.CORRECT))
    assert np.flatnonzero(prepared.finite).tolist() == [3]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e30, 1e150])
def test_extreme_margins(scale: float) -> None:
    z = torch.tensor([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64) * scale
    labels = torch.tensor([2, 0, 0])[:, None, None]
    for norm in (None, Fraction(1), Fraction(2)):
        both(LogitsBatch(z[:, :, None, None], labels, Items.CORRECT), norm, Fraction(1, 7))


def test_a_strided_view_is_read_as_it_is() -> None:
    z = torch.arange(60, dtype=torch.float32).reshape(5, 12).T
    backend: Backend = CPU
    whole = backend.prepare(LogitsBatch(z[:, :, None, None], None, Items.PREDICTED))
    copied = backend.prepare(LogitsBatch(z.contiguous()[:, :, None, None], None, Items.PREDICTED))
    budget = [Budget.of(Fraction(5), Fraction(1), Fraction(2), 1, single=False)]
    assert whole.flips(budget).tolist() == copied.flips(budget).tolist()
