"""Time the tests of one image's pixels against a test at a time, after checking that both decide alike."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from robspec.smoothing.testing import IntArray, histogram, least_hits

TAU, ALPHA, SAMPLES = Fraction(3, 4), Fraction(1, 1000), 100


def straightforward(hits: IntArray) -> np.ndarray:
    """One exact binomial test per pixel, then Holm's procedure over all p-values, as published code has it."""
    flat = hits.reshape(-1)
    values = np.array([binomtest(int(h), SAMPLES, float(TAU), alternative="greater").pvalue for h in flat])
    order = np.argsort(values, kind="stable")
    passed = values[order] <= float(ALPHA) / np.arange(len(flat), 0, -1)
    rejected = np.zeros(len(flat), np.bool_)
    rejected[order[: len(flat) if passed.all() else int(np.argmin(passed))]] = True
    return rejected.reshape(hits.shape)


def ours(hits: IntArray) -> np.ndarray:
    """What `check` does."""
    return np.asarray(hits >= least_hits(histogram(hits, SAMPLES), TAU, ALPHA))


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the processor seconds of both, and their ratio, interleaved."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoothing", description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="of the image")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    frequency = random.beta(8, 1, (given.side, given.side))
    hits = random.binomial(SAMPLES, frequency)
    if not np.array_equal(straightforward(hits), ours(hits)):
        raise SystemExit("the decisions differ")
    table = Table("one test at a time, s", "at once, s", "ratio", title=f"{given.side} x {given.side} pixels")
    for _ in range(given.repeat):
        slow, fast = seconds(lambda: straightforward(hits)), seconds(lambda: [ours(hits) for _ in range(100)]) / 100
        table.add_row(f"{slow:.2f}", f"{fast:.6f}", f"{slow / fast:.0f}")
    Console().print(table)
    Console().print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread")


if __name__ == "__main__":
    main()
