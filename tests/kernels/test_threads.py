"""Several threads give the integers that one gives. The rest of the tests run on one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from robspec.kernels import _threads
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
    ask = (
        "import torch; torch.set_num_threads(3); from tests.kernels.test_threads import answers; "
        "print(torch.get_num_threads(), answers())"
    )
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert ran.stdout == f"3 {answers()}\n"


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 70_001])
def test_a_sum_in_parts_is_the_sum(size: int, exponent: int) -> None:
    margins = np.random.default_rng(size).random(size)
    whole = sum(min(int(d**exponent * 2.0**30), 2**29 + 1) for d in margins.tolist())
    assert _select.cost(margins, exponent, 2.0**30, 2**29) == whole
    for workers in (1, 3, 8):
        sums = np.empty(workers, dtype=np.int64)
        _select.total(0, workers, margins, exponent, 2.0**30, 2**29, sums)
        assert sums.sum() == whole


def test_every_task_is_done_once_whoever_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = np.empty(_threads._WORTH_SHARING), np.empty(_threads._WORTH_SHARING - 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for tasks in (1, 2, 3, 4, 7):
        parts = _threads.share(lambda begin, end, _: (begin, end, threading.get_ident()), tasks, large)
        assert [n for begin, end, _ in parts for n in range(begin, end)] == list(range(tasks))
        assert len(parts) == min(tasks, 3)
    assert _threads.share(lambda begin, end, _: (begin, end), 7, small) == [(0, 7)]


def test_an_error_in_one_part_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fails_at(part: int) -> Callable[[int, int, object], None]:
        def work(begin: int, end: int, _: object) -> None:
            if begin == part:
                raise MemoryError(part)

        return work

    for part in (0, 1):
        with pytest.raises(MemoryError):
            _threads.share(fails_at(part), 2, np.empty(_threads._WORTH_SHARING))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    ask = (
        "import os, numpy as np, torch; from robspec.kernels._threads import share\n"
        "torch.set_num_threads(2)\n"
        "do = lambda: share(lambda a, b, _: b - a, 2, np.empty(1 << 15))\n"
        "assert do() == [1, 1]\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if do() == [1, 1] else 1)\n"
        "print(os.waitpid(child, 0)[1], do())"
    )
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout == "0 [1, 1]\n"
