"""How much of a bound by parts of nodes is left to win: better parts on small crops, and what attacks flip.

    python -m benchmarks.yardstick

Every row is one drawn image of SIDE x SIDE nodes, brought to FACTOR times as many pixels along each side, and flips
of right pixels: by full-size logits, by colours of cells with a budget each, by the parts that a check looks for, by
the best parts that gradients find in ROUNDS steps (any parts are a bound: this is the Lagrangian relaxation over
neighbouring cells, nearly solved), and by the strongest of some attacks on the coarse logits. Between the last two
lies the truth.
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cells import FACTOR, enlarged, grid, labels_of, patches
from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, shares
from robspec.kernels.coarse.grid import Grid
from robspec.kernels.coarse.shares import Reached
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget

ROUNDS = 800
STEPS = 200


def best_parts(reached: Reached, made: Grid, budget: float) -> torch.Tensor:
    """Look for parts by gradients: what a budget buys at the best price of energy is convex in parts times price.

    Args:
        reached: the items within the budget.
        made: what they are made of.
        budget: in units of keys.

    Returns:
        float64 [C, S * T], which add up to 1 at each node.
    """
    nodes = torch.from_numpy(shares.nodes_of(reached, made))
    down, along = (torch.from_numpy(part) for part in shares.squares(reached, made))
    squares = (down[:, :, None] * along[:, None, :]).reshape(len(down), -1)
    sizes = np.diff(reached.starts)
    cell = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    slot = torch.from_numpy(np.arange(len(cell)) - np.repeat(reached.starts[:-1], sizes))
    needed = torch.from_numpy(reached.margins**2 / budget)
    logits = torch.zeros(nodes.shape, dtype=torch.float64, requires_grad=True)
    price = torch.tensor(math.log(max(1.0, len(cell) / 8)), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([logits, price], lr=0.05)
    counts = torch.arange(1, int(sizes.max()) + 1, dtype=torch.float64)
    number, least, best = math.prod(made.sides), math.inf, torch.ones(0)
    for turn in range(ROUNDS):
        if turn == ROUNDS * 3 // 5:
            for group in optimiser.param_groups:
                group["lr"] = 0.01
        weights = logits.exp()
        sums = torch.zeros(number, dtype=torch.float64).index_add(0, nodes.reshape(-1), weights.reshape(-1))
        parts = weights / sums[nodes]
        keys = needed / (squares / (parts * price.exp())[cell]).sum(1)
        table = torch.full((len(sizes), len(counts)), 1e9, dtype=torch.float64).index_put((cell, slot), keys)
        value = price.exp() + (counts - table.sort(1)[0]).amax(1).clamp(min=0).sum()
        if value.item() < least:
            least, best = value.item(), parts.detach()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return best


def attacked(logits: torch.Tensor, labels: torch.Tensor, reach: float) -> int:
    """Flip right pixels by moving coarse logits within a ball, along gradients of the margins that are near."""
    clean = enlarged(logits.double())
    right, best = clean.argmax(1) == labels, 0
    for temperature in (0.05, 0.2, 0.6, 2.0):
        for step in (0.05, 0.3):
            change = torch.zeros_like(logits, dtype=torch.float64, requires_grad=True)
            for _ in range(STEPS):
                z = enlarged(logits.double() + change)
                own = z.gather(1, labels[:, None])[:, 0]
                rival = z.scatter(1, labels[:, None], -math.inf).amax(1)
                margins = own - rival
                best = max(best, int((right & (margins < 0)).sum()))
                worth = torch.sigmoid(-margins / temperature)[right].sum()
                (slope,) = torch.autograd.grad(worth, change)
                with torch.no_grad():
                    moved = change + step * reach * slope / slope.norm().clamp(min=1e-30)
                    change = (moved * min(1.0, reach / float(moved.norm()) * (1 - 1e-12))).requires_grad_()
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yardstick", description=__doc__)
    parser.add_argument("--side", type=int, default=16)
    side = parser.parse_args().side
    table = Table("logits", "reach", "right", "full size", "colours", "parts", "best parts", "an attack")
    made = grid(side)
    pixels = math.prod(made.shape)
    for name, width in (("patches, 5", 5.0), ("patches, 2", 2.0), ("random", 0.0)):
        logits = patches(5, side, width)
        labels = labels_of(enlarged(logits))
        read = coarse.prepare("cpu", CoarseBatch(logits, made, labels, Items.CORRECT, 255))
        for reach in (Fraction(1, 4), Fraction(1), Fraction(3)):
            few, large = (Budget.of(f * reach, Fraction(1), Fraction(2), pixels, single=False) for f in (1, FACTOR))
            reached = read.reached(0, few)
            found = best_parts(reached, made, few.limit / few.scale)
            whole = np.maximum((found.numpy() * (shares.PARTS - found.shape[1])).astype(np.int64), 1)
            row = (
                int(read.items[0]),
                int(read.full.flips([large])[0, 0]),
                read.flips_of(0, few),
                shares.share_out(read, 0, few).flips(few),
                read.shared(reached, whole, few).flips(few),
                attacked(logits, labels, float(reach)),
            )
            table.add_row(name, f"{float(reach):g}", *map(str, row))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
