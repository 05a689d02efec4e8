"""Every family answers alike on every backend, to the last digit, whatever part of the lists a backend hands over."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.pooled import Pool
from robspec.kernels.knapsack import backends
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.kernels.available import TRITON

K = 5
METRICS = ["iou[c1]", "dice[c0, c3]", "recall[c2]", "fpr[c4]", "mean_iou", "mean_dice", "frequency_weighted_iou"]
BUDGETS = [Fraction(n) for n in ("0", "1/1000", "1/10", "1/2", "1", "3", "10", "1000")]


def scene(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with near ties, ties and clear pixels, and labels that mostly agree with them."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 1, (2, K, 20, 22)).astype(np.float32))
    logits *= torch.from_numpy(rng.choice([1e-4, 0.1, 1.0, 30.0], (2, 1, 20, 22)).astype(np.float32))
    logits[:, :, :3] = logits[:, :, :3].round()
    labels = torch.where(torch.from_numpy(rng.random((2, 20, 22)) < 0.7), logits.argmax(1), 2)
    labels[:, -1] = 255
    return logits, labels


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("text", METRICS)
def test_the_fast_backend_answers_as_the_reference_does(text: str, norm: Norm) -> None:
    constant = Constant(Fraction(5, 4), norm, norm, ConstantStatus.PROVED)
    asked = metric(text, K)
    logits, labels = scene(len(text))
    answers = []
    for name in ("cpu", "reference"):
        bound = open_bound(asked, Context(backends()[name], logits, labels, 255), constant)
        tenth, half = Fraction(9, 10), Fraction(1, 2)
        gammas = [(None if h is None else h * tenth, None if h is None else h * half) for h in bound.clean()]
        if asked.lower_is_better:
            gammas = [(None if h is None else h + (1 - h) / 10, None) for h in bound.clean()]
        answers.append(
            (bound.worst_case(BUDGETS), bound.radius(gammas, strict=False), bound.worst_case(BUDGETS[3:5]))
        )
    assert answers[0] == answers[1]


@pytest.mark.skipif(not TRITON, reason="triton cannot run here")
@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
def test_mean_iou_on_triton_answers_as_on_the_reference(norm: Norm) -> None:
    """One ranking of the logits serves all classes, and lists grow from budget to budget."""
    constant = Constant(Fraction(5, 4), norm, norm, ConstantStatus.PROVED)
    logits, labels = scene(3)
    answers = []
    for backend in (*TRITON, backends()["reference"]):
        bound = open_bound(metric("mean_iou", K), Context(backend, logits, labels, 255), constant)
        gammas = [(None if h is None else h * Fraction(9, 10), None) for h in bound.clean()]
        answers.append([bound.worst_case([budget]) for budget in BUDGETS] + [bound.radius(gammas, strict=False)])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("text", ["pooled iou[c1]", "pooled mean_iou"])
def test_pools_that_know_their_largest_budget_answer_as_those_that_do_not(text: str) -> None:
    constant = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
    logits, labels = scene(1)
    answers = []
    for name, largest in (("cpu", BUDGETS[-1]), ("cpu", Fraction(1)), ("cpu", None), ("reference", None)):
        pool = Pool(metric(text, K), K, constant, largest)
        pool.add(Context(backends()[name], logits, labels, 255))
        answers.append(pool.worst_case(BUDGETS[:5]))
        if largest is not None:
            with pytest.raises(ValueError, match="largest"):
                pool.worst_case([largest + 1])
            with pytest.raises(ValueError, match="radius"):
                pool.radius(Fraction(1, 2), strict=False)
        pool.close()
    assert answers.count(answers[0]) == len(answers)
