"""Classes on logits ranked once by Triton: the integers of the reference, and of the kernel that ranks nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch, _triton_launch, triton_cuda
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import item_cost
from robspec.kernels.knapsack.triton_cuda import TritonBackend
from tests.kernels.available import REFERENCE

pytestmark = pytest.mark.skipif(
    triton_cuda.BACKEND.unavailable() is not None, reason=f"triton: {triton_cuda.BACKEND.unavailable()}"
)
BACKEND = TritonBackend(block=64)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
PRICES = [(False, 1.0, False), (True, 1.0, False), (True, 0.5, True), (False, 0.5, True), (True, 1 / 3, False)]
"""Water filling or not, share, whole when wrong."""


def scene(classes: int, dtype: torch.dtype, layout: str = "contiguous") -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of 5 x 15, a third of the pixels tied for the largest, with zeros of both signs and odd labels."""
    generator = torch.Generator().manual_seed(classes)
    z = torch.randn(2, classes, 5, 15, generator=generator).mul(4).round().div(2)
    z[:, :, 2] = torch.where(torch.rand(2, classes, 15, generator=generator) < 0.5, 0.0, -0.0)
    z[:, :, 3] += torch.randn(2, classes, 15, generator=generator) * 1e-3
    z[:, :2, 4] = 9
    z = z.to(dtype)
    if layout == "channels_last":
        z = z.to(memory_format=torch.channels_last)
    elif layout == "sliced":
        z = torch.stack([z, z + 1], dim=-1).flatten(3)[..., ::2]
    elif layout == "turned":
        z = z.transpose(2, 3).contiguous().transpose(2, 3)
    labels = torch.where(
        torch.rand(2, 5, 15, generator=generator) < 0.6,
        z.float().argmax(1),
        torch.randint(0, classes, (2, 5, 15), generator=generator),
    )
    labels[:, 0, ::4] = 2
    labels[:, 1, ::5] = torch.tensor([-3, classes, 2**40])
    labels[:, 1, 1] = 255
    # Labels whose logit is the largest, and not the first that is.
    labels[:, 4, ::2] = 1
    return z, labels


def assert_same(batch: LogitsBatch, classes: Sequence[int], *others: TritonBackend) -> None:
    """Compare every class on one ranking with the reference, and with other backends that are given no ranks."""
    ranked = BACKEND.rank(batch.logits)
    for k in classes:
        of_class = replace(batch, inside=(k,))
        expected = REFERENCE.prepare_class(of_class)
        found = [BACKEND.prepare_class(replace(of_class, ranked=ranked))]
        found += [backend.prepare_class(of_class) for backend in others]
        for got in found:
            for field in ("tp", "fp", "fn", "tn", "finite"):
                assert getattr(got, field).tolist() == getattr(expected, field).tolist(), field
            flags = ("pixels", "single", "leave_squared", "enter_squared")
            assert [getattr(got, f) for f in flags] == [getattr(expected, f) for f in flags]
            for image in np.flatnonzero(expected.finite).tolist():
                for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
                    np.testing.assert_array_equal(mine, theirs)
                    assert not (mine < 0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("priced", PRICES)
@pytest.mark.parametrize("classes", [2, 5])
def test_every_class_equals_the_reference(classes: int, priced: tuple[bool, float, bool], dtype: torch.dtype) -> None:
    z, labels = scene(classes, dtype)
    water, share, whole = priced
    how = {"water": water, "share": share, "whole_when_wrong": whole}
    batch = LogitsBatch(z, labels, Items.CLASS, 2, inside=(0,), **how)  # type: ignore[arg-type]
    assert_same(batch, range(classes), TritonBackend(block=64))


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "turned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ignore", [None, 255])
def test_strided_logits_and_labels(layout: str, dtype: torch.dtype, ignore: int | None) -> None:
    z, labels = scene(4, dtype, layout)
    labels = labels.transpose(1, 2).contiguous().transpose(1, 2)
    batch = LogitsBatch(z, labels, Items.CLASS, ignore, (0,), water=True, share=0.5, whole_when_wrong=True)
    assert_same(batch, range(4), TritonBackend(block=128))
    assert_same(LogitsBatch(z[1:], labels[1:], Items.CLASS, ignore, (0,), water=True), [1, 3])


