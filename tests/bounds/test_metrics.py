"""Every metric's bound against enumeration of all label assignments of tiny images, in exact rationals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.pooled import Pool
from robspec.bounds.search import meets
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.examples import examples
from tests.kernels.available import CPU
from tests.kernels.oracle import predict
from tests.kernels.test_one_class import distance_by_active_sets

K = 3
F = Fraction
Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A metric of the language and what it means, written down once more.

    Args:
        text: in the language.
        truth: value from labels and predictions, None where undefined.
        exact: whether the family claims exactness over the relaxed set.
        lower: lower is better.
        definitions: of the user's own metrics.
    """

    text: str
    truth: Callable[[list[int], list[int]], Fraction | None]
    exact: bool
    lower: bool = False
    definitions: str = ""


def cells(labels: list[int], found: list[int], inside: set[int]) -> Counts:
    pairs = [(y in inside, p in inside) for y, p in zip(labels, found, strict=True) if y != 255]
    return tuple(pairs.count(c) for c in ((True, True), (False, True), (True, False), (False, False)))  # type: ignore[return-value]


def one(
    inside: set[int], value: Callable[[int, int, int, int], Fraction], defined: Callable[[Counts], bool]
) -> Callable[[list[int], list[int]], Fraction | None]:
    def truth(labels: list[int], found: list[int]) -> Fraction | None:
        counts = cells(labels, found, inside)
        return value(*counts) if defined(counts) else None

    return truth


def mean(
    part: Callable[[int], Callable[[list[int], list[int]], Fraction | None]], frequency: bool = False
) -> Callable[[list[int], list[int]], Fraction | None]:
    def truth(labels: list[int], found: list[int]) -> Fraction | None:
        counted = [y for y in labels if y != 255]
        present = sorted(set(counted))
        if not present:
            return None
        weights = [F(counted.count(k), len(counted)) if frequency else F(1, len(present)) for k in present]
        values = [part(k)(labels, found) for k in present]
        return sum((w * v for w, v in zip(weights, values, strict=True) if v is not None), F(0))

    return truth


def has_label(c: Counts) -> bool:
    return c[0] + c[2] > 0


def has_other(c: Counts) -> bool:
    return c[1] + c[3] > 0


def iou(k: int) -> Callable[[list[int], list[int]], Fraction | None]:
    return one({k}, lambda tp, fp, fn, tn: F(tp, tp + fp + fn), has_label)


def recall(k: int) -> Callable[[list[int], list[int]], Fraction | None]:
    return one({k}, lambda tp, fp, fn, tn: F(tp, tp + fn), has_label)


def dice(k: int) -> Callable[[list[int], list[int]], Fraction | None]:
    return one({k}, lambda tp, fp, fn, tn: F(2 * tp, 2 * tp + fp + fn), has_label)


def accuracy(labels: list[int], found: list[int]) -> Fraction | None:
    kept = [(y, p) for y, p in zip(labels, found, strict=True) if y != 255]
    return F(sum(y == p for y, p in kept), len(kept)) if kept else None


CASES = [
    Case("pixel_accuracy", accuracy, True),
    Case("recall[c1]", recall(1), True),
    Case("recall[c0, c2]", one({0, 2}, lambda tp, fp, fn, tn: F(tp, tp + fn), has_label), True),
    Case("fnr[c1]", one({1}, lambda tp, fp, fn, tn: F(fn, tp + fn), has_label), True, lower=True),
    Case("specificity[c1]", one({1}, lambda tp, fp, fn, tn: F(tn, fp + tn), has_other), True),
    Case("fpr[c1]", one({1}, lambda tp, fp, fn, tn: F(fp, fp + tn), has_other), True, lower=True),
    Case("iou[c1]", iou(1), True),
    Case("iou[c0, c2]", one({0, 2}, lambda tp, fp, fn, tn: F(tp, tp + fp + fn), has_label), True),
    Case("dice[c0]", dice(0), True),
    Case("f_beta(2)[c1]", one({1}, lambda tp, fp, fn, tn: F(5 * tp, 5 * tp + fp + 4 * fn), has_label), True),
    Case(
        "tversky(0.3, 0.7)[c1]",
        one({1}, lambda tp, fp, fn, tn: F(tp) / (tp + F(3, 10) * fp + F(7, 10) * fn), has_label),
        True,
    ),
    Case("mean_iou", mean(iou), False),
    Case("mean_dice", mean(dice), False),
    Case("frequency_weighted_iou", mean(iou, frequency=True), False),
    Case("mean_accuracy", mean(recall), False),
    Case(
        "odd[c1]",
        one({1}, lambda tp, fp, fn, tn: F(tp, tp + fn) * F(tn + 1, fp + tn + 1), has_label),
        True,
        definitions="metric odd(k) = TP[k] / (TP[k] + FN[k]) * (TN[k] + 1) / (FP[k] + TN[k] + 1)",
    ),
    Case(
        "blend",
        lambda y, p: (
            None
            if iou(0)(y, p) is None or recall(2)(y, p) is None
            else F(1, 4) * (iou(0)(y, p) or F(0)) + F(3, 4) * (recall(2)(y, p) or F(0))
        ),
        False,
        definitions="metric blend = 0.25 * iou[c0] + 0.75 * recall[c2]",
    ),
    Case(
        "overlap",
        lambda y, p: (
            None if iou(1)(y, p) is None else F(1, 2) * (iou(1)(y, p) or F(0)) + F(1, 2) * (recall(1)(y, p) or F(0))
        ),
        False,
        definitions="metric overlap = (iou[c1] + recall[c1]) / 2",
    ),
]
IDS = [c.text for c in CASES]


