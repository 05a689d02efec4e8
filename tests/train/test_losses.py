"""The losses against formulas written out in NumPy, pixel by pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from robspec.train.config import Objective
from robspec.train.losses import IGNORED, loss

Array = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 4, 3, 5))
LABELS = RNG.integers(0, 4, (2, 3, 5))
LABELS[0, 0, :2] = IGNORED


def by_hand(objective: Objective, logits: Array, labels: npt.NDArray[np.int64]) -> float:
    found = []
    for b, row, column in np.ndindex(*labels.shape):
        y = int(labels[b, row, column])
        if y != IGNORED:
            found.append(_pixel(objective, logits[b, :, row, column], y))
    return float(np.mean(found))


def _pixel(objective: Objective, z: Array, y: int) -> float:
    tau, margin, alpha = objective.tau, objective.margin, objective.alpha
    if objective.kind == "cosine":
        return float(1 - z[y] / np.sqrt(sum(v * v for v in z)))
    if objective.kind == "tau-cce":
        if len(z) == 1:
            z = np.array([0.0, z[0]])
        lowered = [v - (margin if k == y else 0.0) for k, v in enumerate(z)]
        return float((np.log(sum(np.exp(tau * v) for v in lowered)) - tau * lowered[y]) / tau)
    margin = margin or 1.0
    if len(z) == 1:
        signed = z[0] if y == 1 else -z[0]
        return float((1 - alpha) * -signed + alpha * max(0.0, margin / 2 - signed))
    wrong = [k for k in range(len(z)) if k != y]
    weights = {k: np.exp(tau * z[k]) / sum(np.exp(tau * z[j]) for j in wrong) for k in wrong}
    kr = sum(weights[k] * z[k] for k in wrong) - z[y]
    hinge = max(0.0, margin / 2 - z[y]) + sum(weights[k] * max(0.0, margin / 2 + z[k]) for k in wrong)
    return float((1 - alpha) * kr + alpha * hinge)


@pytest.mark.parametrize(
    "objective",
    [
        Objective("tau-cce", 1.0),
        Objective("tau-cce", 20.0, 0.3),
        Objective("cosine"),
        Objective("hkr", 2.0, 0.5, 0.9),
        Objective("hkr", 5.0, 0.0, 0.0),
        Objective("hkr", 5.0, 2.0, 1.0),
    ],
)
def test_agrees_with_the_formula(objective: Objective) -> None:
    found = loss(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), objective)
    assert float(found) == pytest.approx(by_hand(objective, LOGITS, LABELS), rel=1e-10)


@pytest.mark.parametrize("objective", [Objective("tau-cce", 3.0, 0.1), Objective("hkr", 2.0, 0.5, 0.7)])
def test_one_logit(objective: Objective) -> None:
    logits, labels = LOGITS[:, :1], np.where(LABELS == IGNORED, IGNORED, LABELS % 2)
    found = loss(torch.from_numpy(logits), torch.from_numpy(labels), objective)
    assert float(found) == pytest.approx(by_hand(objective, logits, labels), rel=1e-10)


def test_agrees_with_orthogonium() -> None:
    """Its temperature follows a running mean of the logits; with a margin above that mean it is constant."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orthogonium.losses import SoftHKRMulticlassLoss
    theirs = SoftHKRMulticlassLoss(alpha=0.8, min_margin=10.0, temperature=0.3)
    values, right = torch.randn(50, 4), torch.randint(0, 4, (50,))
    expected = theirs(values, right)
    ours = loss(values[:, :, None, None], right[:, None, None], Objective("hkr", 0.3, 10.0, 0.8))
    # Theirs divides its temperature, 0.3 * 10, by the mean clamped to the margin of 10.
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


def test_a_batch_without_counted_pixels_moves_nothing() -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    value = loss(logits, torch.full((1, 2, 2), IGNORED), Objective())
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0.0
    assert logits.grad is not None
    assert not bool(logits.grad.any())


def test_small_tau_goes_on_rewarding_distance() -> None:
    """What the temperature is for: the pull on a pixel that is right by 1 already."""
    pulls = []
    for tau in (0.5, 20.0):
        logits = torch.tensor([1.0, 0.0])[None, :, None, None].requires_grad_()
        loss(logits, torch.zeros((1, 1, 1), dtype=torch.int64), Objective("tau-cce", tau)).backward()
        assert logits.grad is not None
        pulls.append(float(-logits.grad[0, 0]))
    assert pulls[0] > 1e3 * pulls[1]
