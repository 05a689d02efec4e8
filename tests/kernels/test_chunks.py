"""Images of a few chunks, small enough for kernels that are not compiled: every worker and every edge of a chunk."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch
from robspec.kernels.knapsack._cpu_classes import ClassSet
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import item_cost
from tests.kernels.available import NATIVE, REFERENCE

F = Fraction
PIXELS = 2 * 2048 + 3
CELLS = ((True, True), (True, False), (False, True), (False, False))
"""Predicted and annotated as the class set, for TP, FP, FN and TN."""


def scene(classes: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of one row, some pixels tied, some labels ignored, some wrong."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, classes, 1, PIXELS, generator=generator, dtype=torch.float64)
    logits[..., ::7] = logits[..., ::7].round()
    labels = torch.randint(0, max(classes, 2), (2, 1, PIXELS), generator=generator)
    labels[..., :2000] = logits[..., :2000].argmax(1) if classes > 1 else (logits[:, 0, :, :2000] > 0).long()
    labels[..., ::11] = 255
    return logits.to(dtype), labels


@pytest.mark.parametrize("classes", [1, 2, 5, 8])
@pytest.mark.parametrize("items", [Items.CORRECT, Items.PREDICTED])
def test_flips_over_several_chunks(classes: int, items: Items) -> None:
    logits, labels = scene(classes)
    batch = LogitsBatch(logits, labels, items, 255)
    expected = REFERENCE.prepare(batch)
    for norm in (F(1), F(2), None):
        reaches = [F(0), F(1, 10), F(1)] if norm is None else [F(0), F(1, 2), F(3), F(40), F(10**5)]
        ask = [Budget.of(e, F(1), norm, PIXELS, single=classes == 1) for e in reaches]
        flips = expected.flips(ask)
        for backend in NATIVE:
            got = backend.prepare(batch)
            for field in ("finite", "items", "valid"):
                assert getattr(got, field).tolist() == getattr(expected, field).tolist(), (backend.name, field)
            # One by one from a window of the histogram, then all together from a sorted prefix.
            for m, budget in enumerate(ask):
                assert got.flips([budget])[:, 0].tolist() == flips[:, m].tolist(), backend.name
            assert backend.prepare(batch).flips(ask).tolist() == flips.tolist(), backend.name


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_what_is_not_finite_is_found_at_the_edges_of_chunks(classes: int) -> None:
    logits, labels = scene(classes)
    for bad, at in ((math.nan, 0), (math.inf, 2047), (-math.inf, 2048), (math.nan, PIXELS - 1)):
        spoilt = logits.clone()
        spoilt[1, classes - 1, 0, at] = bad
        for backend in NATIVE:
            ranked = backend.rank(spoilt)
            batch = LogitsBatch(spoilt, labels, Items.CLASS, 255, inside=(1,), water=True, ranked=ranked)
            assert backend.prepare(LogitsBatch(spoilt, labels, Items.CORRECT)).finite.tolist() == [True, False]
            assert backend.prepare_class(batch).finite.tolist() == [True, False]


@pytest.mark.parametrize(("classes", "inside"), [(1, (1,)), (4, (1,)), (4, (0, 2)), (5, (1, 2, 4))])
@pytest.mark.parametrize(
    ("water", "share", "whole"),
    [(False, 1.0, False), (True, 1.0, False), (True, 0.5, True), (False, 0.5, True), (False, 0.5, False)],
)
def test_lists_over_several_chunks(
    classes: int, inside: tuple[int, ...], water: bool, share: float, whole: bool
) -> None:
    logits, labels = scene(classes)
    batch = LogitsBatch(
        logits, labels, Items.CLASS, 255, inside=inside, water=water, share=share, whole_when_wrong=whole
    )
    expected = REFERENCE.prepare_class(batch)
    budget = Budget.of(F(1), F(1), F(2), PIXELS, single=classes == 1, squared=water)
    for backend in NATIVE:
        got = backend.prepare_class(replace(batch, ranked=backend.rank(logits)))
        for field in ("finite", "tp", "fp", "fn", "tn"):
            assert getattr(got, field).tolist() == getattr(expected, field).tolist(), (backend.name, field)
        for image in range(2):
            for asked in ((budget, budget), (None, None)):
                for mine, theirs in zip(got.lists(image, *asked), expected.lists(image), strict=True):
                    np.testing.assert_array_equal(mine, theirs[: len(mine)], backend.name)
                    assert len(mine) == len(theirs) or asked[0] is not None


@pytest.mark.parametrize(("classes", "inside"), [(1, (1,)), (4, (1,)), (4, (0, 2))])
def test_sums_that_overflow_are_looked_at_again(classes: int, inside: tuple[int, ...]) -> None:
    logits, labels = scene(classes)
    logits[1, :, 0, 2049] = torch.finfo(torch.float32).max
    logits[0, :, 0, 0] = torch.finfo(torch.float32).min
    for backend in NATIVE:
        batch = LogitsBatch(logits, labels, Items.CLASS, 255, inside=inside, ranked=backend.rank(logits))
        assert backend.prepare(LogitsBatch(logits, labels, Items.CORRECT)).finite.tolist() == [True, True]
        assert backend.prepare_class(batch).finite.tolist() == [True, True]


@pytest.mark.parametrize(("share", "whole"), [(1.0, False), (0.5, False), (0.5, True)])
@pytest.mark.parametrize("water", [False, True])
def test_a_class_set_of_one_class_is_that_class(share: float, whole: bool, water: bool) -> None:
    logits, labels = scene(4)
    part = slice(2000, 2100)
    batch = LogitsBatch(
        logits[..., part].contiguous(),
        labels[..., part].contiguous(),
        Items.CLASS,
        255,
        inside=(2,),
        water=water,
        share=share,
        whole_when_wrong=whole,
    )
    got, expected = ClassSet(batch), REFERENCE.prepare_class(batch)
    for image in range(2):
        for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
            assert len(theirs) > 0
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found_in_every_class(classes: int, bad: float) -> None:
    """Each look at the logits sums them in a way of its own, in groups of four classes and one by one."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(classes + 1, classes, 1, 5, generator=generator)
    for k in range(classes):
        logits[k, k, 0, 2] = bad
    labels = torch.zeros(classes + 1, 1, 5, dtype=torch.int64)
    expected = [False] * classes + [True]
    sets = [(1,), (0, 2)] if classes > 2 else [(1,)]
    for backend in NATIVE:
        for items in (Items.CORRECT, Items.PREDICTED):
            assert backend.prepare(LogitsBatch(logits, labels, items)).finite.tolist() == expected
        for inside in sets:
            for ranked in (None, backend.rank(logits)):
                batch = LogitsBatch(logits, labels, Items.CLASS, inside=inside, water=True, ranked=ranked)
                assert backend.prepare_class(batch).finite.tolist() == expected