def costs(pixel: list[float], q: int | None) -> list[Fraction]:
    """Exact least cost of bringing each class level with the largest logit (pair bound for q = 1, inf)."""
    z = [Fraction(v) for v in pixel]
    if q == 2:
        return [distance_by_active_sets(z[c], [v for j, v in enumerate(z) if j != c]) for c in range(len(z))]
    top = max(z)
    return [(top - v) / (2 if q is None else 1) for v in z]


def worst(
    truth: Callable[[list[int], list[int]], Fraction | None],
    rows: list[list[float]],
    labels: list[int],
    reach: Fraction,
    q: int | None,
    lower: bool,
) -> Fraction | None:
    """The worst value over every assignment an attack of norm `reach` on the logits can bring about."""
    table = [costs(row, q) for row in rows]
    clean = [predict(row) for row in rows]
    found: list[Fraction] = []
    for assignment in itertools.product(range(len(rows[0])), repeat=len(rows)):
        spent = [F(0) if c == p else t[c] for c, p, t in zip(assignment, clean, table, strict=True)]
        total = max(spent) if q is None else sum(spent, F(0))
        if total <= (reach if q is None else reach**q):
            value = truth(labels, list(assignment))
            if value is None:
                return None
            found.append(value)
    return max(found) if lower else min(found)


def context(rows: list[list[float]], labels: list[int]) -> Context:
    logits = torch.tensor(rows, dtype=torch.float32).T.reshape(1, len(rows[0]), 1, len(rows))
    return Context(CPU, logits, torch.tensor(labels).reshape(1, 1, -1), 255)


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


