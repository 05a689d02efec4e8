"""Random coarse logits under a fixed up-sampling, and the best attack a search finds, against the bound over cells.

A problem is drawn from a seed: classes, sides, odd factors, corners aligned or not, nearest neighbours, crops,
labels of which some are ignored, ties. The attack moves the coarse logits within their ball, along gradients of the
margins that are near and along least-norm solutions for the cheapest pixels. What it flips is counted by its own
arithmetic; the two backends must give equal integers.

    python -m tests.property.random_cells 100000 --start 0 --processes 2
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.ending import interpolation, matrix

IGNORED = -1
STEPS = 25
_SLACK = 1e-9
"""A pixel counts as flipped where its margin is at most -_SLACK, so that rounding of the attack accuses nobody."""


@dataclass(frozen=True)
class Outcome:
    """What became of one problem.

    Args:
        seed: what it was drawn from.
        items: pixels that are right before the attack, counted as the bound counts them.
        right: the same, by the attack's own arithmetic: a pixel that is level is right for one and not for the other.
        flipped: pixels that the attack made wrong.
        certified: how many the bound allows for.
        equal: whether the backends agree.
    """

    seed: int
    items: int
    right: int
    flipped: int
    certified: int
    equal: bool

    @property
    def wrong(self) -> bool:
        """Whether more pixels are certified to stay right than did, or backends disagree."""
        return self.right - self.flipped < self.items - self.certified or not self.equal


def one(seed: int) -> Outcome:
    """Draw a problem, bound it and attack it."""
    rng, dice = random.Random(seed), np.random.default_rng(seed)  # noqa: S311  (a test draws problems, not secrets)
    classes, h, w = rng.choice([1, 2, 2, 3, 5]), rng.randint(1, 5), rng.randint(1, 5)
    rows, columns = _rows(rng, h), _rows(rng, w)
    grid = Grid(Axis.of(rows, h), Axis.of(columns, w))
    u = np.kron(matrix(rows, h).numpy(), matrix(columns, w).numpy())
    low = dice.normal(size=(classes, h * w))
    if rng.random() < 0.3:
        low = np.round(2 * low) / 2
    if rng.random() < 0.4:  # one class is ahead almost everywhere: cells that stay closed
        low[rng.randrange(classes)] += rng.choice([2, 4])
    z = low @ u.T
    labels = dice.integers(IGNORED, max(classes, 2), z.shape[1])
    predicted = (z[0] > 0).astype(int) if classes == 1 else z.argmax(0)
    items = rng.choice([Items.CORRECT, Items.PREDICTED])
    counted = (labels != IGNORED) & ((items is Items.PREDICTED) | (labels == predicted))
    shape = grid.shape
    batch = CoarseBatch(
        torch.tensor(low).reshape(1, classes, h, w), grid, torch.tensor(labels).reshape(1, *shape), items, IGNORED
    )
    reach = rng.choice([0.0, 10.0 ** rng.uniform(-2, 1)])
    budget = Budget.of(Fraction(reach), Fraction(1), Fraction(2), z.shape[1], single=classes == 1)
    read = [coarse.prepare(name, batch) for name in ("reference", "cpu")]
    found = [p.flips_of(0, budget) for p in read]
    full = [int(p.full.flips([budget])[0, 0]) for p in read]
    flipped = _attacked(dice, u, low, predicted, counted, reach)
    right = int(read[0].items[0])
    equal = found[0] == found[1] and full[0] == full[1] and right == int(read[1].items[0])
    return Outcome(seed, right, int(counted.sum()), flipped, found[0], equal)


def _rows(rng: random.Random, side: int) -> list[dict[int, Fraction]]:
    outputs = rng.randint(1, 5 * side)
    kind = rng.choice(["bilinear", "aligned", "nearest"])
    rows = (
        [{o * side // outputs: Fraction(1)} for o in range(outputs)]
        if kind == "nearest"
        else [dict(row) for row in interpolation(side, outputs, kind == "aligned", None)]
    )
    return rows[rng.randrange((outputs + 2) // 3) :]


def _margins(z: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel is from leaving the class it was in, and the class it is nearest to."""
    if len(z) == 1:
        return np.where(predicted == 1, z[0], -z[0]), 1 - predicted
    at = np.arange(z.shape[1])
    others = z.copy()
    others[predicted, at] = -np.inf
    rival = others.argmax(0)
    return z[predicted, at] - others[rival, at], rival


def _attacked(
    dice: np.random.Generator,
    u: np.ndarray,
    low: np.ndarray,
    predicted: np.ndarray,
    counted: np.ndarray,
    reach: float,
) -> int:
    """Flip as many pixels as a search can."""
    best = 0

    def tried(a: np.ndarray) -> np.ndarray:
        nonlocal best
        length = float(np.linalg.norm(a))
        if length > reach:
            a = a * (reach / length) * (1 - 1e-15)
        margins, _ = _margins((low + a) @ u.T, predicted)
        best = max(best, int(np.sum(counted & (margins <= -_SLACK))))
        return a

    def direction(weights: np.ndarray, rival: np.ndarray) -> np.ndarray:
        push = np.zeros((len(low), u.shape[0]))
        at = np.arange(u.shape[0])
        if len(low) == 1:
            push[0] = np.where(predicted == 1, -weights, weights)
        else:
            push[rival, at] += weights
            push[predicted, at] -= weights
        return push @ u

    margins, rival = _margins(low @ u.T, predicted)
    order = np.flatnonzero(counted)[np.argsort(margins[counted], kind="stable")]
    factor = 1 if len(low) == 1 else 2
    for n in range(1, len(order) + 1):
        # The least change of the difference of two classes that levels the n cheapest pixels, if it is the same two.
        chosen = order[:n]
        gap = np.linalg.lstsq(u[chosen], margins[chosen] * (1 + 1e-6), rcond=None)[0]
        for node_gap in (gap, np.maximum(gap, 0)):
            a = np.zeros_like(low)
            y, j = predicted[chosen[0]], rival[chosen[0]]
            if factor == 1:
                a[0] = node_gap * (-1 if y == 1 else 1)
            else:
                a[y], a[j] = -node_gap / 2, node_gap / 2
            tried(a)
    for temperature in (0.1, 0.5, 2.0):
        a = np.zeros_like(low)
        for _ in range(STEPS):
            now, rival = _margins((low + a) @ u.T, predicted)
            weights = counted * np.exp(-np.abs(now) / temperature) * np.where(now <= -_SLACK, 0.3, 1)
            step = direction(weights, rival)
            size = float(np.linalg.norm(step))
            if size == 0:
                break
            a = tried(a + step / size * reach * dice.uniform(0.1, 0.5))
    return best


def main() -> None:
    """Hunt over a range of seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    began, wrong, ratios = time.perf_counter(), 0, []
    with ProcessPoolExecutor(given.processes) as pool:
        for outcome in pool.map(one, range(given.start, given.start + given.count), chunksize=50):
            if outcome.flipped:
                ratios.append(outcome.certified / outcome.flipped)
            if outcome.wrong:
                wrong += 1
                print(outcome, flush=True)
    middle = statistics.median(ratios) if ratios else float("nan")
    print(
        f"{given.count} problems, {wrong} wrong; bound over what was flipped: median {middle:.2f} of {len(ratios)} "
        f"attacks that flipped some; {time.perf_counter() - began:.0f} s"
    )
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
