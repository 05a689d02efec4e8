"""Time the ranking metrics on many scores, after checking on few that they equal the reference."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from rich.console import Console
from rich.table import Table

from robspec.kernels.scores import Scores, Shifts, backends

SHIFTS = Shifts(Fraction(1, 10), Fraction(1, 10))
HALF = Fraction(1, 2)
QUESTIONS: dict[str, Callable[[Scores], object]] = {
    "auroc": lambda scores: scores.auroc(SHIFTS),
    "auroc radius": lambda scores: scores.auroc_radius(HALF, strict=False),
    "average precision": lambda scores: scores.average_precision(SHIFTS),
    "average precision radius": lambda scores: scores.average_precision_radius(HALF, strict=False, lowered=True),
    "fpr at tpr 0.95": lambda scores: scores.fpr_at_tpr(Fraction(95, 100), SHIFTS),
}


def main() -> None:
    """Print one row per question: seconds to sort both sides and answer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores", description=__doc__)
    parser.add_argument("--scores", type=int, default=10**5, help="of either side")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    few, many = [(rng.normal(size=n) + 1, rng.normal(size=n)) for n in (30, given.scores)]
    exact, compiled = backends()["reference"], backends()["cpu"]
    table = Table("question", "median s", "least s", title=f"{given.scores} x {given.scores} scores")
    for name, ask in QUESTIONS.items():
        if ask(exact.read(*few)) != ask(compiled.read(*few)):
            raise SystemExit(f"{name}: the backends differ")
        times = []
        for _ in range(given.repeat):
            start = time.perf_counter()
            ask(compiled.read(*many))
            times.append(time.perf_counter() - start)
        table.add_row(name, f"{statistics.median(times):.4f}", f"{min(times):.4f}")
    Console().print(table)
    Console().print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread")


if __name__ == "__main__":
    main()