LOGIT = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-3, 3, width=16))
IMAGE = st.lists(
    st.tuples(st.lists(LOGIT, min_size=K, max_size=K), st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=4
)
NORMS = {1: L1, 2: L2, None: LINF}


@pytest.mark.parametrize("case", CASES, ids=IDS)
@settings(max_examples=examples(25))
@given(image=IMAGE, eps=st.fractions(0, 3, max_denominator=8), q=st.sampled_from([2, 2, 1, None]))
def test_worst_case(case: Case, image: list[tuple[list[float], int]], eps: Fraction, q: int | None) -> None:
    """bound <= truth always; equal where the family claims exactness over the relaxed set."""
    rows, labels = [list(r) for r, _ in image], [y for _, y in image]
    asked = metric(case.text, K, case.definitions)
    assert asked.lower_is_better == case.lower
    bound = open_bound(asked, context(rows, labels), constant(NORMS[q]))
    clean = case.truth(labels, [predict(r) for r in rows])
    assert bound.clean() == [clean]
    got = bound.worst_case([eps])[0][0]
    truth = worst(case.truth, rows, labels, eps, q, case.lower)
    if truth is None:
        assert got is None
        return
    assert got is not None
    sign = -1 if case.lower else 1
    assert sign * got <= sign * truth
    if case.exact and q == 2:
        wider = worst(case.truth, rows, labels, eps * (1 + F(1, 2**16)) + F(1, 2**30), q, case.lower)
        assert wider is not None
        assert sign * got >= sign * wider


@pytest.mark.parametrize("case", CASES, ids=IDS)
@settings(max_examples=examples(8))
@given(image=IMAGE, gamma=st.fractions(0, 1, max_denominator=6), strict=st.booleans())
def test_galois(case: Case, image: list[tuple[list[float], int]], gamma: Fraction, strict: bool) -> None:
    """h_eps > gamma <=> R_{h <= gamma} > eps, decided at the radius returned and just beyond it."""
    rows, labels = [list(r) for r, _ in image], [y for _, y in image]
    asked = metric(case.text, K, case.definitions)
    bound = open_bound(asked, context(rows, labels), constant(L2, F(3, 2)))
    clean = bound.clean()[0]
    radius = bound.radius([(gamma,)], strict=strict)[0][0]
    if clean is None:
        assert radius is None
        return
    assert radius is not None
    if meets(asked, clean, gamma, strict=strict):
        assert radius == 0
        return
    ask = [F(10**6)] if radius == math.inf else [F(radius), F(math.nextafter(float(radius), math.inf))]
    held = bound.worst_case(ask)[0]
    if radius > 0:
        assert held[0] is not None
        assert not meets(asked, held[0], gamma, strict=strict)
    if radius != math.inf:
        assert held[1] is not None
        assert meets(asked, held[1], gamma, strict=strict)


@settings(max_examples=examples(25))
@given(images=st.lists(IMAGE, min_size=1, max_size=2), eps=st.fractions(0, 2, max_denominator=6))
@pytest.mark.parametrize(
    ("text", "lower", "ratio"),
    [
        ("pooled iou[c1]", False, lambda tp, fp, fn, tn: (tp, tp + fp + fn)),
        ("pooled dice[c1]", False, lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn)),
        ("pooled precision[c1]", False, lambda tp, fp, fn, tn: (tp, tp + fp)),
    ],
)
def test_pooled(
    text: str,
    lower: bool,
    ratio: Callable[[int, int, int, int], tuple[int, int]],
    images: list[list[tuple[list[float], int]]],
    eps: Fraction,
) -> None:
    """min of sum num / sum den, each image with its own budget, decided by enumerating every pair of assignments."""
    asked = metric(text, K)
    pool = Pool(asked, K, constant(L2))
    reachable: list[set[tuple[int, int]]] = []
    for image in images:
        rows, labels = [list(r) for r, _ in image], [y for _, y in image]
        pool.add(context(rows, labels))
        pairs = set()
        table, clean = [costs(r, 2) for r in rows], [predict(r) for r in rows]
        for assignment in itertools.product(range(K), repeat=len(rows)):
            spent = sum((F(0) if c == p else t[c] for c, p, t in zip(assignment, clean, table, strict=True)), F(0))
            if spent <= eps**2:
                pairs.add(ratio(*cells(labels, list(assignment), {1})))
        reachable.append(pairs)
    got = pool.worst_case([eps])[0]
    pool.close()
    totals = [tuple(map(sum, zip(*choice, strict=True))) for choice in itertools.product(*reachable)]
    values = [F(n, d) for n, d in totals if d]
    if not any(y == 1 for image in images for _, y in image):
        assert got is None
        return
    assert got is not None
    assert got <= min(values, default=F(0))
    if any(d == 0 for _, d in totals):
        assert got == 0


def test_pooled_is_not_the_sum_of_per_image_minima() -> None:
    """Minimising each image's own ratio gives no lower bound of the pooled (micro) ratio (PEERS.md, 8)."""
    asked = metric("pooled iou[c1]", 2)
    rows = [[[0.0, 1.0]] * 2 + [[0.95, 0.0]] * 6, [[0.0, 1.1]] * 6 + [[1.0, 0.0]] * 2]
    labels = [[1] * 2 + [0] * 6, [1] * 6 + [0] * 2]
    eps = F("1.8")
    pool = Pool(asked, 2, constant(L2))
    own = []
    for r, y in zip(rows, labels, strict=True):
        pool.add(context(r, y))
        single = Pool(asked, 2, constant(L2))
        single.add(context(r, y))
        own.append(single)
    joint = pool.worst_case([eps])[0]
    separate = [p.worst_case([eps])[0] for p in own]
    assert joint is not None
    assert all(s is not None for s in separate)
    for p in (pool, *own):
        p.close()
    assert joint <= max(s for s in separate if s is not None)


