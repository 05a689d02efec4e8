"""Time the certified accuracy of whole images against one read of their logits, after checking equality.

The floor is what it takes to read the logits once with all threads, a plain sum over the memory; `torch.amax` over
the classes is the named peer. All three are interleaved in one run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from robspec.kernels.knapsack import Items, LogitsBatch, backends
from robspec.kernels.knapsack.budget import Budget

CONSTANT = Fraction(1)
EPS = Fraction(1, 4)
BACKENDS = backends()


def certified(logits: torch.Tensor, labels: torch.Tensor, backend: str) -> Fraction:
    """Share of images that keep their label for every attack of l2 norm at most EPS."""
    prepared = BACKENDS[backend].prepare(LogitsBatch(logits[:, :, None, None], labels, Items.CORRECT))
    lost = prepared.flips([Budget.of(EPS, CONSTANT, Fraction(2), 1, single=False)])
    return Fraction(int(prepared.items.sum()) - int(lost.sum()), int(prepared.valid.sum()))


def drawn(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are the largest of them four times in five."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator)
    labels = logits.argmax(1)
    wrong = torch.rand(images, generator=generator) < 0.2
    labels[wrong] = torch.randint(classes, (int(wrong.sum()),), generator=generator)
    return logits, labels[:, None, None]


def main() -> None:
    """Print medians and their ratios to the floor."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classification", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=31)
    given = parser.parse_args()
    few = drawn(50, given.classes)
    if certified(*few, "cpu") != certified(*few, "reference"):
        raise SystemExit("the backends differ")
    logits, labels = drawn(given.images, given.classes)
    flat = logits.reshape(-1)
    ways: dict[str, Callable[[], object]] = {
        "certified accuracy": lambda: certified(logits, labels, "cpu"),
        "torch.amax over the classes": lambda: logits.amax(1),
        "floor: sum of all logits": flat.sum,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.repeat):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - began)
    floor = statistics.median(times["floor: sum of all logits"])
    table = Table(
        "what", "median ms", "least ms", "to the floor", title=f"{given.images} images x {given.classes} classes"
    )
    for name, spent in times.items():
        median = statistics.median(spent)
        table.add_row(name, f"{median * 1e3:.2f}", f"{min(spent) * 1e3:.2f}", f"{median / floor:.2f}")
    Console().print(table)
    rate = logits.nbytes / floor / 1e9
    Console().print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, floor {rate:.1f} GB/s, "
        f"numpy {np.__version__}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
