"""Time accuracy and IoU of two classes on large images against the memory floor, one budget at a time, in one run.

    python -m benchmarks.two_classes [--side 2048] [--rounds 15]

Everything a bound does is timed, from logits and labels to the worst value, in processor time of one thread, each
round once for each candidate; medians are compared. Equality comes first: reading the images in full, as it is done
where many budgets are asked about, must give the same values. The floor is torch.amax over the classes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import torch
from rich.console import Console
from rich.table import Table

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.ir.types import Metric
from robspec.kernels.knapsack import _cpu_classes, cpu
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2

ONE = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
SPEC = """language 1
model {{
  input image [3, {side}, {side}] in [0, 1]
  output logits [2, {side}, {side}]
  classes outside, inside
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
  ignore 255
}}
property a {{
  metric accuracy
  norm l2
  budget 1
  require mean(worst_case) >= 0.1
}}
property b {{
  metric iou[inside]
  norm l2
  budget 1
  require mean(worst_case) >= 0.1
}}
"""
REACHES = tuple(Fraction(n, 2048) for n in (1, 4, 16, 64, 128, 400))
"""Budgets per side of the image: from 1 to 48 pixels in a hundred flip where logits are random."""


def metrics(side: int) -> list[Metric]:
    """Accuracy and IoU, as the compiler hands them over."""
    from robspec.lower import compile_text

    program, diagnostics = compile_text(SPEC.format(side=side))
    if program is None:
        raise SystemExit(f"the benchmark's specification does not compile: {diagnostics}")
    return [p.query.metric for p in program.properties if hasattr(p.query, "metric")]


def drawn(side: int, *, patches: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw logits, of each pixel alone or in patches of a few dozen, and labels that nine predictions in ten meet."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, side, side, generator=generator)
    if patches:
        coarse = 3 * torch.randn(1, 2, side // 32, side // 32, generator=generator)
        logits = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear") + 0.1 * logits
    predicted = logits.argmax(1)
    wrong = torch.rand(predicted.shape, generator=generator) < 0.1
    return logits.contiguous(), torch.where(wrong, 1 - predicted, predicted)


@contextmanager
def in_full() -> Iterator[None]:
    """Read every image in full, as smaller ones are."""
    before = cpu.LARGE, _cpu_classes.LARGE_CLASS
    cpu.LARGE = _cpu_classes.LARGE_CLASS = 2**62
    try:
        yield
    finally:
        cpu.LARGE, _cpu_classes.LARGE_CLASS = before


def measured(metric: Metric, logits: torch.Tensor, labels: torch.Tensor, budget: Fraction, rounds: int) -> list[str]:
    """Compare with reading in full, then time; the last columns of a row."""

    def ask() -> list[tuple[Fraction | None, ...]]:
        return open_bound(metric, Context(cpu.BACKEND, logits, labels, 255), ONE).worst_case([budget])

    def ask_in_full() -> list[tuple[Fraction | None, ...]]:
        with in_full():
            return ask()

    found = ask()
    if found != ask_in_full():
        raise SystemExit(f"{metric.name} at {float(budget)}: reading in full says otherwise; nothing was timed")
    candidates: tuple[Callable[[], object], ...] = (lambda: torch.amax(logits, 1), ask, ask_in_full)
    taken: list[list[float]] = [[] for _ in candidates]
    for turn in range(rounds + 1):
        for run, times in zip(candidates, taken, strict=True):
            began = time.process_time()
            run()
            if turn:
                times.append(1e3 * (time.process_time() - began))
    floor, bound, full = map(statistics.median, taken)
    value = found[0][0]
    ratios = [f"{floor:.2f}", f"{bound:.2f}", f"{bound / floor:.1f}", f"{full:.2f}", f"{full / floor:.1f}"]
    return ["-" if value is None else f"{float(value):.4f}", *ratios]


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048, help="pixels of an image's side")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    side = options.side
    table = Table(title=f"2 classes, {side} x {side}, processor ms of one thread, medians of {options.rounds}")
    for name in ("logits", "metric", "budget", "worst", "floor", "bound", "/ floor", "in full", "/ floor"):
        table.add_column(name, justify="right")
    for patches in (False, True):
        logits, labels = drawn(side, patches=patches)
        for metric in metrics(side):
            for reach in REACHES:
                row = measured(metric, logits, labels, reach * side, options.rounds)
                kind = "in patches" if patches else "random"
                table.add_row(kind, metric.name, f"{float(reach * side):g}", *row)
    console = Console(width=120)
    console.print(table)
    console.print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