def test_region_and_weights_change_what_counts() -> None:
    rows = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    labels = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.tensor(rows).T.reshape(1, 2, 1, 4)
    region = torch.tensor([[[True, False, True, True]]])
    weights = torch.tensor([[[0.5, 0.0, 1.5, 2.0]]], dtype=torch.float64)
    seen = Context(CPU, logits, labels, 255, region, weights)
    one_budget = [F(0), F("0.71"), F("1.1")]
    whole = open_bound(metric("pixel_accuracy", 2), seen, constant(L2)).worst_case(one_budget)
    assert whole == [(F(3, 4), F(1, 2), F(1, 4))]
    inside = open_bound(metric("pixel_accuracy in region", 2), seen, constant(L2)).worst_case(one_budget)
    assert inside == [(F(2, 3), F(1, 3), F(0))]
    weighed = open_bound(metric("weighted pixel_accuracy", 2), seen, constant(L2))
    assert weighed.clean() == [F(5, 8)]
    low = weighed.worst_case(one_budget)[0]
    assert low[0] == F(5, 8)
    assert low[1] is not None
    assert low[1] <= F(1, 8)


def test_a_single_logit_head_is_two_classes() -> None:
    logits = torch.tensor([1.0, -1.0, 2.0, -0.5]).reshape(1, 1, 1, 4)
    seen = Context(CPU, logits, torch.tensor([[[1, 0, 0, 0]]]), 255)
    iou1 = open_bound(metric("iou[c1]", 2, single=True), seen, constant(L2))
    assert iou1.clean() == [F(1, 2)]
    assert iou1.worst_case([F("0.49"), F("0.51"), F("1.01")]) == [(F(1, 2), F(1, 3), F(0))]
    both = open_bound(metric("mean_iou", 2, single=True), seen, constant(L2)).worst_case([F(0), F("0.51")])[0]
    assert both[0] == (F(1, 2) + F(2, 3)) / 2
    assert both[1] is not None
    assert both[1] <= (F(1, 3) + F(1, 3)) / 2


def test_a_set_within_a_sum_is_not_charged_twice() -> None:
    """A pixel labelled c0 and predicted c1 is a true positive of [c0, c1]: leaving the set is charged already."""
    asked = metric("blend", 4, "metric blend = 0.5 * iou[c0, c1] + 0.5 * iou[c2]")
    rows, labels = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 50.0, 0.0]], [0, 2]

    def truth(y: list[int], p: list[int]) -> Fraction | None:
        merged = one({0, 1}, lambda tp, fp, fn, tn: F(tp, tp + fp + fn), has_label)(y, p)
        single = iou(2)(y, p)
        return None if merged is None or single is None else (merged + single) / 2

    for q, eps in ((2, F(3, 4)), (1, F(5, 4))):
        bound = open_bound(asked, context(rows, labels), constant(NORMS[q]))
        worst_value = worst(truth, rows, labels, eps, q, lower=False)
        certified = bound.worst_case([eps])[0][0]
        assert certified is not None
        assert worst_value is not None
        assert certified <= worst_value == F(1, 4)
    radius = open_bound(asked, context(rows, labels), constant(L2)).radius([(F(3, 10),)], strict=False)[0][0]
    assert radius is not None
    assert radius <= math.sqrt(0.5)


