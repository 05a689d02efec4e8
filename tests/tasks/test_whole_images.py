"""Metrics of whole images against every labelling that attacks can bring about, each image in a ball of its own.

"Q1: how bad can h get?" (MATH.md section 1), where every image is one item: costs are exact rationals from the
definition, reachable labels are listed, and the metric is computed from its own words.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.bounds.pooled import Pool
from robspec.bounds.wholes import Wholes
from robspec.ir.types import Metric
from robspec.oracle import costs
from robspec.oracle.ranks import price
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.kernels.available import CPU
from tests.tasks.asking import of_classes

F = Fraction
MISSED = "metric missed(k) lower_is_better = FN[k] / (TP[k] + FN[k])"
MIXED = "metric mixed(k) = (2 * TP[k] + TN[k]) / (2 * TP[k] + TN[k] + 3 * FP[k] + FN[k])"
Values = Sequence[int]


def constant(norm: Norm, value: Fraction = F(2)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def counts(labels: Values, found: Values, k: int) -> tuple[int, int, int, int]:
    pairs = [(y == k, p == k) for y, p in zip(labels, found, strict=True)]
    return (
        pairs.count((True, True)),
        pairs.count((False, True)),
        pairs.count((True, False)),
        pairs.count((False, False)),
    )


def ratio(above: int, below: int) -> Fraction:
    return F(above, below) if below else F(0)


def recall(labels: Values, found: Values, k: int) -> Fraction | None:
    tp, _, fn, _ = counts(labels, found, k)
    return F(tp, tp + fn) if tp + fn else None


def precision(labels: Values, found: Values, k: int) -> Fraction | None:
    tp, fp, fn, _ = counts(labels, found, k)
    return ratio(tp, tp + fp) if tp + fn else None


def f_two(labels: Values, found: Values, k: int) -> Fraction | None:
    tp, fp, fn, _ = counts(labels, found, k)
    return ratio(5 * tp, 5 * tp + fp + 4 * fn) if tp + fn else None


def missed(labels: Values, found: Values, k: int) -> Fraction | None:
    kept = recall(labels, found, k)
    return None if kept is None else 1 - kept


def mixed(labels: Values, found: Values, k: int) -> Fraction | None:
    tp, fp, fn, tn = counts(labels, found, k)
    return ratio(2 * tp + tn, 2 * tp + tn + 3 * fp + fn)


ASKED: list[tuple[str, str, Callable[[Values, Values, int], Fraction | None]]] = [
    ("recall[c1]", "", recall),
    ("precision[c1]", "", precision),
    ("f_beta(2)[c1]", "", f_two),
    ("missed[c1]", MISSED, missed),
    ("mixed[c1]", MIXED, mixed),
]


def drawn(seed: int, classes: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits on a coarse grid, so that ties and equal costs occur, and labels that are right two times in three."""
    rng = random.Random(seed)  # noqa: S311 (a test's own images)
    rows = [[rng.randint(-4, 4) / 2 for _ in range(classes)] for _ in range(images)]
    logits = torch.tensor(rows, dtype=torch.float64)
    said = predicted(logits)
    labels = [said[i] if rng.random() < 0.66 else rng.randrange(max(classes, 2)) for i in range(images)]
    return logits, torch.tensor(labels)


def predicted(logits: torch.Tensor) -> list[int]:
    """The first index of the maximum; of one logit, the second class above 0."""
    rows = logits.tolist()
    return [int(r[0] > 0) if len(r) == 1 else r.index(max(r)) for r in rows]


def reachable(logits: torch.Tensor, eps: Fraction, c: Constant) -> list[list[int]]:
    """The labels each image can be given within reach of its logits."""
    q = None if c.output_norm.p is None else int(c.output_norm.p)
    limit = (eps * c.value) ** (q or 1)
    options = []
    for row, clean in zip(logits.tolist(), predicted(logits), strict=True):
        every = range(max(len(row), 2))
        options.append([k for k in every if k == clean or costs.exact(row, k, q) <= limit])
    return options


def context(logits: torch.Tensor, labels: torch.Tensor) -> Context:
    return Context(CPU, logits[:, :, None, None], labels[:, None, None], None)


def opened(metric: Metric, logits: torch.Tensor, labels: torch.Tensor, c: Constant) -> Wholes:
    bound = open_dataset_bound(metric, (logits.shape[1], 1, 1), c)
    assert isinstance(bound, Wholes)
    for start in range(0, len(logits), 2):
        bound.add(context(logits[start : start + 2], labels[start : start + 2]))
    return bound


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize(("text", "definition", "define"), ASKED, ids=[a[0] for a in ASKED])
def test_a_pooled_worst_case_is_that_of_every_labelling(
    text: str, definition: str, define: Callable[[Values, Values, int], Fraction | None], classes: int, norm: Norm
) -> None:
    metric, c = of_classes(text, classes, definition), constant(norm)
    for seed in range(3):
        logits, labels = drawn(seed, classes, 4)
        bound = opened(metric, logits, labels, c)
        assert bound.clean() == define(labels.tolist(), predicted(logits), 1)
        budgets = [F(k, 7) for k in (0, 1, 2, 4)]
        for eps, found in zip(budgets, bound.worst_case(budgets), strict=True):
            every = itertools.product(*reachable(logits, eps, c))
            values = [define(labels.tolist(), said, 1) for said in every]
            if values[0] is None:
                assert found is None
                continue
            known = [v for v in values if v is not None]
            assert found == (max(known) if metric.lower_is_better else min(known)), (seed, eps)


