"""Parts of nodes, derived a second time: any hold, the kernels' are confirmed, and what are none are not read."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, shares
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget
from robspec.recheck import cell_prices
from robspec.recheck.cells import Asked, Prices
from robspec.recheck.lattice import Lattice
from robspec.recheck.parted import Parts, parted
from tests.recheck.test_cells import exhausted
from tests.recheck.up_sampled import Drawn, drawn, right

F = Fraction


def read(it: Drawn) -> tuple[coarse.CoarsePrepared, Grid]:
    _, h, w = it.low.shape
    grid = Grid(*(Axis.of(rows, n) for rows, n in zip(it.lines, (h, w), strict=True)))
    labels = torch.from_numpy(it.labels).reshape(1, *grid.shape)
    batch = CoarseBatch(torch.from_numpy(it.low[None]), grid, labels, Items.CORRECT, 255)
    return coarse.prepare("reference", batch), grid


@pytest.mark.parametrize("seed", range(40))
def test_what_kernels_certify_is_confirmed(seed: int) -> None:
    """Exact keys at the same parts and the best price leave at least what the kernels leave."""
    it = drawn(seed)
    cells, grid = read(it)
    if not shares.is_shared(grid):
        assert grid.rows.span * grid.columns.span == 1
        return
    pixels, gaps = right(it)
    for reach in (F(1, 100), F(3, 10), F(1), F(3)):
        budget = Budget.of(reach, F(1), F(2), cells.pixels, single=cells.single)
        reached = cells.reached(0, budget)
        given = shares.divided(reached, grid, np.ones(len(reached.margins)), budget)
        certified = cells.shared(reached, given, budget).flips(budget)
        parts = Parts.read(Parts(shares.PARTS, reached.tops, reached.lefts, given).written(), it.sight.lattice)
        assert parts is not None
        asked = Asked(reach**2)
        priced = parted(it.sight, gaps, pixels, asked.budget, parts)
        price = cell_prices.best(priced.within(asked.budget), asked).prices
        (bound,) = priced.bounds(asked, price)
        assert math.floor(bound) <= certified
        # A level pixel is level for the one and not for the other; keys are rounded by one part in 2^40.
        assert math.floor(bound) >= certified - 1 - len(pixels) // 50
        for lie in (F(0), price.of[0] / 2, price.of[0] * 3 + 1):
            (more,) = priced.bounds(asked, Prices((lie,)))
            assert more >= bound


@pytest.mark.parametrize("seed", range(30))
def test_no_parts_say_less_than_an_attack_does(seed: int) -> None:
    """Parts drawn at random, of some cells alone: exhaustive search never does worse."""
    it, full, pixels, gaps = exhausted(seed)
    rng, dice = random.Random(seed), np.random.default_rng(seed)  # noqa: S311  (a test draws numbers, not secrets)
    sight = it.sight
    lattice = sight.lattice
    down, along = lattice.down, lattice.along
    every = list(itertools.product(down.first.tolist(), along.first.tolist()))
    reaches = sorted({math.sqrt(e) for e, _ in full.energies if 0 < e < 1e6} | {0.1, 1.0})
    for reach in rng.sample(reaches, min(6, len(reaches))):
        chosen = [cell for cell in every if rng.random() < 0.9]
        most = down.span * along.span
        whole = rng.choice([most, 100, 1024])
        rows = [[*cell, *dice.integers(1, whole // most + 1, most).tolist()] for cell in chosen]
        parts = Parts.read({"whole": whole, "cells": rows}, lattice)
        assert parts is not None
        budget = F(reach * (1 + 1e-6)) ** 2
        asked = Asked(budget)
        priced = parted(sight, gaps, pixels, budget, parts)
        within = full.most(budget, F(1), F(0), dict.fromkeys(full.items, False))
        best = cell_prices.best(priced.within(budget), asked).prices
        for price in (best, Prices((F(rng.randint(0, 9), 7),))):
            (bound,) = priced.bounds(asked, price)
            assert math.floor(bound) >= within


def lattice() -> Lattice:
    rows = ({0: F(1)}, {0: F(1, 2), 1: F(1, 2)}, {1: F(1, 2), 2: F(1, 2)}, {2: F(1)})
    return Lattice((rows, ({0: F(1)},)), (3, 1))


GOOD: list[list[int]] = [[0, 0, 5, 4], [1, 0, 4, 8]]


def test_parts_are_read_and_written() -> None:
    parts = Parts.read({"whole": 8, "cells": GOOD}, lattice())
    assert parts is not None
    assert parts.written() == {"whole": 8, "cells": GOOD}
    assert Parts.read({"whole": 8, "cells": []}, lattice()) is not None


@pytest.mark.parametrize(
    "written",
    [
        None,
        [],
        {"whole": 8},
        {"whole": 8, "cells": GOOD, "more": 1},
        {"whole": 7, "cells": GOOD},  # the node between them gives 8
        {"whole": "8", "cells": GOOD},
        {"whole": True, "cells": []},
        {"whole": 0, "cells": []},
        {"whole": 1 << 21, "cells": GOOD},
        {"whole": 8, "cells": None},
        {"whole": 8, "cells": [*GOOD, [1, 0, 1, 1]]},
        {"whole": 8, "cells": [[0, 0, 4, 4], [0, 0, 4, 4]]},  # twice
        {"whole": 8, "cells": [[2, 0, 1, 1]]},  # no such cell
        {"whole": 8, "cells": [[0, 1, 1, 1]]},
        {"whole": 8, "cells": [[0, 0, 0, 4]]},
        {"whole": 8, "cells": [[0, 0, -1, 4]]},
        {"whole": 8, "cells": [[0, 0, 9, 1]]},
        {"whole": 8, "cells": [[0, 0, 1.0, 4]]},
        {"whole": 8, "cells": [[0, 0, True, 4]]},
        {"whole": 8, "cells": [[0, 0, 1]]},
        {"whole": 8, "cells": ["0 0 1 1"]},
        {"whole": 8, "cells": [[0, 0, 1, 10**30]]},
    ],
)
def test_what_are_no_parts_is_not_read(written: Any) -> None:
    assert Parts.read(written, lattice()) is None
