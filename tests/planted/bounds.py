"""Traps for the bound: near ties, equal costs, budgets met exactly, tiny and huge margins, metric families."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tests.planted.planting import IGNORED, Array, Plant, flat, ones, row_of
from tests.planted.prover import Scores

F = Fraction
Q1 = "  metric {metric}\n  norm l2\n  budget {eps}\n  require worst_case {claim}"
IDENTITY = Scores(lambda y: y)
STEP = 1 / 64


def scaled(factor: float) -> Scores:
    """v = factor times the input."""
    return Scores(lambda y: y * factor)


def q1(metric: str, claim: str, eps: float, safe: float, everyone: str = " for all images") -> tuple[str, str]:
    """A worst-case property, false within `eps` and true within `safe`."""
    trap, control = (Q1.format(metric=metric, eps=e, claim=claim + everyone) for e in ("EPS", safe))
    assert eps > safe
    return trap, control


def labelled(counts: Sequence[tuple[int, int]]) -> Array:
    """An annotation whose first pixels have the first label, and so on."""
    return np.concatenate([np.full(n, k) for n, k in counts]).reshape(8, 8)


def one(
    name: str,
    clean: Array,
    moved: Array,
    eps: float,
    texts: tuple[str, str],
    *,
    labels: Array | None = None,
    metric: str = "pixel_accuracy",
    below: Fraction = F(1, 2),
    module: Scores = IDENTITY,
    status: tuple[int, ...] = (3,),
    control_module: Scores | None = None,
) -> Plant:
    """A trap on one image: the metric falls below a value (rises above it, where lower is better)."""
    annotation = ones(clean.shape[1]) if labels is None else labels
    worse = (lambda v: v[0] > below) if metric.startswith("fnr") else (lambda v: v[0] < below)
    return Plant(
        name,
        module,
        [clean],
        [annotation],
        [moved],
        "l2",
        F(eps),
        *texts,
        worse,
        metric,
        status=status,
        control_module=control_module,
    )


def boundary(name: str, trap: str, control: str) -> Plant:
    """4096 pixels of equal price 4: exactly 1024 of them, a quarter, are lost for 128."""
    moved = flat(4, 64)
    moved[0, :16] -= 4
    return Plant(
        name,
        IDENTITY,
        [flat(4, 64)],
        [ones(64)],
        [moved],
        "l2",
        F(128),
        trap,
        control,
        lambda values: values == [F(3, 4)],
    )


NEAR = 2.0**-16
GONE = row_of([(4, 0), (60, -50)])
POOL_A, POOL_B = row_of([(2, 6), (6, -6), (56, 0)]), row_of([(6, 10), (2, -10), (56, 0)])
MOVED_A = row_of([(2, 0), (6, 1 / 128), (56, 0)])
MOVED_B = row_of([(2, 0), (4, 10), (2, -10), (56, 0)])
RADIUS = "  norm l2\n  degraded when {condition}\n  require radius {claim} for all images"


PLANTS = [
    one(
        "near ties",
        row_of([(60, NEAR), (4, 50)]),
        row_of([(60, 0), (4, 50)]),
        0.001,
        q1("pixel_accuracy", ">= 0.9", 0.001, 0.00001),
        below=F(9, 10),
    ),
    boundary(
        "thousands of equal costs, the budget met exactly",
        Q1.format(metric="pixel_accuracy", eps="EPS", claim="> 0.75 for all images"),
        Q1.format(metric="pixel_accuracy", eps="127.9", claim="> 0.75 for all images"),
    ),
    boundary(
        "a radius that is reached, not exceeded",
        RADIUS.format(condition="pixel_accuracy <= 0.75", claim="> EPS"),
        RADIUS.format(condition="pixel_accuracy <= 0.75", claim="> 127.9"),
    ),
    one(
        "subnormal margins",
        flat(8),
        flat(0),
        64,
        q1("pixel_accuracy", ">= 0.5", 64, 32),
        module=scaled(2.0**-140),
    ),
    one(
        "logits near the largest float32",
        flat(8),
        flat(0),
        64,
        q1("pixel_accuracy", ">= 0.5", 64, 32),
        module=scaled(2.0**120),
        status=(2,),
        control_module=scaled(2.0**112),
    ),
    one(
        "large logits",
        flat(8),
        flat(0),
        64,
        q1("pixel_accuracy", ">= 0.5", 64, 32),
        module=scaled(2.0**112),
    ),
    one(
        "logits beyond the largest float32",
        flat(155),
        flat(0),
        1240,
        q1("pixel_accuracy", ">= 0.5", 1240, 620),
        module=scaled(2.0**121),
        status=(2,),
        control_module=scaled(2.0**112),
    ),
    one(
        "a precision that loses its last pixel",
        row_of([(4, 1), (60, -50)]),
        GONE,
        2,
        q1("precision[c1]", ">= 0.5", 2, 0.9),
        labels=labelled([(4, 1), (60, 0)]),
        metric="precision[c1]",
    ),
    one(
        "an IoU that only false positives bring down",
        row_of([(8, 100), (56, -1)]),
        row_of([(8, 100), (56, STEP)]),
        8,
        q1("iou[c1]", ">= 0.5", 8, 2),
        labels=labelled([(8, 1), (56, 0)]),
        metric="iou[c1]",
    ),
    one(
        "a metric where lower is better",
        row_of([(16, 1), (48, -50)]),
        row_of([(16, 0), (48, -50)]),
        4,
        q1("fnr[c1]", "<= 0.5", 4, 1.5),
        labels=labelled([(16, 1), (48, 0)]),
        metric="fnr[c1]",
    ),
    one(
        "a mean over classes that one small class decides",
        row_of([(2, 1), (62, -50)]),
        row_of([(2, 0), (62, -50)]),
        2,
        q1("mean_iou", ">= 0.9", 2, 0.1),
        labels=labelled([(2, 1), (62, 0)]),
        metric="mean_iou",
        below=F(9, 10),
    ),
    one(
        "one of two conditions, met by wrong pixels that change",
        row_of([(32, 50), (32, 1)]),
        row_of([(32, 50), (32, 0)]),
        6,
        (
            RADIUS.format(condition="pixel_accuracy <= 0.25 or stability <= 0.5", claim="> EPS"),
            RADIUS.format(condition="pixel_accuracy <= 0.25 and stability <= 0.5", claim="> 10"),
        ),
        labels=labelled([(32, 1), (32, 0)]),
        metric="stability",
        below=F(51, 100),
    ),
    Plant(
        "a pooled minimum that is no sum of minima",
        IDENTITY,
        [POOL_A, POOL_B],
        [labelled([(2, 1), (6, 0), (56, IGNORED)]), labelled([(6, 1), (2, 0), (56, IGNORED)])],
        [MOVED_A, MOVED_B],
        "l2",
        F(17),
        *q1("pooled iou[c1]", ">= 0.45", 17, 5, ""),
        # 0 of 8 and 4 of 6: the minimum of the first alone leaves its false positives out and is 0 of 2.
        lambda values: values == [F(0), F(4, 6)],
        metric="iou[c1]",
    ),
]