@pytest.mark.parametrize(("classes", "inside"), [(1, (1,)), (2, (1,)), (4, (3,)), (4, (0, 3)), (5, (0, 1, 2))])
@pytest.mark.parametrize(("water", "share", "whole"), [(False, 1.0, False), (True, 1.0, False), (True, 0.5, True)])
def test_labels_of_no_class_are_left_out(
    classes: int, inside: tuple[int, ...], water: bool, share: float, whole: bool
) -> None:
    logits, _ = scene(classes)
    logits = logits[..., :40].contiguous()
    labels = (torch.arange(40) % (classes + 4) - 2).reshape(1, 1, 40).repeat(2, 1, 1)
    plain = LogitsBatch(logits, labels, Items.CORRECT)
    of_class = LogitsBatch(
        logits, labels, Items.CLASS, inside=inside, water=water, share=share, whole_when_wrong=whole
    )
    expected, listed = REFERENCE.prepare(plain), REFERENCE.prepare_class(of_class)
    for backend in NATIVE:
        got = backend.prepare(plain)
        assert (got.items.tolist(), got.valid.tolist()) == (expected.items.tolist(), expected.valid.tolist())
        one = backend.prepare_class(replace(of_class, ranked=backend.rank(logits)))
        for field in ("tp", "fp", "fn", "tn"):
            assert getattr(one, field).tolist() == getattr(listed, field).tolist(), (backend.name, field)
        for image in range(2):
            for mine, theirs in zip(one.lists(image), listed.lists(image), strict=True):
                np.testing.assert_array_equal(mine, theirs, backend.name)


