"""The parts of the pooled bound, each against every choice of one reachable pair per image."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds._spooled import Lists
from robspec.bounds.confusion import Confusion
from robspec.bounds.context import Context
from robspec.bounds.pooled import Frontier, Pool, _cheapest, _frontier, pooled_extreme
from robspec.ir.plans import PooledMean
from robspec.ir.types import Metric, Property, WorstCaseQuery
from robspec.oracle import pooled as oracle
from robspec.oracle.scene import Scene
from robspec.recheck import pooled as recheck
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.bounds.test_confusion import confusion
from tests.kernels.available import CPU

F = Fraction
IOU = metric("pooled iou[c1]", 2)
MISSED = metric("pooled m[c1]", 2, "metric m(k) lower_is_better = FN[k] / (FN[k] + TN[k])")


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def frontier(above: list[int], below: list[int]) -> Frontier:
    return Frontier(np.array(above, dtype=np.int64), np.array(below, dtype=np.int64))


def image(margins: list[float], labels: list[int]) -> Context:
    """Two classes; a positive margin is predicted as class 1."""
    logits = torch.tensor([[0.0, m] for m in margins], dtype=torch.float64).T.reshape(1, 2, 1, -1)
    return Context(CPU, logits, torch.tensor(labels).reshape(1, 1, -1), 255)


@pytest.mark.parametrize("asked", [IOU, MISSED], ids=["higher", "lower"])
@pytest.mark.parametrize("seed", range(12))
def test_the_worst_quotient_of_sums_is_that_of_every_choice(asked: Metric, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = []
    for size in rng.integers(1, 5, size=rng.integers(1, 4)).tolist():
        below = rng.integers(0 if seed % 3 == 0 else 1, 9, size=size)
        images.append(frontier(rng.integers(0, below + 1).tolist(), below.tolist()))
    sums = []
    for choice in itertools.product(*(range(len(f.above)) for f in images)):
        chosen = list(zip(images, choice, strict=True))
        sums.append((sum(int(f.above[i]) for f, i in chosen), sum(int(f.below[i]) for f, i in chosen)))
    got = pooled_extreme(asked, images)
    if all(d == 0 for _, d in sums):
        assert got is None
    elif any(d == 0 for _, d in sums):
        assert got == (1 if asked.lower_is_better else 0)
    else:
        values = [F(n, d) for n, d in sums]
        assert got == (max(values) if asked.lower_is_better else min(values))


def test_denominators_that_are_or_may_become_zero() -> None:
    assert pooled_extreme(IOU, [frontier([0], [0]), frontier([0, 0], [0, 0])]) is None
    assert pooled_extreme(IOU, [frontier([3, 0], [4, 0]), frontier([0], [0])]) == 0
    assert pooled_extreme(MISSED, [frontier([1, 0], [4, 0]), frontier([0], [0])]) == 1
    assert pooled_extreme(IOU, [frontier([3, 0], [4, 0]), frontier([1], [1])]) == F(4, 5)
    assert pooled_extreme(IOU, [frontier([1], [1])]) == 1


def test_the_least_by_integers_of_any_size() -> None:
    above, below = np.array([5, 3, 4], dtype=np.int64), np.array([10, 8, 9], dtype=np.int64)
    assert _cheapest(above, below, F(0)) == 1
    assert _cheapest(above, below, F(1, 2)) == 1
    assert _cheapest(above, below, F(3)) == 0
    assert _cheapest(above, below, F(-1)) == 1
    # Each of these overflows 64 bits when multiplied out.
    for n, d, price in (
        ([2**40, 2**40 - 1], [1, 1], F(1, 2**40)),
        ([0, 0], [2**40, 2**40 + 1], F(2**40, 3)),
        ([1, 0], [2**61, 2**61 - 1], F(1, 2)),
        ([2**62, 2**62 - 1], [3, 3], F(1, 3)),
        ([-(2**40), 2**40 - 1, 1 - 2**40], [1, 1, 1], F(1, 2**30)),
        ([0, 0], [2**40, 2**40 + 2**23 + 1], F(2**40, 3)),
    ):
        exact = [x - price * y for x, y in zip(n, d, strict=True)]
        found = _cheapest(np.array(n, dtype=np.int64), np.array(d, dtype=np.int64), price)
        assert exact[found] == min(exact)
        assert found == exact.index(min(exact))


def test_the_frontier_of_an_image_in_counts() -> None:
    it = confusion([1.0, 2.0], [1.0, 2.0, 3.0], fp=1, fn=4)
    a, b = np.array([0, 1, 2]), np.array([3, 1, 0])
    found = _frontier(metric("pooled dice[c1]", 2), it, a, b)
    assert found.above.tolist() == [4, 2, 0]
    assert found.below.tolist() == [4 + 4 + 4, 2 + 2 + 5, 1 + 6]
    assert found.above.dtype == found.below.dtype == np.int64
    # 2^58 times the 16 counted pixels is too much; a quarter of it is not.
    for coefficient, kind in ((2**58, object), (2**56, np.int64)):
        heavy = metric(
            "pooled heavy[c1]", 2, f"metric heavy(k) = {coefficient} * TP[k] / ({coefficient} * TP[k] + FN[k])"
        )
        large = _frontier(heavy, confusion([1.0] * 8, [1.0] * 8), np.array([0]), np.array([0]))
        assert large.above.dtype == large.below.dtype == kind
        assert large.above.tolist() == large.below.tolist() == [8 * coefficient]
    lost = _frontier(MISSED, it, a, b)
    assert (lost.above.tolist(), lost.below.tolist()) == ([4, 5, 6], [4 + 0, 5 + 2, 6 + 3])


def test_lists_come_back_from_their_file_bit_by_bit() -> None:
    lists = Lists()
    given = [np.array([0.0, -0.0, 1e-320, np.inf]), np.empty(0), np.arange(9.0)[::2], np.full(70_000, 0.1)]
    kept = [lists.keep(values) for values in given]
    for _ in range(2):
        for read, values in zip(reversed(kept), reversed(given), strict=True):
            found = read()
            assert found.tobytes() == values.tobytes()
            found[:] = -1  # nobody else's
    lists._file.truncate(8)
    with pytest.raises(OSError, match="shorter"):
        kept[-1]()
    lists.close()
    assert lists._file.closed
    forgotten = Lists()
    file = forgotten._file
    del forgotten
    assert file.closed


@pytest.mark.parametrize("largest", [None, F(5)])
def test_images_share_a_quotient_and_no_budget(largest: Fraction | None) -> None:
    pool = Pool(IOU, 2, constant(LINF), largest)
    pool.add(image([2.0, 4.0, -2.0], [1, 1, 0]))
    pool.add(image([6.0, -8.0], [1, 0]))
    assert pool.images == 2
    assert pool.clean() == 1
    assert pool.worst_case([F(0), F(1), F(2), F(3), F(4)]) == (F(1), F(2, 4), F(1, 4), F(0), F(0))
    folders = [p for kept in pool._kept for p in kept]
    assert len(folders) == 2
    pool.close()


def test_a_denominator_that_the_attack_takes_away() -> None:
    """In linf one pair of flips stands for a budget: with no pixel predicted at all precision is at its worst."""
    pool = Pool(metric("pooled precision[c1]", 2), 2, constant(LINF))
    pool.add(image([2.0], [1]))
    pool.add(image([4.0], [1]))
    assert pool.worst_case([F(0), F(1), F(2)]) == (1, 1, 0)
    radius = pool.radius(F(1, 2), strict=False)
    assert isinstance(radius, Fraction)
    assert 2 - F(1, 10**12) < radius < 2
    assert pool.worst_case([radius]) == (1,)
    pool.close()


@pytest.mark.parametrize("cell", ["tp", "fp", "fn", "tn"])
def test_integers_that_may_not_fit_64_bits_have_any_size(cell: str) -> None:
    """Coefficients of sixteen digits times a thousand counts, whichever cell they are of."""
    asked = metric(
        "pooled heavy[c1]",
        2,
        "metric heavy(k) = TP[k] / (TP[k] + 0.1234567890123457 * FP[k] + 0.9876543210987653 * FN[k])",
    )
    counts = {**dict.fromkeys(("tp", "fp", "fn", "tn"), 0), cell: 1000}
    none = np.empty(0)
    c = Confusion(
        **counts,
        leaves=0,
        enters=0,
        lists=lambda _leave, _enter: (none, none),
        pixels=1000,
        single=False,
        leave_squared=False,
        enter_squared=False,
    )
    zero = np.array([0], dtype=np.int64)
    assert _frontier(asked, c, zero, zero).below.dtype == object


@pytest.mark.parametrize("lower", [False, True])
def test_what_a_vanished_pooled_denominator_counts_as(lower: bool) -> None:
    """The worst end of the values, whichever end that is, as a worst case and for a radius."""
    wrong = metric("pooled wrong[c1]", 2, "metric wrong(k) lower_is_better = FP[k] / (TP[k] + FP[k])")
    asked = wrong if lower else metric("pooled precision[c1]", 2)
    pool = Pool(asked, 2, constant(L2))
    pool.add(image([1.0, 1.0], [1, 1]))
    clean, worst = (0, 1) if lower else (1, 0)
    assert pool.worst_case([F(0), F(10)]) == (clean, worst)
    radius = pool.radius(F(1, 2), strict=False)
    assert isinstance(radius, Fraction)
    # Two margins of 1 cost half of 1 each.
    assert 1 - F(1, 10**9) < radius < 1
    pool.close()


def test_a_mean_over_pooled_classes_leaves_out_those_never_annotated() -> None:
    asked = metric("pooled mean_iou", 3)
    pool = Pool(asked, 3, constant(LINF))
    logits = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 8.0]], dtype=torch.float64).T.reshape(1, 3, 1, 3)
    pool.add(Context(CPU, logits, torch.tensor([[[0, 1, 1]]]), 255))
    # c0: 1; c1: 1/2; c2 is not annotated.
    assert pool.clean() == F(3, 4)
    assert pool.worst_case([F(0), F(1, 2)]) == (F(3, 4), F(3, 4))
    # c0 loses its pixel; c1 keeps none of its own.
    assert pool.worst_case([F(1)]) == (F(0),)
    pool.close()
    empty = Pool(asked, 3, constant(LINF))
    empty.add(Context(CPU, logits, torch.full((1, 1, 3), 255), 255))
    assert empty.clean() is None
    assert empty.worst_case([F(1), F(2)]) == (None, None)
    assert empty.radius(F(1, 2), strict=False) is None
    empty.close()


def test_a_pool_of_chosen_classes() -> None:
    logits = torch.tensor([[2.0, 0, 0], [0, 2.0, 0]], dtype=torch.float64).T.reshape(1, 3, 1, 2)
    seen = Context(CPU, logits, torch.tensor([[[0, 2]]]), 255)
    mean = metric("pooled mean_iou", 3)
    for classes, value in (((0,), F(1)), ((2,), F(0)), ((0, 2), F(1, 2)), ((), F(1, 2))):
        pool = Pool(replace(mean, plan=PooledMean(mean.formula, classes)), 3, constant(L2))
        pool.add(seen)
        assert pool.clean() == value
        pool.close()


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
def test_a_radius_is_where_the_answer_changes(norm: Norm) -> None:
    pool = Pool(IOU, 2, constant(norm, F(3, 2)))
    pool.add(image([2.0, 4.0, -2.0], [1, 1, 0]))
    pool.add(image([6.0, -8.0], [1, 0]))
    for gamma in (F(9, 10), F(1, 2), F(1, 5), F(0)):
        radius = pool.radius(gamma, strict=False)
        assert isinstance(radius, Fraction)
        here, beyond = pool.worst_case([radius, F(math.nextafter(float(radius), math.inf))])
        assert here is not None
        assert beyond is not None
        assert here > gamma >= beyond
    assert pool.radius(F(1), strict=False) == 0
    assert pool.radius(F(0), strict=True) == math.inf
    assert pool.radius(None, strict=True) is None
    first = pool.radius(F(1), strict=True)
    assert isinstance(first, Fraction)
    assert first > 0
    pool.close()


def test_a_constant_of_zero_moves_nothing_but_ties() -> None:
    pool = Pool(IOU, 2, constant(L2, F(0)))
    pool.add(image([2.0, 0.0, -1.0], [1, 0, 0]))
    assert pool.worst_case([F(9)]) == (F(1, 2),)
    assert pool.radius(F(1, 2), strict=False) == 0 or pool.radius(F(1, 2), strict=False) == F(0)
    assert pool.radius(F(1, 3), strict=False) == math.inf
    pool.close()


def test_what_a_pool_refuses() -> None:
    odd = metric("odd[c1]", 2, "metric odd(k) = TP[k] / (TP[k] + FN[k]) * (TN[k] + 1) / (FP[k] + TN[k] + 1)")
    for asked in (odd, metric("pixel_accuracy", 2)):
        with pytest.raises(ValueError, match="cannot be pooled"):
            Pool(asked, 2, constant(L2))
    pool = Pool(IOU, 2, constant(L2), F(1))
    pool.add(image([2.0], [1]))
    assert pool.worst_case([F(1)]) == (F(1),)
    with pytest.raises(ValueError, match="larger than the largest"):
        pool.worst_case([F(1, 2), F(1001, 1000)])
    with pytest.raises(ValueError, match="no radius"):
        pool.radius(F(1, 2), strict=False)
    held = pool._lists._file
    assert not held.closed
    pool.close()
    assert held.closed


@pytest.mark.parametrize(
    ("text", "margins", "labels", "clean"),
    [
        # Nothing is predicted as the class, but it is annotated: the worst value, as on a single image.
        ("pooled precision[c1]", [-2.0, -3.0], [1, 0], F(0)),
        ("pooled precision[c1]", [2.0, -3.0], [1, 0], F(1)),
        # Not annotated anywhere: undefined, whatever is predicted.
        ("pooled precision[c1]", [2.0, -3.0], [0, 0], None),
        ("pooled iou[c1]", [2.0, -3.0], [0, 0], None),
        ("pooled iou[c1]", [-2.0, -3.0], [0, 0], None),
    ],
)
def test_the_annotation_decides_whether_a_pooled_value_is_defined(
    text: str, margins: list[float], labels: list[int], clean: Fraction | None
) -> None:
    """Definedness is decided by the annotation, never by an attackable quantity (MATH.md section 4)."""
    asked = metric(text, 2)
    pool = Pool(asked, 2, constant(LINF))
    pool.add(image(margins, labels))
    pool.add(image(margins[1:], [0]))
    assert pool.clean() == clean
    assert pool.worst_case([F(10)]) == (None if clean is None else F(0),)
    pool.close()
    scenes = [
        Scene(
            np.array([[0.0, m] for m in found]),
            np.array(true),
            np.zeros(len(true), np.bool_),
            np.ones(len(true), np.bool_),
            np.ones(len(true)),
            None,
        )
        for found, true in ((margins, labels), (margins[1:], [0]))
    ]
    assert oracle.clean_value(asked, scenes) == clean
    prop = Property("p", WorstCaseQuery(asked, LINF, (F(1),)), ())
    again = recheck.Pool(prop, constant(LINF))
    for scene in scenes:
        again.add(scene)
    assert again.clean() == clean


@pytest.mark.parametrize(("norm", "water"), [(L1, False), (L2, True), (LINF, False)], ids=["l1", "l2", "linf"])
def test_a_pool_fills_up_where_costs_are_squares(norm: Norm, water: bool) -> None:
    seen = image([2.0], [1])
    one_class, read = seen.one_class, []

    def spy(metric: Metric, inside: tuple[int, ...], *, water: bool) -> object:
        read.append((inside, water))
        return one_class(metric, inside, water=water)

    seen.one_class = spy  # type: ignore[method-assign,assignment]
    pool = Pool(IOU, 2, constant(norm))
    pool.add(seen)
    assert read == [((1,), water)]
    assert pool.images == 1
    pool.close()


def test_a_denominator_of_one_is_no_vanished_one() -> None:
    assert pooled_extreme(IOU, [frontier([3, 0], [4, 1])]) == 0
    assert pooled_extreme(MISSED, [frontier([0, 1], [4, 1])]) == 1
    assert pooled_extreme(MISSED, [frontier([0, 1], [4, 2]), frontier([0], [0])]) == F(1, 2)


def test_the_radius_where_every_denominator_may_vanish() -> None:
    """One true positive at a margin of 2 and nothing else predicted: precision counts as 0 once it is gone."""
    pool = Pool(metric("pooled precision[c1]", 2), 2, constant(LINF))
    pool.add(image([2.0, -9.0], [1, 1]))
    pool.add(image([-9.0, -9.0], [0, 1]))
    assert pool.worst_case([F(99, 100), F(1), F(4)]) == (F(1), F(0), F(0))
    radius = pool.radius(F(1, 2), strict=False)
    assert radius is not None
    assert 1 - F(1, 10**12) < radius < 1
    pool.close()


def test_a_share_of_all_pixels_is_defined_where_there_are_any() -> None:
    share = metric("pooled right[c1]", 2, "metric right(k) = (TP[k] + TN[k]) / (TP[k] + FP[k] + FN[k] + TN[k])")
    pool = Pool(share, 2, constant(LINF))
    assert pool.clean() is None
    pool.add(image([2.0, -9.0, 9.0], [1, 0, 0]))
    pool.add(image([2.0], [255]))
    assert pool.clean() == F(2, 3)
    assert pool.worst_case([F(1)]) == (F(1, 3),)
    pool.close()


def test_a_denominator_of_one_that_is_not_the_last_price() -> None:
    assert pooled_extreme(IOU, [frontier([5, 1], [2, 1])]) == 1
    assert pooled_extreme(IOU, [frontier([9, 1], [2, 1]), frontier([0, 0], [0, 0])]) == 1


def test_a_largest_budget_keeps_what_it_pays_for() -> None:
    far = [1000.0 + n for n in range(3000)]
    sizes = []
    for largest in (None, F(1)):
        pool = Pool(IOU, 2, constant(L2), largest)
        pool.add(image([0.5, *far, -0.5, *(-m for m in far)], [1] * 3001 + [0] * 3001))
        ((items,),) = pool._kept
        sizes.append([len(x) for x in items.lists(None, None)])
        pool.close()
    assert sizes[0] == [3001, 3001]
    assert all(1 <= size < 1000 for size in sizes[1])