def test_more_classes_than_a_byte_names() -> None:
    z, labels = scene(5, torch.float32)
    many = torch.full((2, 256, 5, 15), -9.0)
    many[:, [0, 1, 200, 254, 255]] = z
    labels[:, 4] = torch.tensor([0, 1, 200, 254, 255]).repeat(3)
    for classes, some in ((256, [0, 255]), (255, [254])):
        batch = LogitsBatch(many[:, :classes].contiguous(), labels, Items.CLASS, None, inside=(0,))
        assert_same(batch, some)
        ranked: Any = BACKEND.rank(batch.logits)
        assert ranked.best.dtype is (torch.uint8 if classes == 255 else torch.int32)


@pytest.mark.parametrize("largest", [torch.finfo(torch.float64).max, 5e-324, 1e-160])
def test_distances_beyond_doubles(largest: float) -> None:
    """Gaps or their squares overflow to infinity, or vanish."""
    z = scene(3, torch.float64)[0].sign() * largest
    z[:, 1] /= 2
    labels = torch.randint(0, 3, (2, 5, 15), generator=torch.Generator().manual_seed(0))
    for share, water in ((1.0, True), (0.5, True), (1.0, False)):
        assert_same(LogitsBatch(z, labels, Items.CLASS, None, (0,), water=water, share=share), range(3))


@pytest.mark.parametrize("least", [2.0**-133, 2.0**-24])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_subnormal_half_types(dtype: torch.dtype, least: float) -> None:
    z = (scene(3, torch.float64)[0] * least).to(dtype)
    labels = torch.randint(0, 3, (2, 5, 15), generator=torch.Generator().manual_seed(0))
    assert_same(LogitsBatch(z, labels, Items.CLASS, None, (0,), water=True), range(3))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("k", [0, 2])
def test_an_image_that_is_not_finite_is_seen_and_leaves_the_other_alone(bad: float, k: int) -> None:
    z, labels = scene(3, torch.float32)
    z[1, k, 4, 14] = bad
    batch = LogitsBatch(z, labels, Items.CLASS, 2, (0,), water=True)
    ranked = BACKEND.rank(z)
    for j in range(3):
        got = BACKEND.prepare_class(replace(batch, inside=(j,), ranked=ranked))
        expected = REFERENCE.prepare_class(replace(batch, inside=(j,)))
        assert got.finite.tolist() == [True, False]
        assert [part.size for part in got.lists(1)] == [0, 0]
        for mine, theirs in zip(got.lists(0), expected.lists(0), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("water", "share", "whole"), PRICES)