def test_margins_beyond_the_histogram() -> None:
    """The first and the last bucket have no other edge: 2^-40 and less, 2^24 and more."""
    exponents = [-60, -41, -40, -39.9, -39, 0, 23, 23.9, 23.99, 24, 24.01, 25, 30, 40]
    margins = torch.tensor([2.0**e for e in exponents], dtype=torch.float64)
    logits = torch.stack([margins, torch.zeros_like(margins)]).reshape(1, 2, 1, -1)
    labels = torch.zeros(1, 1, len(exponents), dtype=torch.int64)
    batch = LogitsBatch(logits, labels, Items.CORRECT)
    leaves = LogitsBatch(logits, labels, Items.CLASS, inside=(0,))
    expected, listed = REFERENCE.prepare(batch), REFERENCE.prepare_class(leaves)
    for norm in (F(1), F(2), None):
        for e in exponents:
            for factor in (F(1, 2), F(3, 4), F(1), F(5, 4)):
                budget = Budget.of(F(2.0**e) * factor, F(1), norm, len(exponents), single=False)
                count = expected.flips([budget]).tolist()
                for backend in NATIVE:
                    assert backend.prepare(batch).flips([budget]).tolist() == count, (backend.name, norm, e)
                    mine, _ = backend.prepare_class(leaves).lists(0, budget, budget)
                    theirs, _ = listed.lists(0)
                    np.testing.assert_array_equal(mine, theirs[: len(mine)])
                    # Enough to overspend, or where items flip alone, all that do.
                    assert len(mine) >= count[0][0] + (norm is not None) or len(mine) == len(theirs)


@pytest.mark.parametrize("water", [False, True])
def test_lists_reach_far_enough_for_one_budget_after_another(water: bool) -> None:
    """What was collected for one budget serves another only where it is enough for it."""
    logits, labels = scene(4)
    logits, labels = logits[:1, ..., :400].contiguous(), labels[:1, :, :400].contiguous()
    batch = LogitsBatch(logits, labels, Items.CLASS, 255, inside=(1,), water=water)
    whole = REFERENCE.prepare_class(batch).lists(0)
    norms: list[F | None] = [F(2)] if water else [F(1), F(2), None]
    asks = [
        Budget.of(eps, F(1), norm, 400, single=False, squared=water)
        for eps in (F(1), F(1, 10), F(3), F(1, 2), F(30))
        for norm in norms
    ]
    pairs = [(a, e) for a in asks for e in asks[:: len(norms)]] + [(asks[0], asks[-1]), (asks[-1], asks[0])]
    for backend in NATIVE:
        kept = backend.prepare_class(batch)
        for pair in pairs:
            for mine, theirs, budget in zip(kept.lists(0, *pair), whole, pair, strict=True):
                np.testing.assert_array_equal(mine, theirs[: len(mine)])
                if len(mine) < len(theirs):
                    spent = sum(item_cost(float(d), budget) for d in mine)
                    assert spent > budget.limit if budget.exponent else theirs[len(mine)] > budget.scale


@pytest.mark.parametrize("classes", [2, 3, 5, 8])
def test_the_first_of_tied_classes_is_predicted(classes: int) -> None:
    """Every pair of classes tied at the top with every label, also where the largest are found in groups of four."""
    triples = [(i, j, y) for i in range(classes) for j in range(i + 1, classes) for y in range(classes)]
    logits = torch.zeros(1, classes, 1, len(triples))
    for n, (i, j, _) in enumerate(triples):
        logits[0, [i, j], 0, n] = 1.0
    labels = torch.tensor([y for *_, y in triples]).reshape(1, 1, -1)
    right = [int(i == y) for i, _, y in triples]
    for backend in NATIVE:
        assert backend.prepare(LogitsBatch(logits, labels, Items.CORRECT)).items.tolist() == [sum(right)]
        ranked = backend.rank(logits)
        for inside in [(k,) for k in range(classes)] + ([(0, classes - 1)] if classes > 2 else []):
            batch = LogitsBatch(logits, labels, Items.CLASS, inside=inside, ranked=ranked)
            got = backend.prepare_class(batch)
            cells = [sum((i in inside) == a and (y in inside) == m for i, _, y in triples) for a, m in CELLS]
            assert [int(getattr(got, field)[0]) for field in ("tp", "fp", "fn", "tn")] == cells
