"""What bounds by cells keep of the certified accuracy that full-size logits lose: by colours, and by parts of nodes.

    python -m benchmarks.gained FOLDER [--images 20]      # images, masks and an archive for 256 x 256 pixels
    python -m benchmarks.gained                           # drawn logits in patches

The logits of FOLDER's network are averaged over blocks of FACTOR x FACTOR pixels and brought back by bilinear
interpolation, so that the constants of both are known but for those of the network. Per budget: the clean value, the
certified ones, and how much less is lost than by full-size logits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from benchmarks.cells import FACTOR, enlarged, grid, labels_of, patches
from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, shares
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget

FULL = Fraction("6.48")
"""The constant of FOLDER's network; that of its averages is FACTOR times smaller."""


def pictures(folder: Path, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give averaged logits and labels of some images."""
    archive = (
        next(iter(sorted(folder.glob("*raw*.pt2")))) if any(folder.glob("*raw*.pt2")) else next(folder.glob("*.pt2"))
    )
    network = torch.export.load(archive).module()
    for path in sorted((folder / "images").iterdir())[:number]:
        pixels = np.array(Image.open(path).convert("RGB"))
        mask = np.array(Image.open(folder / "masks" / path.name).convert("1"))
        with torch.no_grad():
            logits = network(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
        yield functional.avg_pool2d(logits, FACTOR), torch.tensor(mask, dtype=torch.int64)[None]


def drawn(number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give logits in patches of several widths, and labels of which one in ten is wrong."""
    for width in [10.0, 5.0, 2.0, 0.0][:number]:
        logits = patches(19, 64, width)
        yield logits, labels_of(enlarged(logits))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gained", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--eps", type=Fraction, nargs="+", default=[Fraction(e) for e in ("0.1", "0.17", "0.5", "1")])
    given = parser.parse_args()
    source = pictures(given.folder, given.images) if given.folder else drawn(given.images)
    low = FULL / FACTOR
    sums = np.zeros((len(given.eps), 4))
    seconds, number = np.zeros(3), 0
    for logits, labels in source:
        number += 1
        made = grid(logits.shape[-1])
        read = coarse.prepare("cpu", CoarseBatch(logits, made, labels, Items.CORRECT, 255))
        pixels = made.shape[0] * made.shape[1]
        for at, eps in enumerate(given.eps):
            whole, few = (Budget.of(eps, c, Fraction(2), pixels, single=False) for c in (FULL, low))
            clock = [time.perf_counter()]
            full = int(read.full.flips([whole])[0, 0])
            clock.append(time.perf_counter())
            cells = read.flips_of(0, few)
            clock.append(time.perf_counter())
            shared = shares.share_out(read, 0, few).flips(few)
            clock.append(time.perf_counter())
            seconds += np.diff(clock)
            items = int(read.items[0])
            best = min(full, cells)
            sums[at] += np.array([items, items - full, items - best, items - min(best, shared)]) / pixels
    table = Table("eps", "clean", "full size", "colours", "less of the loss", "parts", "less of the loss")
    for eps, row in zip(given.eps, sums / number, strict=True):
        clean, full, cells, shared = row
        less = [f"{100 * (1 - (clean - value) / (clean - full)):.1f} %" for value in (cells, shared)]
        table.add_row(
            f"{float(eps):g}", *(f"{v:.4f}" for v in (clean, full, cells)), less[0], f"{shared:.4f}", less[1]
        )
    console = Console(width=120)
    console.print(table)
    each = ", ".join(
        f"{name} {1e3 * s / number / len(given.eps):.1f}"
        for name, s in zip(("full size", "colours", "parts"), seconds, strict=True)
    )
    console.print(f"{number} images; ms an image and budget, after reading: {each}")


if __name__ == "__main__":
    main()
