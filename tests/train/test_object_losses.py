"""The losses of a detector against sums written out, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from robspec.bounds.scene import centres_of
from robspec.data.objects import Objects
from robspec.train.assignment import grid_of
from robspec.train.config import Objective
from robspec.train.object_losses import generalised_iou, object_loss, score_loss

VALUES, TARGET = [0.3, -0.2, 0.5, -1.0], [1.0, 1.0, 0.0, 0.0]
KINDS = ("focal", "tau-bce", "hkr")


def loss(kind: str, **parameters: float) -> float:
    objective = Objective(kind=kind, **parameters)  # type: ignore[arg-type]
    return float(score_loss(torch.tensor(VALUES), torch.tensor(TARGET), objective))


def soft(z: float) -> float:
    return math.log1p(math.exp(z))


def test_tau_bce() -> None:
    """Two scores should be above the threshold: the sum is divided by two."""
    written = (soft(-5 * (0.3 - 0.1)) + soft(-5 * (-0.2 - 0.1)) + soft(5 * (0.5 + 0.1)) + soft(5 * (-1 + 0.1))) / 10
    assert loss("tau-bce", tau=5, margin=0.1) == pytest.approx(written, rel=1e-5)


def test_focal_with_gamma_0_is_the_cross_entropy() -> None:
    written = 0.5 * (soft(-0.3) + soft(0.2) + soft(0.5) + soft(-1.0)) / 2
    assert loss("focal", tau=1, gamma=0, alpha=0.5) == pytest.approx(written, rel=1e-5)


def test_focal_weighs_what_is_wrong() -> None:
    def wrong(z: float) -> float:
        return 1 / (1 + math.exp(z))

    parts = [
        0.7 * wrong(0.3) ** 2 * soft(-0.3),
        0.7 * wrong(-0.2) ** 2 * soft(0.2),
        0.3 * wrong(-0.5) ** 2 * soft(0.5),
        0.3 * wrong(1.0) ** 2 * soft(-1.0),
    ]
    assert loss("focal", tau=1, gamma=2, alpha=0.7) == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_hkr() -> None:
    apart = (0.5 - 1.0) / 2 - (0.3 - 0.2) / 2
    hinge = (0.2 + 0.7 + 1.0 + 0.0) / 2
    assert loss("hkr", alpha=0.8, margin=1.0) == pytest.approx(0.2 * apart + 0.8 * hinge, rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 1, 1), (2, 0, 3, 1), -1 / 3),
        ((0, 0, 1, 1), (1, 1, 2, 2), -1 / 2),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),
    ],
)
def test_generalised_overlap(first: tuple[float, ...], second: tuple[float, ...], wanted: float) -> None:
    found = generalised_iou(torch.tensor([first], dtype=torch.float32), torch.tensor([second], dtype=torch.float32))
    assert float(found) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_it_is_finite_with_a_gradient_on_images_with_and_without_objects(kind: str, size: float) -> None:
    grid = grid_of(torch.from_numpy(centres_of((4, 8), 16, 16)).float(), (4, 8), 16, 16)
    none = np.empty(0, np.int64)
    flags = np.zeros(2, np.bool_)
    annotated = [
        Objects(np.array([[1.0, 2, 9, 9], [8, 8, 15, 15]]), np.array([1, 0]), flags, flags),
        Objects(np.empty((0, 4)), none, none.astype(np.bool_), none.astype(np.bool_)),
    ]
    torch.manual_seed(0)
    scores = (size * torch.randn(2, 2, 20)).requires_grad_()
    around = torch.cat([grid.centres - 3, grid.centres + 3], dim=1).T.expand(2, 4, 20)
    boxes = around.clone().requires_grad_()
    value = object_loss(scores, boxes, annotated, grid, Objective(kind=kind))
    value.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(value))
    assert scores.grad is not None
    assert boxes.grad is not None
    assert bool(torch.isfinite(scores.grad).all() and (scores.grad != 0).any())
    assert bool((boxes.grad[0] != 0).any() and (boxes.grad[1] == 0).all())
    with torch.no_grad():
        empty = object_loss(scores, boxes, [annotated[1]] * 2, grid, Objective(kind=kind))
    assert bool(torch.isfinite(empty))


@pytest.mark.parametrize("kind", KINDS)
def test_better_scores_cost_less(kind: str) -> None:
    good, bad = torch.tensor([2.0, -2.0]), torch.tensor([-2.0, 2.0])
    target, objective = torch.tensor([1.0, 0.0]), Objective(kind=kind)
    assert score_loss(good, target, objective) < score_loss(bad, target, objective)
