"""Ranked scores under attack against every choice of moved scores, in exact rationals.

"All shifts are monotone and independent, so the minimum is attained by all at once" is tested for each metric, not
assumed: each score is left, or moved as far as its ball allows or a little less.
"""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
import torch

from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.bounds.ranking import Ranking
from robspec.ir.plans import Measure, Ranked
from robspec.ir.types import Degraded, Metric, Property, RadiusQuery, WorstCaseQuery
from robspec.oracle.scene import Scene
from robspec.recheck.ranking import Ranks
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.semantics.objective import Threshold
from tests.kernels.available import CPU
from tests.tasks.asking import of_scores

F = Fraction
METRICS = ["auroc", "average_precision", "tpr_at(0.5)", "fpr_at(0.5)", "fpr_at_tpr(0.75)"]
# No attack on anomalies changes fpr_at (E0153).
ASKED = [(m, a) for m in METRICS for a in ("anomalous", "both") if (m, a) != ("fpr_at(0.5)", "anomalous")]


ROUNDING = pytest.mark.parametrize("rounding", [F(0), F(1, 8)], ids=["exact", "rounded"])


def constant(value: Fraction = F(3, 2), rounding: Fraction = F(0)) -> Constant:
    return Constant(value, L2, L2, ConstantStatus.PROVED, rounding=rounding)


def defined(metric: Metric, anomalous: list[Fraction], normal: list[Fraction]) -> Fraction:
    """The metric from its own words."""
    n, m = len(anomalous), len(normal)
    assert isinstance(metric.plan, Ranked)
    if metric.plan.measure is Measure.AUROC:
        return sum((F(int(s > a)) + F(int(s == a), 2) for s in anomalous for a in normal), F(0)) / (n * m)
    if metric.plan.measure is Measure.AVERAGE_PRECISION:
        total, before = F(0), F(0)
        for t in sorted({*anomalous, *normal}, reverse=True):
            found, false = sum(s >= t for s in anomalous), sum(a >= t for a in normal)
            total += (F(found, n) - before) * F(found, found + false)
            before = F(found, n)
        return total
    at = metric.arguments[0]
    if metric.plan.measure is Measure.TPR_AT:
        return F(sum(s >= at for s in anomalous), n)
    if metric.plan.measure is Measure.FPR_AT_TPR:
        at = max(t for t in anomalous if F(sum(s >= t for s in anomalous), n) >= at)
    return F(sum(a >= at for a in normal), m)


def drawn(seed: int, n: int = 3, m: int = 3) -> tuple[list[Fraction], list[Fraction]]:
    """Scores on a grid, with ties within and between the sides."""
    rng = random.Random(seed)  # noqa: S311 (a test's own images)
    return [F(rng.randint(1, 6), 4) for _ in range(n)], [F(rng.randint(-1, 4), 4) for _ in range(m)]


def opened(metric: Metric, anomalous: list[Fraction], normal: list[Fraction], c: Constant) -> Ranking:
    bound = open_dataset_bound(metric, (1, 1, 1), c)
    assert isinstance(bound, Ranking)
    for side, scores in enumerate((normal, anomalous)):
        logits = torch.tensor([float(s) for s in scores], dtype=torch.float64)[:, None, None, None]
        bound.add(Context(CPU, logits, torch.full((len(scores), 1, 1), side), None))
    return bound


@ROUNDING
@pytest.mark.parametrize(("text", "attack"), ASKED)
def test_the_worst_case_is_that_of_every_choice_of_moves(text: str, attack: str, rounding: Fraction) -> None:
    """Rounding moves the scores of normal images too where anomalies alone are attacked."""
    metric, c = of_scores(text, attack), constant(rounding=rounding)
    tiny = F(1, 1000)
    for seed in range(3 if not rounding else 2):
        anomalous, normal = drawn(seed)
        bound = opened(metric, anomalous, normal, c)
        assert bound.clean() == defined(metric, anomalous, normal)
        for eps in (F(0), F(1, 6), F(1, 3)):
            reach = eps * c.value + rounding
            # Just less than the whole reach parts what ties.
            steps = sorted({F(0), max(reach - tiny, F(0)), max(reach - 2 * tiny, F(0)), reach})
            ups = steps if attack == "both" else [F(0), rounding]
            values = [
                defined(
                    metric,
                    [s - d for s, d in zip(anomalous, downs, strict=True)],
                    [a + u for a, u in zip(normal, raised, strict=True)],
                )
                for downs in itertools.product(steps, repeat=len(anomalous))
                for raised in itertools.product(sorted({ups[0], ups[-1]}), repeat=len(normal))
            ]
            (found,) = bound.worst_case([eps])
            assert found == (max(values) if metric.lower_is_better else min(values)), (seed, eps)


