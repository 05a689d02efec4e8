"""Time the bound over cells of coarse logits beside what it takes to bound the full-size logits, in one run.

Equality comes first: on small images compiled code must equal the plain reference, by cells and without a look at
them. Then each is timed in turn with the others: torch.amax over full-size logits that are there already, the
interpolation that makes them, the ordinary bound that reads them, and the bound over cells together with the ordinary
one from coarse logits alone, one budget each, the better of which is certified. On a GPU all of it is there, and the
floor is a read of full-size logits at the measured bandwidth of a copy.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable
from fractions import Fraction

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from benchmarks.knapsack import milliseconds
from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, shares
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items, LogitsBatch, backends
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.upsampling import interpolation

FACTOR = 8


def patches(classes: int, side: int, width: float) -> torch.Tensor:
    """Draw coarse logits, random ones smoothed until each class prevails in patches some times `width` nodes wide.

    Args:
        classes: how many.
        side: nodes of a side.
        width: standard deviation of the Gaussian kernel in nodes, 0 for none.

    Returns:
        Float32 [1, classes, side, side], of standard deviation 3.
    """
    logits = torch.randn(1, classes, side, side, generator=torch.Generator().manual_seed(0))
    if width:
        reach = int(3 * width)
        kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * width**2))
        maps = logits.transpose(0, 1)
        maps = functional.conv2d(maps, kernel.reshape(1, 1, -1, 1), padding=(reach, 0))
        logits = functional.conv2d(maps, kernel.reshape(1, 1, 1, -1), padding=(0, reach)).transpose(0, 1)
    return (3 * logits / logits.std()).contiguous()


def grid(side: int) -> Grid:
    """Bilinear interpolation by FACTOR, along both sides."""
    axis = Axis.of(interpolation(side, FACTOR * side, False, None), side)
    return Grid(axis, axis)


def labels_of(full: torch.Tensor) -> torch.Tensor:
    """Annotate nine pixels in ten with what is predicted."""
    found = full.argmax(1)
    wrong = (torch.rand(found.shape, generator=torch.Generator().manual_seed(1)) < 0.1).to(found.device)
    return torch.where(wrong, (found + 1) % full.shape[1], found)


def enlarged(logits: torch.Tensor) -> torch.Tensor:
    """Interpolate as a network does."""
    return functional.interpolate(logits, scale_factor=FACTOR, mode="bilinear")


def budgets(reach: Fraction, pixels: int) -> tuple[Budget, Budget]:
    """Of coarse logits, and of full-size ones, whose constant is FACTOR times as large."""
    given = [Budget.of(f * reach, Fraction(1), Fraction(2), pixels, single=False) for f in (1, FACTOR)]
    return given[0], given[1]


def check_small(reaches: list[Fraction], name: str, device: str) -> int:
    """Compare a backend with the reference; returns how many answers were compared."""
    compared = 0
    for width in (0.0, 1.5):
        logits = patches(5, 9, width)
        labels, side = labels_of(enlarged(logits)), grid(9)
        exact = coarse.prepare("reference", CoarseBatch(logits, side, labels, Items.CORRECT, 255))
        there = CoarseBatch(logits.to(device), side, labels.to(device), Items.CORRECT, 255)
        compiled = coarse.prepare(name, there)
        for reach in reaches:
            few, many = budgets(reach / 8, (9 * FACTOR) ** 2)
            same = exact.flips_of(0, few) == compiled.flips_of(0, few)
            if not same or exact.full.flips([many]).tolist() != compiled.full.flips([many]).tolist():
                raise SystemExit(f"the backends differ on patches of {width}, reach {reach}; nothing was timed")
            compared += 2
    return compared


def main() -> None:
    """Print one row per kind of logits and budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cells", description=__doc__)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--side", type=int, default=128, help="nodes; pixels are 8 times as many")
    parser.add_argument("--images", type=int, default=1, help="the same one so many times")
    parser.add_argument("--repeat", type=int, default=12)
    found = "triton" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--backend", choices=("cpu", "triton"), default=found)
    given = parser.parse_args()
    device = "cuda" if given.backend == "triton" and torch.cuda.is_available() else "cpu"
    reaches = [Fraction(1, 4), Fraction(1), Fraction(3)]
    print(f"{check_small(reaches, given.backend, device)} answers of {given.backend} equal the reference")
    floor = "amax" if device == "cpu" else "read"
    head = [
        "logits",
        "reach",
        floor,
        "interpolate",
        "ordinary",
        "cells + ordinary",
        "parts alone",
        "faster",
        f"times {floor}",
    ]
    head.append("flips: parts / cells / ordinary")
    shape = f"[{given.images}, {given.classes}, {given.side}, {given.side}] x{FACTOR}"
    table = Table(*head, title=f"{shape}, ms: median (least)")
    backend, many = backends()[given.backend], grid(given.side)
    for name, width in (("patches, 10", 10.0), ("patches, 5", 5.0), ("random", 0.0)):
        logits = patches(given.classes, given.side, width).repeat(given.images, 1, 1, 1).to(device)
        full = enlarged(logits)
        labels, pixels, copy = labels_of(full), full[0, 0].numel(), torch.empty_like(full)
        for reach in reaches if width else reaches[-1:]:
            few, large = budgets(reach, pixels)
            flips: dict[str, tuple[int, ...]] = {}

            def ordinary(full: torch.Tensor = full, labels: torch.Tensor = labels, ask: Budget = large) -> int:
                return int(backend.prepare(LogitsBatch(full, labels, Items.CORRECT, 255)).flips([ask])[0, 0])

            def by_cells(
                logits: torch.Tensor = logits, labels: torch.Tensor = labels, ask: Budget = few, rest: Budget = large
            ) -> tuple[int, int]:
                read = coarse.prepare(given.backend, CoarseBatch(logits, many, labels, Items.CORRECT, 255))
                return int(read.flips([ask])[0, 0]), int(read.full.flips([rest])[0, 0])

            def by_parts(logits: torch.Tensor = logits, labels: torch.Tensor = labels, ask: Budget = few) -> int:
                read = coarse.prepare(given.backend, CoarseBatch(logits[:1], many, labels[:1], Items.CORRECT, 255))
                return shares.share_out(read, 0, ask).flips(ask)

            work: dict[str, Callable[[], object]] = {
                floor: (lambda full=full: torch.amax(full, 1))
                if device == "cpu"
                else (lambda full=full, copy=copy: copy.copy_(full)),
                "interpolate": lambda logits=logits: enlarged(logits),
                "ordinary": ordinary,
                "cells": by_cells,
                "parts": by_parts,
            }
            times: dict[str, list[float]] = {key: [] for key in work}
            for run in work.values():
                run()
            for _ in range(given.repeat):
                for key, run in work.items():
                    times[key].append(milliseconds(run, device))
            if device == "cuda":
                # A copy reads and writes: half of its time reads the logits once.
                times[floor] = [t / 2 for t in times[floor]]
            flips["cells"], flips["ordinary"], flips["parts"] = by_cells(), (ordinary(),), (by_parts(),)
            least = {key: min(values) for key, values in times.items()}
            shown = [f"{statistics.median(times[key]):.1f} ({least[key]:.1f})" for key in work]
            faster = (least["interpolate"] + least["ordinary"]) / least["cells"]
            table.add_row(
                name,
                str(reach),
                *shown,
                f"{faster:.1f}",
                f"{least['cells'] / least[floor]:.1f}",
                " / ".join(str(flips[key][0]) for key in ("parts", "cells", "ordinary")),
            )
    Console(width=160).print(table)
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{threads} threads"
    Console().print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, {where}")


if __name__ == "__main__":
    main()
