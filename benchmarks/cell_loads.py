"""Counts what the Triton kernels over cells load and store, in the interpreter, beside the way by full-size logits.

`python -m benchmarks.cell_loads` prints bytes per full-size pixel: no times. A load under a mask counts where it is
set, whether memory or a cache would serve it: the logits of a node once for each cell it belongs to. What a program
reads for all its pixels alike, and atomic additions, are not counted. By full-size logits an interpolation reads the
coarse logits and writes the others, which no kernel here does: that is computed, not counted.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

from fractions import Fraction

from torch.nn import functional

from benchmarks.cells import labels_of, patches
from benchmarks.loads import Count
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.coarse.triton import SIZES, TritonCoarse
from robspec.kernels.knapsack import Items, LogitsBatch
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.triton_cuda import TritonBackend
from robspec.lipschitz.tail import interpolation

CLASSES = 19
NODES = {4: 48, 8: 24, 16: 12}
"""Nodes of a side by factor: 192 x 192 pixels each."""
REACHES = (Fraction(1, 16), Fraction(1, 4), Fraction(1))


def main() -> None:
    """Print what is loaded and stored a pixel for one image, by kernel."""
    for factor, side in NODES.items():
        axis = Axis.of(interpolation(side, factor * side, False, None), side)
        logits = patches(CLASSES, side, side / 12)
        full = functional.interpolate(logits, scale_factor=factor, mode="bilinear")
        labels, pixels = labels_of(full), (factor * side) ** 2
        asked = [Budget.of(reach, Fraction(1), Fraction(2), pixels, single=False) for reach in REACHES]
        backend = TritonBackend()
        with Count() as whole:
            backend.prepare(LogitsBatch(full, labels, Items.CORRECT, 255))
        print(f"{CLASSES} classes, x{factor}: bytes per pixel")
        small = CLASSES * 4 / factor**2
        print(f"  interpolation (computed)   loaded {small:7.1f} stored {CLASSES * 4:7.1f}")
        _show(whole, pixels, "")
        with Count() as fused:
            batch = CoarseBatch(logits, Grid(axis, axis), labels, Items.CORRECT, 255)
            read = TritonCoarse(batch, (SIZES[0], 16 * SIZES[0]))
        _show(fused, pixels, "")
        for budgets in ([asked[0]], [asked[1]], [asked[2]], asked):
            with Count() as spent:
                flips = read.flips(budgets)[0].tolist()
            shares = ", ".join(f"{n / pixels:.3f}" for n in flips)
            _show(spent, pixels, f"flips of {shares}")


def _show(count: Count, pixels: int, of: str) -> None:
    for name in count.loaded | count.stored:
        loaded, stored = (c[name] / pixels for c in (count.loaded, count.stored))
        print(f"  {name:26s} loaded {loaded:7.1f} stored {stored:7.1f}  {of}".rstrip())


if __name__ == "__main__":
    main()