def test_lists_reach_as_far_as_the_budget_and_not_much_farther(water: bool, share: float, whole: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(2, 6, 20, 31, generator=generator)
    labels = torch.where(
        torch.rand(2, 20, 31, generator=generator) < 0.7,
        z.argmax(1),
        torch.randint(0, 6, (2, 20, 31), generator=generator),
    )
    batch = LogitsBatch(z, labels, Items.CLASS, 5, (3,), water=water, share=share, whole_when_wrong=whole)
    whole_lists = REFERENCE.prepare_class(batch)
    squared = water or share != 1.0
    short = 0
    for norm in [Fraction(2)] if squared else [Fraction(1), Fraction(2), None]:
        got = BACKEND.prepare_class(replace(batch, ranked=BACKEND.rank(z)))
        # Rising, falling and rising again: what is kept is used where it is enough.
        for eps in (Fraction(1, 100), Fraction(1), Fraction(1, 2), Fraction(400), Fraction(2)):
            asked = [
                Budget.of(eps, Fraction(1), norm, 620, single=False, squared=s and norm == 2)
                for s in (whole_lists.leave_squared, whole_lists.enter_squared)
            ]
            for image in range(2):
                pairs = zip(got.lists(image, *asked), whole_lists.lists(image), asked, strict=True)
                for mine, everything, budget in pairs:
                    np.testing.assert_array_equal(mine, everything[: len(mine)])
                    costs = [item_cost(float(d), budget) for d in everything]
                    if len(mine) < len(everything):
                        paid = sum(costs[: len(mine)]) if budget.exponent else costs[len(mine)]
                        assert paid > budget.limit
                        short += len(mine) < len(everything) // 4
    assert short > 2


def test_logits_are_read_whole_once_for_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the ranking, water filling alone looks at all logits, of the pixels within reach."""
    names, priced = [], []
    launch = _triton_launch.launch

    def recorded(name: str, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        names.append(name)
        if name == "price_class":
            priced.append(arguments[-1])
        launch(name, grid, *arguments, **constants)

    monkeypatch.setattr(_triton_launch, "launch", recorded)
    z, labels = scene(5, torch.float32)
    budget = Budget.of(Fraction(1, 4), Fraction(1), Fraction(2), 75, single=False, squared=True)
    for water in (False, True):
        names.clear()
        ranked = BACKEND.rank(z)
        enters = 0
        for k in range(5):
            batch = LogitsBatch(z, labels, Items.CLASS, None, (k,), water=water, ranked=ranked)
            got = BACKEND.prepare_class(batch)
            got.lists(0, budget, budget)
            enters += int(got.tn[0])
        assert names.count("rank_pixels") == names.count("narrow_labels") == 1
        assert names.count("read_class_ranked") == 5
        others = set(names) - {"rank_pixels", "narrow_labels", "read_class_ranked", "collect_class"}
        assert others == ({"price_class"} if water else set())
    assert 0 < sum(priced) < enters / 2


def test_labels_are_told_apart_by_what_they_are_and_what_is_ignored() -> None:
    z, labels = scene(3, torch.float32)
    ranked = BACKEND.rank(z)
    for given, ignore in ((labels, 2), (labels, None), (labels, 0), (labels.flip(2), 0), (labels, 0)):
        batch = LogitsBatch(z, given, Items.CLASS, ignore, (1,), ranked=ranked)
        got, expected = BACKEND.prepare_class(batch), REFERENCE.prepare_class(batch)
        for field in ("tp", "fp", "fn", "tn"):
            assert getattr(got, field).tolist() == getattr(expected, field).tolist()


@pytest.mark.parametrize("poison", [math.nan, 1.0])
def test_scratch_is_written_before_it_is_read(poison: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = set()

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        made.add(dtype)
        return torch.full(shape, poison if dtype.is_floating_point else 1, dtype=dtype, device=device)

    monkeypatch.setattr(_triton_launch, "scratch", poisoned)
    z, labels = scene(4, torch.float32)
    assert_same(LogitsBatch(z, labels, Items.CLASS, 2, (0,), water=True), range(4))
    assert made == {torch.float32, torch.float64, torch.uint8, torch.int32}


def test_a_single_logit_is_not_ranked_and_a_set_of_classes_reads_by_itself() -> None:
    assert BACKEND.rank(torch.zeros(1, 1, 2, 2)) is None
    z, labels = scene(4, torch.float32)
    batch = LogitsBatch(z, labels, Items.CLASS, 2, (0, 3), water=True, ranked=BACKEND.rank(z))
    got, expected = BACKEND.prepare_class(batch), REFERENCE.prepare_class(batch)
    for image in range(2):
        for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_ranks_of_other_logits_are_refused() -> None:
    z, labels = scene(3, torch.float32)
    batch = LogitsBatch(z, labels, Items.CLASS, None, (1,), ranked=BACKEND.rank(z.clone()))
    with pytest.raises(ValueError, match="other logits"):
        BACKEND.prepare_class(batch)
