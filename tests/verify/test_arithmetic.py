"""Rounding as one more adversary: what is asked of the bounds, what is taken off radii, and who gains from ties."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robspec.bounds.context import Context
from robspec.data.scaling import to_range
from robspec.ir.types import Program, WorstCaseQuery
from robspec.kernels.knapsack import backends
from robspec.lipschitz.rounding.images import box_of, stored_off
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.aimed import Question
from robspec.verify.arithmetic import asked, bare, favourable, lessened
from robspec.verify.evaluate import BatchEvaluator, metrics_of
from robspec.verify.result import ImageResult

TEXT = """language 1
model {{
  input image [3, 1, 2] in [0, 1]
  output logits [{channels}, 1, 2]
  classes {classes}
}}
data d {{
  images "i/*"
  masks "m/*"
}}
property worst {{
  metric {metric}
  norm l2
  budget 0.5
  require mean(worst_case) >= 0
}}
property far {{
  metric {metric}
  norm l2
  degraded when h <= 0.5
  require radius >= 0 for all images
}}
"""
CLASSES = ("a", "b", "c")


def compiled(metric: str = "pixel_accuracy", channels: int = 3) -> Program:
    text = TEXT.format(metric=metric, channels=channels, classes=", ".join(CLASSES[: max(channels, 2)]))
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    return program


def constant(value: Fraction, delta: Fraction) -> Constant:
    return Constant(value, L2, L2, ConstantStatus.PROVED, rounding=delta)


@given(st.fractions(0, 4), st.fractions(0, 1), st.fractions(0, 2))
def test_a_bound_is_asked_no_less_than_l_eps_and_delta(value: Fraction, delta: Fraction, eps: Fraction) -> None:
    prop = compiled().properties[0]
    assert isinstance(prop.query, WorstCaseQuery)
    prop = replace(prop, query=replace(prop.query, budgets=(eps,)))
    wanted, used = asked(prop, constant(value, delta))
    assert isinstance(wanted.query, WorstCaseQuery)
    (budget,) = wanted.query.budgets
    assert used.rounding == 0
    wide = (value * eps + delta) * Fraction(1.0000001) + Fraction(1e-300)
    assert value * eps + delta <= budget * used.value <= wide


@given(st.fractions(0, 4), st.fractions(0, 1), st.floats(0, 3))
def test_what_is_left_of_a_radius_still_holds(value: Fraction, delta: Fraction, radius: float) -> None:
    given_constant = constant(value, delta)
    left = lessened(Fraction(radius), given_constant)
    assert left is not None
    if left == math.inf:
        assert value == 0
        assert Fraction(radius) * bare(given_constant).value >= delta
    else:
        assert left == 0 or value * Fraction(left) + delta <= bare(given_constant).value * Fraction(radius)


@given(*[st.fractions(0, 4) for _ in range(2)], *[st.fractions(0, 1) for _ in range(2)], st.fractions(0, 2))
def test_scores_and_boxes_are_both_paid_for(
    value: Fraction, boxes: Fraction, delta: Fraction, off: Fraction, eps: Fraction
) -> None:
    prop = compiled().properties[0]
    assert isinstance(prop.query, WorstCaseQuery)
    prop = replace(prop, query=replace(prop.query, budgets=(eps,)))
    both = replace(constant(value, delta), boxes=boxes, boxes_rounding=off)
    wanted, used = asked(prop, both)
    assert isinstance(wanted.query, WorstCaseQuery)
    (budget,) = wanted.query.budgets
    assert budget * used.value >= value * eps + delta
    assert budget * used.boxes >= boxes * eps + off
    left = lessened(budget, both)
    assert left is not None
    assert left >= eps or not (value or boxes)


def test_nothing_changes_where_nothing_is_rounded() -> None:
    prop, exact = compiled().properties[0], constant(Fraction(2), Fraction(0))
    assert asked(prop, exact) == (prop, exact)
    assert lessened(Fraction(1, 3), exact) == Fraction(1, 3)
    assert lessened(math.inf, constant(Fraction(2), Fraction(1))) == math.inf
    assert lessened(None, constant(Fraction(2), Fraction(1))) is None


@given(st.integers(0, 2**32 - 1), st.sampled_from(["pixel_accuracy", "iou[b]", "recall[b]", "precision[b]"]))
def test_nobody_within_delta_is_worth_more_or_less_than_is_said(seed: int, metric: str) -> None:
    """Random errors of length delta, and errors that aim at ties: between what is certified at eps 0 and attained."""
    random = np.random.default_rng(seed)
    channels = int(random.choice([1, 2, 3]))
    program = compiled(metric, channels)
    delta = Fraction(float(random.choice([0.01, 0.3, 1.0])))
    logits = torch.from_numpy(random.integers(-2, 3, (1, channels, 1, 2)) / 2.0)
    labels = torch.from_numpy(random.integers(0, max(channels, 2), (1, 1, 2)))
    prop = replace(program.properties[0], query=replace(program.properties[0].query, budgets=(Fraction(0),)))
    backend = backends()["reference"]

    def results(z: torch.Tensor, rounding: Fraction) -> ImageResult:
        evaluator = BatchEvaluator(Context(backend, z, labels, None), ("x",))
        return evaluator.answer(prop, constant(Fraction(1), rounding))[0]

    (said,) = [results(logits, delta)]
    for _ in range(12):
        error = torch.from_numpy(random.normal(size=logits.shape))
        if random.random() < 0.7:  # one pixel's two classes, which is what a flip takes
            error *= torch.from_numpy(random.random(logits.shape) < 0.5)
        size = float(error.norm())
        error = error * (float(delta) * (1 - 1e-12) / size) if size else error
        found = results(logits + error, Fraction(0)).clean
        assert (found is None) == (said.clean is None)
        if found is None:
            continue
        assert said.certified[0] is not None
        assert said.attained[0] is not None
        assert said.certified[0] <= found <= said.attained[0]


@pytest.mark.parametrize("metric", ["pixel_accuracy", "stability", "top_k(2)", "iou[b]", "fpr[b]", "mean_iou"])
def test_what_an_attack_is_said_to_attain_it_attains_whatever_rounding_did(metric: str) -> None:
    """Clean and attacked logits off by delta each, in ways of their own, many at ties: never better than is said."""
    upward = "<=" if metric == "fpr[b]" else ">="
    text = TEXT.format(metric=metric, channels=3, classes="a, b, c").replace(
        "worst_case) >=", f"worst_case) {upward}"
    )
    met = "h >= 0.2 + 0.5 * h0" if metric == "fpr[b]" else "h <= 0.8 * h0"
    program, diagnostics = compile_text(text.replace("h <= 0.5", met))
    assert program is not None, diagnostics
    random, delta, moved = np.random.default_rng(len(metric)), Fraction(3, 10), 0
    sign = -1 if metric == "fpr[b]" else 1

    def question(place: int, clean: torch.Tensor, seen: torch.Tensor, rounding: Fraction) -> Question:
        contexts = (Context(backends()["reference"], z, labels, None) for z in (clean, seen))
        return Question(program.properties[place].query, *contexts, constant(Fraction(1), rounding))

    for _ in range(40):
        clean, seen = (torch.from_numpy(random.integers(-2, 3, (1, 3, 1, 2)) / 4.0) for _ in range(2))
        labels = torch.from_numpy(random.integers(0, 3, (1, 1, 2)))
        said = [question(place, clean, seen, delta) for place in (0, 1)]
        for _ in range(6):
            errors = random.normal(size=(2, 1, 3, 1, 2)) * (random.random((2, 1, 3, 1, 2)) < 0.5)
            errors *= float(delta) / np.maximum(np.sqrt((errors**2).sum(axis=(1, 2, 3, 4), keepdims=True)), 1e-9)
            off = [z + torch.from_numpy(e) * (1 - 1e-12) for z, e in zip((clean, seen), errors, strict=True)]
            true = question(0, *off, Fraction(0)).first[0]
            if true is None:
                continue
            assert said[0].first[0] is not None
            assert sign * said[0].first[0] >= sign * true
            moved += said[0].first[0] != true
            if list(said[1].attained(0, Fraction(1))):
                assert list(question(1, *off, Fraction(0)).attained(0, Fraction(1)))
    assert moved


def test_ties_go_to_the_label() -> None:
    asked = next(iter(metrics_of(compiled().properties[0].query)))
    logits = torch.tensor([[[[1.0, 0.0]], [[0.9, 5.0]]]], dtype=torch.float64)
    labels = torch.tensor([[[1, 0]]])
    assert favourable(logits, labels, Fraction(1, 10), asked).argmax(1).tolist() == [[[1, 1]]]
    assert favourable(logits, None, Fraction(1, 10), asked) is logits
    assert favourable(logits, labels + 255, Fraction(1, 10), asked).argmax(1).tolist() == [[[0, 1]]]
    single = torch.tensor([[[[0.05, -3.0]]]], dtype=torch.float64)
    found = favourable(single, torch.tensor([[[0, 1]]]), Fraction(1, 10), asked)
    assert (found > 0).tolist() == [[[[False, False]]]]


@pytest.mark.parametrize("metric", ["iou[b]", "precision[b]", "mean_iou"])
def test_what_cannot_be_right_may_still_be_wrong_in_a_better_way(metric: str) -> None:
    """A pixel of a, taken for b, that c is level with: over the reals it may be no mistake about b."""
    (worst, _) = compiled(metric).properties
    logits = torch.tensor([[[[-3.0, -3.0]], [[1.0, 1.0]], [[0.99, -3.0]]]], dtype=torch.float64)
    labels = torch.tensor([[[0, 1]]])

    def attained(z: torch.Tensor, delta: Fraction) -> Fraction:
        evaluator = BatchEvaluator(Context(backends()["reference"], z, labels, None), ("x",))
        found = evaluator.answer(worst, constant(Fraction(1), delta))[0].attained[0]
        assert isinstance(found, Fraction)
        return found

    other = logits.clone()
    other[0, 2, 0, 0] += 0.02
    assert attained(logits, Fraction(1, 20)) >= attained(other, Fraction(0)) > attained(logits, Fraction(0))


def test_the_box_holds_every_image_of_the_range() -> None:
    text = TEXT.format(metric="pixel_accuracy", channels=2, classes="a, b")
    normalised = text.replace("in [0, 1]", "in [0.1, 0.9]\n  normalize mean [0.5, 0.4, 0.3] std [0.25, 0.2, 0.3]")
    program, diagnostics = compile_text(normalised)
    assert program is not None, diagnostics
    box, model = box_of(program), program.model
    assert model.normalize is not None
    for channel, (mean, deviation) in enumerate(zip(model.normalize.mean, model.normalize.std, strict=True)):
        for value in (np.float32(0.1), np.float32(0.9)):
            exact = (Fraction(float(value)) - mean) / deviation
            assert abs(exact - Fraction(box.middle[channel])) <= Fraction(box.radius[channel])
            assert Fraction(box.given[channel]) >= abs(Fraction(float(value)) - Fraction(str(value))) / deviation
        assert Fraction(box.given[channel]) >= stored_off(Fraction(9, 10)) / deviation


RANGES = [
    (0, 1),
    (-1, 1),
    (Fraction(1, 10), Fraction(9, 10)),
    (0, 255),
    (0, Fraction(257, 256)),
    (-3, Fraction(1, 7)),
]
RANGES += [(0, Fraction(1, 2**140)), (0, Fraction(3, 2**1000)), (Fraction(1, 3), 10**30)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_stored_pixels_are_off_by_no_more_than_they_may(low: Fraction, high: Fraction) -> None:
    """Every pixel of 8 bits and many of 16, as they are read, in exact arithmetic; and no bound is far from it."""
    low, high = Fraction(low), Fraction(high)
    allowed, worst = stored_off(max(abs(low), abs(high))), Fraction(0)
    for levels, kind, step in ((255, np.uint8, 1), (65535, np.uint16, 37)):
        stored = np.arange(0, levels + 1, step).astype(kind)
        read = to_range(stored, low, high, "image")
        for u, value in zip(stored.tolist(), read.tolist(), strict=True):
            worst = max(worst, abs(Fraction(value) - low - (high - low) * Fraction(u, levels)))
    assert worst <= allowed
    assert high < Fraction(1, 2**100) or 3 * worst >= allowed


def test_pixels_of_another_precision_are_off_by_no_more_than_that() -> None:
    values = np.random.default_rng(0).uniform(0.1, 0.9, 20_000)
    read = to_range(values, Fraction(1, 10), Fraction(9, 10), "image")
    worst = max(abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(values, read, strict=True))
    assert 9 * stored_off(Fraction(9, 10)) / 10 <= worst <= stored_off(Fraction(9, 10))


@given(st.fractions(0, 1), st.integers(0, 1070))
def test_a_constant_out_of_all_proportion_still_gives_a_budget(eps: Fraction, below: int) -> None:
    """L of 2^-1070 beside a rounding of 1/8: the quotient is beyond every double, the budget is not."""
    prop, tiny = compiled().properties[0], constant(Fraction(1, 2**below), Fraction(1, 8))
    assert isinstance(prop.query, WorstCaseQuery)
    wanted, used = asked(replace(prop, query=replace(prop.query, budgets=(eps,))), tiny)
    assert isinstance(wanted.query, WorstCaseQuery)
    assert wanted.query.budgets[0] * used.value >= tiny.value * eps + Fraction(1, 8)
    assert lessened(wanted.query.budgets[0], tiny) == eps
