"""Several threads give the integers that one gives. The rest of the tests run on one."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch, _select
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.cpu import BACKEND

SIDE = 257
"""More pixels than are added up in one thread, and no multiple of any block."""


def answers() -> str:
    """What the CPU backend says of a batch: flips by window and by prefix, radii, and one-class lists."""
    torch.manual_seed(3)
    logits, labels = torch.randn(2, 4, SIDE, SIDE), torch.randint(0, 4, (2, SIDE, SIDE))
    logits.scatter_add_(1, labels[:, None], torch.full((2, 1, SIDE, SIDE), 3.0))
    found: list[object] = []
    for norm in (1, 2, None):
        batch = LogitsBatch(logits, labels, Items.CORRECT)
        prepared = BACKEND.prepare(batch)
        ask = [Budget.of(eps, 1, norm, prepared.pixels, single=False) for eps in (1, 7, 90)]
        found.append([prepared.flips([budget]).tolist() for budget in ask])
        found.append(prepared.flips(ask).tolist())
        found.append([radius.hex() for radius in prepared.radii(np.array([[9, 50_000]] * 2), 1, norm).flat])
    ranked = BACKEND.rank(logits)
    for water in (False, True):
        one = BACKEND.prepare_class(
            LogitsBatch(logits, labels, Items.CLASS, inside=(1, 3), water=water, ranked=ranked)
        )
        found.append([one.tp.tolist(), one.fp.tolist(), one.fn.tolist(), one.tn.tolist()])
        found.extend([float(items.sum()).hex(), len(items)] for items in one.lists(1))
    return repr(found)


def test_the_number_of_threads_changes_nothing() -> None:
    ask = "import numba; from tests.kernels.test_threads import answers; print(numba.get_num_threads(), answers())"
    environment = {**os.environ, "NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    ran = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == f"3 {answers()}\n"


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 70_001])
def test_a_sum_in_parts_is_the_sum(size: int, exponent: int) -> None:
    margins = np.random.default_rng(size).random(size)
    whole = sum(min(int(d**exponent * 2.0**30), 2**29 + 1) for d in margins.tolist())
    assert _select.cost(margins, exponent, 2.0**30, 2**29) == whole
    for workers in (1, 3, 8):
        sums = np.empty(workers, dtype=np.int64)
        _select.total(margins, exponent, 2.0**30, 2**29, sums)
        assert sums.sum() == whole
