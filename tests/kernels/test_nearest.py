"""Entering a class priced by a pixel's largest logits: what all classes give, also where they do not decide."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch, _nearest, _ranked, backends
from robspec.kernels.knapsack._cpu_classes import AnyArray, Ranked
from robspec.kernels.knapsack.budget import Budget, costs


def drawn(kind: str, classes: int, seed: int) -> torch.Tensor:
    """Logits [2, K, 5, 6], some of them so that levels are met exactly or nothing stands out."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, classes, 5, 6, generator=generator, dtype=torch.float64)
    plateau = torch.zeros_like(z)
    plateau[:, ::2] = 1
    # Sums of n ones over n + 1, and a logit at that height.
    level = plateau.clone()
    level[:, 1::4] = (classes // 2) / (classes // 2 + 1)
    return {
        "normal": z,
        "whole": (2 * z).round(),
        "plateau": plateau,
        "level": level,
        "many": z * 1e-3 + (z > 0) * 3,
        "tiny": z * 1e-310,
        "huge": z.abs() * 1e30,
        "low": -(z.abs() ** 8),
    }[kind]


def picked(z: torch.Tensor) -> AnyArray:
    """The largest logits, worth it or not."""
    ranked = Ranked(z)
    ranked.near(10**9)
    return ranked.near(0)


@pytest.mark.parametrize("kind", ["normal", "whole", "plateau", "level", "many", "tiny", "huge", "low"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("classes", [_nearest.MANY - 1, _nearest.MANY, 70])
def test_equal_to_the_reference(kind: str, dtype: torch.dtype, classes: int) -> None:
    z = drawn(kind, classes, classes).to(dtype)
    labels = torch.randint(0, classes, (2, 5, 6), generator=torch.Generator().manual_seed(2))
    cpu, reference = backends()["cpu"], backends()["reference"]
    ranked = cpu.rank(z)
    assert isinstance(ranked, Ranked)
    ranked.near(10**9)
    for k in (0, classes // 2, classes - 1):
        for share, whole in ((1.0, False), (0.5, True)):
            how = {"inside": (k,), "water": True, "share": share, "whole_when_wrong": whole}
            batch = LogitsBatch(z, labels, Items.CLASS, 255, **how)  # type: ignore[arg-type]
            expected = reference.prepare_class(batch)
            found = cpu.prepare_class(LogitsBatch(z, labels, Items.CLASS, 255, **how, ranked=ranked))  # type: ignore[arg-type]
            for i in range(2):
                for mine, other in zip(found.lists(i), expected.lists(i), strict=True):
                    assert np.array_equal(mine, other)


@pytest.mark.parametrize("kind", ["normal", "whole", "plateau", "low"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_largest_in_class_order(kind: str, dtype: torch.dtype) -> None:
    z = drawn(kind, 40, 7).to(dtype)
    near = picked(z)
    rows = z.double().numpy().reshape(2, 40, 30)
    for b in range(2):
        for p in range(30):
            column = rows[b, :, p]
            # Stable: of equal ones the first.
            chosen = np.sort(np.argsort(-column, kind="stable")[: _nearest.NEAREST])
            assert np.array_equal(near[b, p].astype(np.float64), column[chosen])


def test_few_classes_have_none() -> None:
    assert picked(drawn("normal", _nearest.MANY - 1, 1)).shape == (2, 30, 0)


def test_they_are_picked_out_once_it_is_worth_it() -> None:
    ranked = Ranked(drawn("normal", 40, 1))
    # 48 for each of 60 pixels, 40 for an item.
    assert [ranked.near(n).shape[2] for n in (72, 1, 0)] == [0, 0, _nearest.NEAREST]


def test_most_pixels_are_settled_by_their_largest_logits() -> None:
    """Where they were not, nothing would be gained, and no other test would notice."""
    z = drawn("normal", 70, 3).double().numpy()
    near = picked(torch.from_numpy(z))
    settled = 0
    for p in range(30):
        gaps = np.sort(near[0, p].astype(np.float64) - z.reshape(2, 70, 30)[0, 5, p])[::-1]
        level = max(gaps[: n + 1].sum() / (n + 2) for n in range(len(gaps)))
        settled += gaps[-1] < level
    assert settled >= 24


@pytest.mark.parametrize("kind", ["normal", "whole", "plateau", "level", "many", "low"])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_what_a_budget_cannot_reach_is_not_priced_by_all_classes(kind: str, share: float) -> None:
    """One budget after another: the start of the whole list, as far as it costs more, whatever came before."""
    z = drawn(kind, 70, 5)
    labels = z.argmax(1)
    labels[:, 1] = 3
    how = {"inside": (9,), "water": True, "share": share, "whole_when_wrong": share != 1.0}
    batch = LogitsBatch(z, labels, Items.CLASS, 255, **how)  # type: ignore[arg-type]
    expected = backends()["reference"].prepare_class(batch)
    ranked = backends()["cpu"].rank(z)
    assert isinstance(ranked, Ranked)
    ranked.near(10**9)
    found = backends()["cpu"].prepare_class(replace(batch, ranked=ranked))
    for i in range(2):
        whole = expected.lists(i)[1]
        for part in (0.01, 0.1, 0.9, 0.3, 1.5):
            eps = Fraction(math.sqrt(part * float(whole.sum())))
            budget = Budget.of(eps, Fraction(1), Fraction(2), 30, single=False, squared=True)
            mine = found.lists(i, budget, budget)[1]
            assert np.array_equal(mine, whole[: len(mine)])
            assert len(mine) == len(whole) or costs(mine, budget).sum() > budget.limit


def test_few_are_priced_by_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all that few logits leave open were, nothing would be gained, and no other test would notice."""
    z = drawn("normal", 70, 5)
    asked: list[int] = []
    settle = _ranked.settle

    def counting(begin: int, end: int, *args: object) -> object:
        asked.append(len(args[-2]))  # type: ignore[arg-type]
        return settle(begin, end, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(_ranked, "settle", counting)
    ranked = backends()["cpu"].rank(z)
    assert isinstance(ranked, Ranked)
    ranked.near(10**9)
    batch = LogitsBatch(z, z.argmax(1), Items.CLASS, 255, inside=(9,), water=True, ranked=ranked)
    for budget in (None, Budget.of(Fraction(2), Fraction(1), Fraction(2), 30, single=False, squared=True)):
        backends()["cpu"].prepare_class(batch).lists(0, budget, budget)
    assert asked[0] > 3 * asked[1]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_an_image_of_many_chunks(share: float) -> None:
    """Each worker's items go where they belong, settled or not."""
    z = torch.randn(1, 40, 90, 90, generator=torch.Generator().manual_seed(6))
    labels = torch.where(torch.rand(1, 90, 90) < 0.8, z.argmax(1), torch.randint(0, 40, (1, 90, 90)))
    ranked = backends()["cpu"].rank(z)
    assert isinstance(ranked, Ranked)
    ranked.near(10**9)
    how = {"inside": (7,), "water": True, "share": share, "whole_when_wrong": share != 1.0}
    batch = LogitsBatch(z, labels, Items.CLASS, 255, **how)  # type: ignore[arg-type]
    expected = backends()["numpy"].prepare_class(batch).lists(0)
    for eps in (None, 2, 20):
        found = backends()["cpu"].prepare_class(replace(batch, ranked=ranked))
        budget = eps and Budget.of(Fraction(eps), Fraction(1), Fraction(2), 8100, single=False, squared=True)
        for mine, whole in zip(found.lists(0, budget or None, budget or None), expected, strict=True):
            assert np.array_equal(mine, whole[: len(mine)])
            assert len(mine) == len(whole) or (budget and costs(mine, budget).sum() > budget.limit)
    # Lower prices are within all of these budgets: every item is within reach, and yet not all were priced.
    found, lengths = backends()["cpu"].prepare_class(replace(batch, ranked=ranked)), []
    for part in (0.85, 0.9, 0.95):
        eps = Fraction(math.sqrt(part * float(expected[1].sum())))
        budget = Budget.of(eps, Fraction(1), Fraction(2), 8100, single=False, squared=True)
        mine = found.lists(0, budget, budget)[1]
        assert np.array_equal(mine, expected[1][: len(mine)])
        assert costs(mine, budget).sum() > budget.limit
        lengths.append(len(mine))
    assert lengths[0] < lengths[2]
