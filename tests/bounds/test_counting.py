"""Counts, flips and radii of pixel accuracy, stability and one-class rates, worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from robspec.bounds import counting, open_bound, ratio
from robspec.bounds.context import Context
from robspec.bounds.counting import _flips_needed
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.kernels.available import CPU

F = Fraction


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def batch(*images: list[tuple[float, int]]) -> Context:
    """Two classes: a positive margin is predicted as class 1, with its label."""
    logits = torch.tensor([[[0.0 for _ in i], [m for m, _ in i]] for i in images], dtype=torch.float64)
    return Context(CPU, logits.unsqueeze(2), torch.tensor([[[y for _, y in i]] for i in images]), 255)


TWO = batch([(2.0, 1), (4.0, 1), (-6.0, 1), (1.0, 255)], [(1.0, 255)] * 4)
"""Two of three right in the first image, nothing to count in the second."""


@pytest.mark.parametrize(
    ("items", "valid", "gamma", "strict", "needed"),
    [
        (3, 4, F(3, 4), False, 0),
        (3, 4, F(3, 4), True, 1),
        (3, 4, F(1, 2), False, 1),
        (3, 4, F(1, 2), True, 2),
        (3, 4, F(2, 5), False, 2),
        (3, 4, F(2, 5), True, 2),
        (3, 4, F(0), False, 3),
        (3, 4, F(0), True, 4),
        (3, 4, F(-1), False, 4),
        (3, 4, F(-1), True, 4),
        (3, 4, F(2), False, 0),
        (3, 4, F(2), True, 0),
        (0, 4, F(-1), True, 1),
        (3, 0, F(1, 2), True, 0),
        (3, 4, None, True, 0),
        (3, 4, None, False, 0),
        (0, 0, F(-1), True, 0),
    ],
)
def test_fewest_flips(items: int, valid: int, gamma: Fraction | None, strict: bool, needed: int) -> None:
    assert _flips_needed(items, valid, gamma, strict=strict) == needed


def test_accuracy_loses_a_pixel_at_each_margin() -> None:
    bound = open_bound(metric("pixel_accuracy", 2), TWO, constant(LINF))
    assert isinstance(bound, counting.Bound)
    assert bound.metric is metric("pixel_accuracy", 2)
    assert bound.clean() == [F(2, 3), None]
    budgets = [F(0), F(99, 100), F(1), F(2), F(50)]
    assert bound.worst_case(budgets) == [(F(2, 3), F(2, 3), F(1, 3), F(0), F(0)), (None,) * 5]
    doubled = open_bound(metric("pixel_accuracy", 2), TWO, constant(LINF, F(2)))
    assert doubled.worst_case([F(1, 2), F(1)]) == [(F(1, 3), F(0)), (None, None)]


def test_radii_of_accuracy() -> None:
    bound = open_bound(metric("pixel_accuracy", 2), TWO, constant(L1))
    gammas = [(F(2, 3), F(1, 2), F(0), F(-1), None), (F(1, 2), None, F(0), F(0), F(0))]
    got = bound.radius(gammas, strict=False)
    assert got[1] == (None,) * 5
    assert got[0][0] == 0
    assert got[0][1] == pytest.approx(2.0, rel=1e-9)
    assert got[0][2] == pytest.approx(6.0, rel=1e-9)
    assert got[0][3:] == (math.inf, None)
    assert all(isinstance(r, Fraction) for r in got[0][:3])
    strict = bound.radius(gammas, strict=True)[0]
    assert strict[0] == got[0][1]
    assert strict[1] == got[0][1]
    assert strict[2:] == (math.inf, math.inf, None)


def test_a_single_logit_has_no_factor() -> None:
    logits = torch.tensor([1.0, -2.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    seen = Context(CPU, logits, torch.tensor([[[1, 0]]]), 255)
    bound = open_bound(metric("pixel_accuracy", 2, single=True), seen, constant(L2))
    assert bound.worst_case([F(3, 4), F(1), F(3)]) == [(F(1), F(1, 2), F(0))]
    recall = open_bound(metric("recall[c1]", 2, single=True), seen, constant(L2))
    assert recall.worst_case([F(3, 4), F(1)]) == [(F(1), F(0))]


@pytest.mark.parametrize(
    ("text", "clean", "worst"),
    [
        ("recall[c1]", F(2, 3), (F(2, 3), F(1, 3), F(1, 3), F(0))),
        ("fnr[c1]", F(1, 3), (F(1, 3), F(2, 3), F(2, 3), F(1))),
        ("specificity[c1]", F(1, 2), (F(1, 2), F(1, 2), F(0), F(0))),
        ("fpr[c1]", F(1, 2), (F(1, 2), F(1, 2), F(1), F(1))),
        ("iou[c1]", F(1, 2), (F(1, 2), F(1, 4), F(1, 5), F(0))),
    ],
)
def test_a_rate_reads_one_list_and_no_budget_goes_to_the_other(
    text: str, clean: Fraction, worst: tuple[Fraction, ...]
) -> None:
    # Class 1 keeps margins 2 and 4 and misses one; class 0 keeps a margin of 3 and misses one.
    seen = batch([(2.0, 1), (4.0, 1), (-6.0, 1), (-3.0, 0), (8.0, 0)])
    bound = open_bound(metric(text, 2), seen, constant(LINF))
    assert isinstance(bound, ratio.Bound)
    assert bound.metric is metric(text, 2)
    assert bound.clean() == [clean]
    assert bound.worst_case([F(0), F(1), F(3, 2), F(2)]) == [worst]
    assert bound.worst_case([F(2), F(0), F(2)]) == [(worst[3], clean, worst[3])]
    alone = open_bound(metric(text, 2), seen, constant(L1)).worst_case([F(2), F(3), F(6)])[0]
    if text in ("recall[c1]", "fnr[c1]"):
        assert alone == (worst[1], worst[1], worst[3])
    if text in ("specificity[c1]", "fpr[c1]"):
        assert alone == (clean, worst[2], worst[2])


def test_radii_of_rates() -> None:
    seen = batch([(2.0, 1), (4.0, 1), (-6.0, 1), (-3.0, 0)], [(-3.0, 0)] * 4)
    bound = open_bound(metric("recall[c1]", 2), seen, constant(L1))
    first, second = bound.radius([(F(2, 3), F(1, 2), F(0), F(-1), None), (F(1, 2),)], strict=False)
    assert second == (None,)
    assert first[0] == 0
    assert first[1] == pytest.approx(2.0, rel=1e-9)
    assert first[2] == pytest.approx(6.0, rel=1e-9)
    assert first[3:] == (math.inf, None)
    assert bound.radius([(F(2, 3), F(0)), ()], strict=True)[0][1] == math.inf
    still = open_bound(metric("recall[c1]", 2), batch([(2.0, 1), (0.0, 0), (-1.0, 0)]), constant(L2, F(0)))
    assert still.radius([(F(1, 2), F(1))], strict=False) == [(math.inf, F(0))]
    ties = open_bound(metric("specificity[c1]", 2), batch([(2.0, 1), (0.0, 0), (-1.0, 0)]), constant(L2, F(0)))
    assert ties.worst_case([F(3)]) == [(F(1, 2),)]
    assert ties.radius([(F(1, 2), F(1, 3))], strict=False) == [(F(0), math.inf)]


def test_water_filling_only_where_it_is_exact() -> None:
    rows = [[2.0, 0.0, 0.0], [0.0, 3.0, 3.0]]
    logits = torch.tensor(rows, dtype=torch.float64).T.reshape(1, 3, 1, 2)
    seen = Context(CPU, logits, torch.tensor([[[1, 0]]]), 255)
    # Entering class 0 past two classes level at 3: 3 * sqrt(2/3) in l2, not 3 / sqrt(2).
    bound = open_bound(metric("specificity[c0]"), seen, constant(L2))
    assert bound.clean() == [F(0)]
    other = Context(CPU, logits, torch.tensor([[[0, 1]]]), 255)
    bound = open_bound(metric("specificity[c0]"), other, constant(L2))
    assert bound.worst_case([F(22, 10), F(245, 100)]) == [(F(1), F(0))]
    pair = open_bound(metric("specificity[c0]"), other, constant(L1))
    assert pair.worst_case([F(299, 100), F(3)]) == [(F(1), F(0))]


def test_stability_counts_every_pixel_and_accuracy_the_right_ones() -> None:
    seen = batch([(2.0, 1), (-6.0, 1), (3.0, 0), (1.0, 255)])
    accuracy, stability = (
        open_bound(metric(name, 2), seen, constant(LINF)) for name in ("pixel_accuracy", "stability")
    )
    assert (accuracy.clean(), stability.clean()) == ([F(1, 3)], [F(1)])
    # In linf a margin of m is closed from m / 2 on.
    budgets = [F(49, 100), F(1, 2), F(1), F(3, 2), F(3)]
    assert accuracy.worst_case(budgets) == [(F(1, 3), F(1, 3), F(0), F(0), F(0))]
    assert stability.worst_case(budgets) == [(F(1), F(3, 4), F(1, 2), F(1, 4), F(0))]
    # Without an annotation too.
    bare = open_bound(metric("stability", 2), Context(CPU, seen.logits, None, 255), constant(LINF))
    assert bare.worst_case(budgets) == stability.worst_case(budgets)


@pytest.mark.parametrize(
    ("norm", "lost"), [(L1, F(3)), (L2, F(2449, 1000)), (LINF, F(3, 2))], ids=["l1", "l2", "linf"]
)
def test_the_second_place_is_lost_by_water_filling_in_l2_alone(norm: Norm, lost: Fraction) -> None:
    """Two others level, 3 below: to pass the leader both rise to one level t, min t^2 + 2 (3 - t)^2 = 6 in l2.

    In l1 and linf a pair decides: 3 and 3 / 2.
    """
    logits = torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    seen = Context(CPU, logits, torch.tensor([[[0]]]), 255)
    bound = open_bound(metric("top_k(2)"), seen, constant(norm))
    assert bound.clean() == [F(1)]
    little = F(1, 1000)
    assert bound.worst_case([lost - little, lost + little]) == [(F(1), F(0))]
    (radius,) = bound.radius([[F(0)]], strict=False)[0]
    assert isinstance(radius, Fraction)
    assert lost - little < radius < lost + little
    # The third is never lost of three classes, and the first by a pair in every norm.
    first = open_bound(metric("pixel_accuracy"), seen, constant(norm)).radius([[F(0)]], strict=False)[0][0]
    assert isinstance(first, Fraction)
    assert first <= radius


def test_a_rate_holds_the_items_of_one_flip_alone() -> None:
    seen = batch([(2.0, 1), (4.0, 1), (-3.0, 0), (-8.0, 0), (-9.0, 0)])
    for text, leaves, enters in (("recall[c1]", 2, 0), ("fpr[c1]", 0, 3), ("iou[c1]", 2, 3)):
        bound = open_bound(metric(text, 2), seen, constant(L2))
        assert isinstance(bound, ratio.Bound)
        (image,) = bound.images
        assert (image.leaves, image.enters) == (leaves, enters)


def test_the_largest_budget_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its items hold those of all others, so that lists are read once."""
    for text in ("iou[c1]", "mean_iou"):
        bound = open_bound(metric(text, 2), batch([(2.0, 1), (-4.0, 0)]), constant(L2))
        asked: list[Fraction] = []
        monkeypatch.setattr(bound, "_worst", lambda _, eps, asked=asked: asked.append(eps) or eps)
        assert bound.worst_case([F(1), F(3), F(2), F(3)]) == [(F(1), F(3), F(2), F(3))]
        assert asked == [F(3), F(2), F(1)]
