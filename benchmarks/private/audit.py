"""An audit in one run: canaries that are in the training data by the toss of a coin, and an attacker who guesses.

The attacker is as strong as the promise allows: it knows every image that is no canary, every canary, and sees the
noisy gradient of every step, so that it can ask by least squares which canaries best explain them. Were training
(epsilon, delta)-private, so many right guesses would be unlikely; what is refuted is every epsilon at which they are.

Source: Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchmarks.private.digits import Digits, classifier, configured
from robspec.train.private import PrivateSteps

RATE = 2.0


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit comes to.

    Args:
        canaries: m, each in the training data with probability 1/2.
        guesses: r, about those the attacker is surest of; how many is fixed before.
        right: how many of them are.
        epsilon: any smaller one is refuted with this confidence; 0 for none.
        confidence: 1 less the chance of a wrong refutation.
    """

    canaries: int
    guesses: int
    right: int
    epsilon: float
    confidence: float


def chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Bound how likely so many right guesses are where training is (epsilon, delta)-private.

    Each guess is right with probability e^epsilon / (1 + e^epsilon) at most, whatever the others are, but for delta.

    Source: Steinke et al., theorem 5.2: beta + 2 m delta max over i of P[right - i <= W < right] / i.
    """
    law = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
    beta = float(law.sf(right - 1))
    steps = np.arange(1, right + 1)
    alpha = float(np.max((law.cdf(right - 1) - law.cdf(right - 1 - steps)) / steps)) if right else 0.0
    return min(1.0, beta + 2 * canaries * delta * alpha)


def refuted(canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that so many right guesses refute, rounded down to thousandths."""
    low, high = 0, 20_000
    if chance(canaries, guesses, right, 0.0, delta) > 1 - confidence:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        if chance(canaries, guesses, right, middle / 1000, delta) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low / 1000


def run(
    data: Digits,
    folder: Path,
    target: str,
    *,
    canaries: int,
    steps: int,
    delta: float,
    rng: np.random.Generator,
    shape: str = "two layers",
    weaker: float = 1.0,
) -> Audit:
    """Train once on the data and on half of the canaries, and guess which.

    Args:
        data: the images that are no canaries.
        folder: of the run.
        target: of the configuration: `epsilon = ...` or `noise = ...`.
        canaries: m.
        steps: of training.
        delta: of the promise.
        rng: draws canaries, coins, and nothing of the training.
        shape: one of SHAPES.
        weaker: what the noise is divided by, against the promise: an audit that cannot find that is worth nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "privacy.json").unlink(missing_ok=True)
    torch.manual_seed(int(rng.integers(2**31)))
    network, known = classifier(shape), len(data.images)
    config = configured(folder, known + canaries, target, shape)
    private = PrivateSteps(config, network, known + canaries, steps, folder, 0, {"audit": "yes"})
    private.scales = {name: scale / weaker for name, scale in private.scales.items()}
    odd = torch.from_numpy(rng.integers(0, 2, (canaries, 1, 8, 8)).astype(np.float32))
    wrong = torch.from_numpy(rng.integers(0, 10, (canaries, 1, 1)))
    coins = rng.integers(0, 2, canaries).astype(bool)

    def take(indices: list[int]) -> tuple[Tensor, Tensor]:
        own = [k for k in indices if k < known]
        kept = [k - known for k in indices if k >= known and coins[k - known]]
        images, labels = data.take(own)
        return torch.cat([images, odd[kept]]), torch.cat([labels, wrong[kept]])

    attacker = _Attacker(private, canaries)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    for _ in range(steps):
        expected = [part.sum(dim=0) for part in gradients(private, data.images, data.labels)]
        each = gradients(private, odd, wrong)
        private.gradients(take)
        noisy = [p.grad.double() * config.run.batch for p in network.parameters() if p.grad is not None]
        attacker.see(noisy, expected, each)
        optimizer.step()
        private.retract()
    believed = np.argsort(attacker.believed())
    third = canaries // 3
    right = int(coins[believed[-third:]].sum() + (~coins[believed[:third]]).sum())
    return Audit(canaries, 2 * third, right, refuted(canaries, 2 * third, right, delta), 0.95)


class _Attacker:
    """Explains noisy sums by the canaries' gradients: least squares in units of the noise, coins of variance 1/4."""

    def __init__(self, private: PrivateSteps, canaries: int) -> None:
        self._scales = list(private.scales.values())
        self._q = private.q
        self._gram = torch.zeros(canaries, canaries, dtype=torch.float64)
        self._seen = torch.zeros(canaries, dtype=torch.float64)

    def see(self, noisy: list[Tensor], expected: list[Tensor], each: list[Tensor]) -> None:
        for found, known, rows, scale in zip(noisy, expected, each, self._scales, strict=True):
            unexplained = (found.flatten() - self._q * known) / scale
            columns = rows / scale
            self._gram += columns @ columns.T
            self._seen += columns @ unexplained

    def believed(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        half = torch.full_like(self._seen, 0.5)
        right = self._q * (self._seen - self._q * (self._gram @ half))
        left = self._q**2 * self._gram + 4 * torch.eye(len(half), dtype=torch.float64)
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = torch.linalg.solve(left, right).numpy()
        return found


def gradients(private: PrivateSteps, images: Tensor, labels: Tensor) -> list[Tensor]:
    """What each sample by itself adds to a step before there is noise, [B, entries] for each layer."""
    grid = private.grid()
    one = [slice(k, k + 1) for k in range(len(images))]
    rows = np.stack([grid.decoded(private.summed(images[k], labels[k], grid)) for k in one])
    return list(torch.from_numpy(rows).split(list(grid.sizes), dim=1))