@pytest.mark.parametrize("seed", range(4))
def test_balanced_accuracy_is_that_of_every_labelling(seed: int) -> None:
    """No image is of two classes, so that the worst recalls of all classes are reached together."""
    metric, c = of_classes("balanced_accuracy", 3), constant(L2)
    logits, labels = drawn(seed, 3, 5)
    present = sorted(set(labels.tolist()))
    bound = opened(metric, logits, labels, c)
    for eps in (F(0), F(1, 5), F(3, 7)):
        values = []
        for said in itertools.product(*reachable(logits, eps, c)):
            recalls = [recall(labels.tolist(), said, k) for k in present]
            values.append(sum((r for r in recalls if r is not None), F(0)) / len(present))
        assert bound.worst_case([eps]) == (min(values),)


@pytest.mark.parametrize("text", ["recall[c0]", "precision[c1]", "iou[c0, c2]", "mean_iou", "mean_dice[c0, c1]"])
def test_one_item_an_image_is_the_pool_of_planes(text: str) -> None:
    """What is made for whole images gives the very numbers of the general pool."""
    metric, c = of_classes(text, 3), constant(L2)
    for seed in range(4):
        logits, labels = drawn(seed, 3, 7)
        bound, pool = opened(metric, logits, labels, c), Pool(metric, 3, c)
        pool.add(context(logits, labels))
        assert bound.clean() == pool.clean()
        budgets = [F(k, 9) for k in range(8)]
        assert bound.worst_case(budgets) == pool.worst_case(budgets)
        assert bound.radius(F(1, 3), strict=False) == pool.radius(F(1, 3), strict=False)
        pool.close()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("text", ["recall[c1]", "precision[c1]", "balanced_accuracy"])
def test_the_radius_is_where_the_worst_case_turns(text: str, strict: bool) -> None:
    metric, c = of_classes(text, 3), constant(L2)
    for seed in range(6):
        logits, labels = drawn(seed, 3, 8)
        bound = opened(metric, logits, labels, c)
        clean = bound.clean()
        if clean is None:
            continue
        for gamma in (F(0), clean / 2, clean):
            radius = bound.radius(gamma, strict=strict)
            meets = (lambda v, g=gamma: v < g) if strict else (lambda v, g=gamma: v <= g)
            if radius == float("inf"):
                assert not meets(bound.worst_case([F(10**9)])[0])
                continue
            assert isinstance(radius, Fraction)
            assert radius == 0 or not meets(bound.worst_case([radius])[0])
            assert meets(bound.worst_case([radius * (1 + F(1, 2**50)) + F(1, 10**9)])[0])


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_class_leaves_the_largest_where_its_exact_price_is_paid(rank: int, norm: Norm) -> None:
    """The price is min ||a||_q subject to `rank` others level with the class, over every choice of them."""
    metric, c = of_classes(f"top_k({rank})", 4), constant(norm)
    q = None if norm.p is None else int(norm.p)
    logits, labels = drawn(rank, 4, 40)
    bound = open_bound(metric, context(logits, labels), c)
    kept = [
        sorted(range(4), key=lambda j, r=row: (-r[j], j)).index(y) < rank
        for row, y in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert bound.clean() == [F(int(k)) for k in kept]
    radii = bound.radius([[F(0)]] * len(kept), strict=False)
    for row, label, right, (radius,) in zip(logits.tolist(), labels.tolist(), kept, radii, strict=True):
        cost = price([F(v) for v in row], label, rank, q)
        if not right:
            assert radius == 0
            continue
        assert isinstance(radius, Fraction)
        spent = (radius * c.value) ** (q or 1)
        assert spent <= cost
        assert spent >= cost * (1 - F(1, 2**30))


def test_pushing_below_a_rank_costs_less_than_below_every_rank() -> None:
    """Two others level with the class cost more than one, and less than twice the pair with the second."""
    logits, labels = torch.tensor([[3.0, 1.0, 1.0, -5.0]], dtype=torch.float64), torch.tensor([0])
    radii = [
        open_bound(of_classes(f"top_k({n})", 4), context(logits, labels), constant(L2)).radius([[F(0)]], strict=False)
        for n in (1, 2, 3)
    ]
    found = [float(row[0][0]) * 2 for row in radii]  # type: ignore[arg-type]
    assert found == pytest.approx([2**0.5, (8 / 3) ** 0.5, 32**0.5])
