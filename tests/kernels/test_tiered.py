"""What `--backend auto` takes: numpy for the first logits, then compiled code, the same integers from both."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch, tiered
from robspec.kernels.knapsack.budget import Budget
from tests.kernels.available import COMPILED, REFERENCE

SHAPE = (2, 3, 5, 4)


def batches() -> list[LogitsBatch]:
    """Ties, ignored labels and a logit that is not finite among them."""
    torch.manual_seed(1)
    logits, labels = torch.randn(SHAPE).round(decimals=1), torch.randint(0, 4, (2, 5, 4))
    broken = logits.clone()
    broken[1, 2, 3, 3] = torch.inf
    found = [LogitsBatch(z, labels, items, 3) for z in (logits, broken) for items in (Items.CORRECT, Items.PREDICTED)]
    ways: list[dict[str, object]] = [
        {"water": False},
        {"water": True},
        {"water": True, "share": 0.5},
        {"share": 0.5, "whole_when_wrong": True},
    ]
    found += [
        LogitsBatch(z, labels, Items.CLASS, 3, inside=inside, **way)  # type: ignore[arg-type]
        for z in (logits, broken)
        for inside in ((1,), (0, 2))
        for way in ways
    ]
    return found


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_both_tiers_give_the_integers_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    for few in (1 << 26, 0):
        monkeypatch.setattr(tiered, "_FEW", few)
        backend = tiered.TieredBackend()
        for batch in batches():
            if batch.items is Items.CLASS:
                ranked = backend.rank(batch.logits)
                given = LogitsBatch(
                    batch.logits,
                    batch.labels,
                    batch.items,
                    batch.ignore,
                    batch.inside,
                    batch.water,
                    batch.share,
                    batch.whole_when_wrong,
                    ranked,
                )
                one, expected_one = backend.prepare_class(given), REFERENCE.prepare_class(batch)
                kinds.add(one.backend)
                for name in ("tp", "fp", "fn", "tn", "finite"):
                    held = np.asarray(expected_one.finite)
                    assert (getattr(one, name) == getattr(expected_one, name))[held].all()
                for i in np.flatnonzero(one.finite).tolist():
                    for mine, theirs in zip(one.lists(i), expected_one.lists(i), strict=True):
                        assert mine.tolist() == theirs.tolist()
            else:
                got, expected = backend.prepare(batch), REFERENCE.prepare(batch)
                kinds.add(got.backend)
                assert got.finite.tolist() == expected.finite.tolist()
                held = got.finite
                assert got.items[held].tolist() == expected.items[held].tolist()
                budgets = [
                    Budget.of(Fraction(e), Fraction(1), Fraction(2), 20, single=False) for e in (0, Fraction(1, 3), 2)
                ]
                assert got.flips(budgets)[held].tolist() == expected.flips(budgets)[held].tolist()
                asked = np.array([[1, 3, 20]] * 2)
                found = [side.radii(asked, Fraction(1), Fraction(2))[held].tolist() for side in (got, expected)]
                assert found[0] == found[1]
    assert kinds == {"numpy", "cpu"}


def test_compiled_code_takes_over_once_much_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "_FEW", 3 * 2 * 3 * 20 * 3)
    backend = tiered.TieredBackend()
    batch = batches()[0]
    assert [backend.prepare(batch).backend for _ in range(3)] == ["numpy"] * 3
    if COMPILED:
        assert backend.prepare(batch).backend == "cpu"


def test_a_large_batch_is_compiled_codes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batches()[0]
    for most, kind in ((batch.logits.numel(), "numpy"), (batch.logits.numel() - 1, "cpu")):
        monkeypatch.setattr(tiered, "_AT_ONCE", most)
        if kind == "numpy" or COMPILED:
            assert tiered.TieredBackend().prepare(batch).backend == kind


def test_many_classes_are_ranked_once_by_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "_FEW", 2 * 3 * 20 * 3 * 3)
    backend = tiered.TieredBackend()
    assert backend.rank(batches()[0].logits) is None
    if COMPILED:
        assert backend.rank(batches()[0].logits) is not None


def test_a_few_images_are_answered_without_numba() -> None:
    ask = (
        "import sys, runpy; sys.argv = ['robspec', 'check', 'specs/runway/runway.pt2', 'specs/runway/runway.rspec',"
        " '--no-store']\n"
        "try: runpy.run_module('robspec', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, [m for m in ('numba', 'scipy', 'sympy', 'cvxpy', 'torch._dynamo') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 []"