@ROUNDING
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("text", "attack"), ASKED)
def test_the_radius_is_where_the_worst_case_turns(text: str, attack: str, strict: bool, rounding: Fraction) -> None:
    metric, c = of_scores(text, attack), constant(rounding=rounding)
    sign = -1 if metric.lower_is_better else 1
    for seed in range(8):
        anomalous, normal = drawn(seed, 4, 5)
        bound = opened(metric, anomalous, normal, c)
        for gamma in (F(0), F(1, 4), F(1, 2), F(3, 4), F(1)):
            radius = bound.radius(gamma, strict=strict)
            assert radius is not None

            def met(eps: Fraction, g: Fraction = gamma, b: Ranking = bound) -> bool:
                (value,) = b.worst_case([eps])
                assert value is not None
                return sign * value < sign * g if strict else sign * value <= sign * g

            if radius == math.inf:
                assert not met(F(100))
                continue
            at = F(radius)
            assert at == 0 or not met(at * (1 - F(1, 10**6)))
            assert met(at) or met(at + F(1, 10**6))


@ROUNDING
@pytest.mark.parametrize(("text", "attack"), ASKED)
def test_exact_arithmetic_derives_the_same(text: str, attack: str, rounding: Fraction) -> None:
    """What `recheck` derives on its own confirms what is certified, and nothing beside it."""
    metric, c = of_scores(text, attack), constant(rounding=rounding)
    budgets = (F(0), F(1, 6), F(2, 5), F(3))
    for seed in range(5):
        anomalous, normal = drawn(seed, 4, 4)
        bound = opened(metric, anomalous, normal, c)
        objectives = tuple(Degraded(metric, Threshold(g, F(0)), seed % 2 == 0) for g in (F(1, 4), F(3, 4)))
        for query in (WorstCaseQuery(metric, L2, budgets), RadiusQuery(L2, objectives)):
            ranks = Ranks(Property("p", query, ()), c)
            for side, scores in enumerate((normal, anomalous)):
                for s in scores:
                    ranks.add(scene(float(s), side))
            entry = ranks.entry()
            if isinstance(query, WorstCaseQuery):
                assert [p["certified"] for p in entry["points"]] == [str(v) for v in bound.worst_case(budgets)]
                # What the scores themselves are worth at most, which alone can refute.
                off = rounding + F(1, 2**40) if rounding else F(0)
                better = [s + off for s in anomalous], [a - off for a in normal]
                assert F(entry.get("best", entry["clean"])) == defined(metric, *better)
                continue
            for objective, point in zip(objectives, entry["points"], strict=True):
                radius = bound.radius(objective.threshold.offset, strict=objective.strict)
                claim = point["certified"]
                assert claim.holds("inf" if radius == math.inf else str(radius))
                for wrong in (F(1, 1000), F(-1, 1000)):
                    if radius != math.inf and F(radius or 0) + wrong >= 0:  # type: ignore[arg-type]
                        assert not claim.holds(str(F(radius or 0) + wrong))  # type: ignore[arg-type]
                assert radius == math.inf or not claim.holds("inf")


def scene(score: float, side: int) -> Scene:
    one = torch.ones(1)
    return Scene(
        torch.tensor([[score]], dtype=torch.float64).numpy(),
        torch.tensor([side]).numpy(),
        (one == 0).numpy(),
        (one == 1).numpy(),
        one.double().numpy(),
        2,
    )


def test_a_linear_score_has_the_worst_case_that_attacked_images_attain() -> None:
    """f(x) = w . x with ||w|| = 1: moving every image by eps along w is an attack, and no other does worse."""
    metric, eps = of_scores("auroc", "both"), F(1, 8)
    w = torch.tensor([0.6, 0.8], dtype=torch.float64)
    rng = random.Random(1)  # noqa: S311 (a test's own images)
    sides = [
        [torch.tensor([rng.randint(0, 32) / 32, rng.randint(0, 32) / 32]).double() for _ in range(9)] for _ in (0, 1)
    ]
    exact = [[F(float((x * w).sum())) for x in side] for side in sides]
    bound = opened(metric, exact[1], exact[0], constant(F(1)))
    moved = [[F(float((x * w).sum())) + (eps if k == 0 else -eps) for x in side] for k, side in enumerate(sides)]
    assert bound.worst_case([eps]) == (defined(metric, moved[1], moved[0]),)


def test_a_constant_that_is_too_small_shows_in_an_attack() -> None:
    """A planted fault: with half the constant, the same attack does worse than what is certified."""
    metric, eps = of_scores("auroc", "anomalous"), F(1, 4)
    anomalous, normal = [F(1, 2), F(1)], [F(0), F(3, 8)]
    moved = defined(metric, [s - eps for s in anomalous], normal)
    assert opened(metric, anomalous, normal, constant(F(1))).worst_case([eps]) == (moved,)
    (wrong,) = opened(metric, anomalous, normal, constant(F(1, 2))).worst_case([eps])
    assert wrong is not None
    assert wrong > moved
