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
from tests.kernels.available import NATIVE, REFERENCE

F = Fraction
PIXELS = 2 * 2048 + 3


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
@pytest.mark.parametrize(("water", "share", "whole"), [(False, 1.0, False), (True, 1.0, False), (True, 0.5, True)])
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