def test_a_pooled_denominator_brought_to_zero_counts_as_the_worst_value() -> None:
    definition = "metric m(k) lower_is_better = FN[k] / (FN[k] + TN[k])"
    asked = metric("pooled m[c1]", K, definition)
    pool = Pool(asked, K, constant(L2))
    pool.add(context([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [0, 2]))
    assert pool.clean() == 0
    assert pool.worst_case([F(0), F(5)]) == (F(0), F(1))
    radius = pool.radius(F(1, 2), strict=False)
    pool.close()
    assert radius is not None
    assert 0 < radius <= 1


@pytest.mark.parametrize("alpha", ["0.3333333333333333", "0.9999999999999999", "0.1234567890123457"])
def test_pooled_counts_times_long_decimals_do_not_wrap_around(alpha: str) -> None:
    """A decimal of sixteen digits becomes integers whose products with the counts do not fit 64 bits."""
    beta = f"0.{10**16 - int(alpha[2:]):016d}"
    torch.manual_seed(3)
    logits, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
    said, true = logits.argmax(1) == 0, labels == 0
    tp, fp, fn = int((said & true).sum()), int((said & ~true).sum()), int((~said & true).sum())
    pool = Pool(metric(f"pooled tversky({alpha}, {beta})[c0]"), 3, constant(L2))
    pool.add(Context(CPU, logits, labels, 255))
    clean = tp / (tp + F(alpha) * fp + F(beta) * fn)
    assert pool.clean() == clean
    nothing, little, everything = pool.worst_case([F(0), F(10), F(10**6)])
    pool.close()
    assert little is not None
    assert nothing == clean > little > 0 == everything


def test_logits_whose_margins_cannot_be_squared_are_refused() -> None:
    logits = torch.tensor([2e154, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    assert Context(CPU, logits, torch.tensor([[[0]]]), 255).finite() == [False]


WEIGHTED = {
    "pixel_accuracy": lambda y, p: (y == p, True),
    "recall[c1]": lambda y, p: (p == 1, y == 1),
    "fnr[c1]": lambda y, p: (p != 1, y == 1),
    "recall[c0, c1]": lambda y, p: (p in (0, 1), y in (0, 1)),
    "specificity[c1]": lambda y, p: (p != 1, y != 1),
    "fpr[c1]": lambda y, p: (p == 1, y != 1),
    "specificity[c0, c2]": lambda y, p: (p == 1, y == 1),
}
"""Which pixels are in the numerator, if they are in the denominator at all."""


@pytest.mark.parametrize("text", [*WEIGHTED, "half[c1]", "stability"])
@settings(max_examples=examples(12))
@given(
    image=IMAGE,
    weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4),
    eps=st.fractions(0, 3, max_denominator=6),
    q=st.sampled_from(list(NORMS)),
)
def test_weighted_counts_against_every_assignment(
    text: str, image: Any, weights: list[float], eps: Fraction, q: Any
) -> None:
    """A real knapsack: lambda B + sum (p_i - lambda c_i)_+ bounds what any affordable set of flips loses."""
    rows, labels = [list(row) for row, _ in image], [y for _, y in image]
    clean = [row.index(max(row)) for row in rows]
    lower = text in ("fnr[c1]", "fpr[c1]")
    half = "metric half(k) = TP[k] / (2 * (TP[k] + FN[k]))"
    asked = metric(f"weighted {text}", K, half if text == "half[c1]" else "")

    def truth(_: list[int], p: list[int]) -> Fraction | None:
        above = below = F(0)
        for y, guess, first, w in zip(labels, p, clean, weights, strict=False):
            if text == "stability":
                hit, counted = guess == first, True
            else:
                hit, counted = WEIGHTED["recall[c1]" if text == "half[c1]" else text](y, guess)
                counted = counted and y != 255
            above += F(w) * (hit and counted)
            below += F(w) * counted
        return above / below / (2 if text == "half[c1]" else 1) if below else None

    logits = torch.tensor(rows, dtype=torch.float64).T.reshape(1, K, 1, len(rows))
    weight = torch.tensor(weights[: len(rows)], dtype=torch.float64).reshape(1, 1, -1)
    seen = Context(CPU, logits, torch.tensor(labels).reshape(1, 1, -1), 255, None, weight)
    bound = open_bound(asked, seen, constant(NORMS[q]))
    assert bound.clean() == [truth(labels, clean)]
    certified = bound.worst_case([F(0), eps])[0]
    expected = worst(truth, rows, labels, eps, q, lower=lower)
    assert (certified[1] is None) == (expected is None)
    if certified[1] is not None and expected is not None:
        assert certified[1] >= expected if lower else certified[1] <= expected
        ends = bound.radius([(certified[1],)], strict=True)[0][0]
        assert ends is not None
        assert ends >= eps * (1 - F(1, 2**20))


def test_weighted_recall_is_the_weighted_share_of_the_class() -> None:
    logits = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 1.0, 0], [1.0, 0, 0]]).T.reshape(1, 3, 1, 4)
    weights = torch.tensor([[[9.0, 1.0, 2.0, 1.0]]], dtype=torch.float64)
    seen = Context(CPU, logits, torch.tensor([[[0, 1, 1, 1]]]), 255, None, weights)
    bound = open_bound(metric("weighted recall[c1]", 3), seen, constant(L2))
    assert bound.clean() == [F(3, 4)]
    low = bound.worst_case([F(0), F("0.72")])[0]
    assert low[0] == F(3, 4)
    assert low[1] is not None
    assert low[1] <= F(1, 4)
