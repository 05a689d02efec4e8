"""Ties, budgets met exactly, and data sets taken as one: where a strict sign or a shared budget would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.pooled import Pool
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.examples import examples
from tests.property.questions import CPU, EPS, IGNORED, NORM, Image, K, images, opened

F = Fraction
COUNTED = ["pixel_accuracy", "stability", "recall[c1]", "iou[c1]"]


def equal(count: int, gap: float, others: int = 0) -> Image:
    """Pixels of class 1, each `gap` from class 0; and others that no budget here reaches."""
    far = 1000 * max(gap, 1.0)
    rows = [(0.0, gap, -far)] * count + [(0.0, far, -far)] * others
    return Image(tuple(rows), (1,) * len(rows))


class TestTies:
    """A tie counts as flipped (the closed ball contains the boundary)."""

    @settings(max_examples=examples(30))
    @given(image=images(), norm=NORM)
    def test_tied_pixels_are_lost_without_any_budget(self, image: Image, norm: Norm) -> None:
        kept = [y for y in image.labels if y != IGNORED]
        found = opened("pixel_accuracy", [image], norm).worst_case([F(0)])[0][0]
        safe = [
            y != IGNORED and row[y] > max(z for j, z in enumerate(row) if j != y)
            for row, y in zip(image.rows, image.labels, strict=True)
        ]
        assert found == (F(sum(safe), len(kept)) if kept else None)

    @pytest.mark.parametrize("text", COUNTED)
    @settings(max_examples=examples(20))
    @given(tied=st.integers(1, 5), sure=st.integers(0, 5), eps=EPS, norm=NORM)
    def test_a_tie_costs_nothing(self, text: str, tied: int, sure: int, eps: Fraction, norm: Norm) -> None:
        image = equal(tied, 0.0, sure)
        right = F(sure, tied + sure)
        bound = opened(text, [image], norm)
        assert bound.worst_case([eps])[0][0] == right
        assert bound.radius([(right,)], strict=False)[0][0] == 0

    @pytest.mark.parametrize("text", COUNTED)
    @settings(max_examples=examples(20))
    @given(
        root=st.integers(1, 6),
        norm=NORM,
        gap=st.sampled_from([0.25, 1.0, 3.0, 2.0**-60, 2.0**60]),
        scale=st.sampled_from([F(1), F(1, 3), F(7, 5)]),
    )
    def test_a_budget_met_exactly_is_met(self, text: str, root: int, norm: Norm, gap: float, scale: Fraction) -> None:
        """n pixels cost n gap^2 / 2 in l2, n gap in l1, gap / 2 in linf: at eps L equal to that, all are lost."""
        count = 2 * root**2
        exact = F(gap)
        reach = {L2: exact * root, L1: exact * count, LINF: exact / 2}[norm]
        image = equal(count, gap, 1)
        bound = opened(text, [image], norm, scale)
        assert bound.worst_case([reach / scale])[0][0] == F(1, count + 1)
        # A hair less than the exact price: one pixel may be kept, if it is far enough for the grid to see it.
        almost = bound.worst_case([reach / scale * (1 - F(1, 2**20))])[0][0]
        assert almost == (F(2, count + 1) if norm != LINF else F(1))
        radius = bound.radius([(F(1, count + 1),)], strict=False)[0][0]
        assert radius is not None
        assert radius != math.inf
        assert reach / scale * (1 - F(1, 2**20)) <= radius <= reach / scale

    @settings(max_examples=examples(4))
    @given(budget=st.integers(0, 70), gap=st.sampled_from([2.0**-10, 0.5, 3.0]))
    def test_thousands_of_equal_costs(self, budget: int, gap: float) -> None:
        """m^2 / (1/2) = 2 m^2 pixels of price gap^2 / 2 are lost for the budget m gap, of 8192."""
        count = 8192
        bound = opened("pixel_accuracy", [equal(count, gap)])
        lost = min(2 * budget**2, count)
        assert bound.worst_case([F(gap) * budget])[0][0] == F(count - lost, count)


def annotated(image: Image, k: int) -> bool:
    return k in image.labels


def pool_of(text: str, batches: Sequence[Sequence[Image]], norm: Norm = L2) -> Pool:
    """A pooled metric fed with batches."""
    pool = Pool(metric(text, K), K, Constant(F(1), norm, norm, ConstantStatus.PROVED))
    for batch in batches:
        logits = torch.tensor([[list(row) for row in image.rows] for image in batch])
        labels = torch.tensor([image.labels for image in batch])
        pool.add(Context(CPU, logits.permute(0, 2, 1).unsqueeze(2), labels.unsqueeze(1), IGNORED))
    return pool


class TestPooledDataSets:
    """Pooled (micro) ratios over a data set: min of sum num / sum den, each image with its own budget."""

    @settings(max_examples=examples(25))
    @given(data=st.lists(images(4), min_size=2, max_size=3), eps=EPS, norm=NORM)
    def test_between_the_least_and_the_largest_of_its_images(
        self, data: list[Image], eps: Fraction, norm: Norm
    ) -> None:
        """A quotient of sums lies between the quotients: pooling cannot be worse than every image by itself."""
        assume(all(annotated(image, 1) for image in data))
        pool = pool_of("pooled iou[c1]", [data], norm)
        found, clean = pool.worst_case([eps])[0], pool.clean()
        pool.close()
        own = [row[0] for row in opened("iou[c1]", data, norm).worst_case([eps])]
        assert found is not None
        assert clean is not None
        assert min(v for v in own if v is not None) <= found <= clean

    @settings(max_examples=examples(15))
    @given(data=st.lists(images(4), min_size=2, max_size=4), cut=st.integers(1, 3), eps=EPS)
    def test_batches_and_order_change_nothing(self, data: list[Image], cut: int, eps: Fraction) -> None:
        parts = [data, data[::-1]]
        ways = [[parts[0]], [parts[1]], [b for b in (data[:cut], data[cut:]) if b]]
        pools = [pool_of("pooled dice[c1]", batches) for batches in ways]
        found = [(pool.clean(), pool.worst_case([eps])) for pool in pools]
        for pool in pools:
            pool.close()
        assert found[0] == found[1] == found[2]

    @settings(max_examples=examples(15))
    @given(image=images(4), copies=st.integers(2, 4), eps=EPS)
    def test_copies_of_one_image_are_that_image(self, image: Image, copies: int, eps: Fraction) -> None:
        pool = pool_of("pooled iou[c1]", [[image] * copies])
        found = pool.worst_case([eps])[0]
        pool.close()
        single = pool_of("pooled iou[c1]", [[image]])
        assert single.worst_case([eps])[0] == found
        single.close()

    @settings(max_examples=examples(15))
    @given(image=images(4), untouched=st.integers(1, 5), eps=EPS)
    def test_an_image_out_of_reach_adds_its_counts(self, image: Image, untouched: int, eps: Fraction) -> None:
        """sum num / sum den, where only one image can change: its own frontier, shifted by fixed counts."""
        assume(annotated(image, 1))
        far = Image(((0.0, 1000.0, -1000.0),) * 4, (1,) * 4)
        pool = pool_of("pooled recall[c1]", [[image] + [far] * untouched])
        found = pool.worst_case([eps])[0]
        pool.close()
        own = opened("recall[c1]", [image]).worst_case([eps])[0][0]
        size = image.labels.count(1)
        assert own is not None
        assert found == (own * size + 4 * untouched) / (size + 4 * untouched)


def test_one_budget_is_not_shared_by_two_images() -> None:
    """One attack per image: what flips a pixel of one flips a pixel of each."""
    pair = [equal(2, 1.0), equal(2, 1.0)]
    logits = torch.tensor([[list(row) for row in image.rows] for image in pair]).permute(0, 2, 1).unsqueeze(2)
    seen = Context(CPU, logits, torch.ones(2, 1, 2, dtype=torch.int64), IGNORED)
    bound = open_bound(metric("pixel_accuracy", K), seen, Constant(F(1), L2, L2, ConstantStatus.PROVED))
    assert bound.worst_case([F(3, 4)]) == [(F(1, 2),), (F(1, 2),)]
