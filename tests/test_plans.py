"""Every way a worst case is found has a bound, an oracle's form, a rechecker's form and words, or a coded refusal."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch

from robspec import bounds, registry
from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.data.objects import Objects
from robspec.ir import plans
from robspec.ir.types import Metric, Program, WorstCaseQuery
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.lower.explain import explain
from robspec.oracle import pooled
from robspec.oracle.scene import Scene, value
from robspec.recheck.derive import Deriver
from robspec.recheck.located import Located
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.session.check import Options, refuse_uncovered
from robspec.verify.errors import OptionValueError
from tests.bounds.language import SPEC
from tests.tasks.detecting import SPEC as DETECTOR

PIXELS: dict[type[plans.Plan], tuple[str, str]] = {
    plans.Accuracy: ("pixel_accuracy", "mean(worst_case)"),
    plans.Stability: ("stability", "mean(worst_case)"),
    plans.Rate: ("recall[c1]", "mean(worst_case)"),
    plans.Quotient: ("iou[c1]", "mean(worst_case)"),
    plans.Weighted: ("weighted recall[c1]", "mean(worst_case)"),
    plans.MeanRate: ("mean_accuracy", "mean(worst_case)"),
    plans.Mean: ("mean_iou", "mean(worst_case)"),
    plans.Sum: ("mine", "mean(worst_case)"),
    plans.Components: ("object_recall(0.5)[c1]", "mean(worst_case)"),
    plans.PooledComponents: ("pooled object_recall(0.5)[c1]", "worst_case"),
    plans.Pooled: ("pooled iou[c1]", "worst_case"),
    plans.PooledMean: ("pooled mean_iou", "worst_case"),
}
SCORES = """language 1
model {
  input image [3, 8, 8] in [0, 1]
  output score [1]
  annotation normal | anomalous
}
data d {
  images "i/*.png"
  labels "l.csv"
}
property p {
  metric auroc
  norm l2
  attack both
  budget 1
  require worst_case >= 0.1
}
"""
DETECTIONS: dict[type[plans.Plan], tuple[str, str]] = {
    plans.Objects: ("recall[car]", "mean(worst_case)"),
    plans.PooledObjects: ("pooled recall[car]", "worst_case"),
    plans.Precisions: ("average_precision(0.5)", "worst_case"),
}
KINDS = get_args(plans.Plan)
UNCOVERED = {
    "attack": {plans.PooledComponents},
    "cross_check": {plans.Components, plans.PooledComponents, plans.Ranked},
    "certificate": {plans.Components, plans.PooledComponents},
}
CONSTANT = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
LOGITS = torch.tensor([[2.0, 0.5, 0.0, 1.0], [0.0, 1.0, 3.0, 0.0], [1.0, 0.0, 0.0, 4.0]]).reshape(1, 3, 2, 2)
LABELS = torch.tensor([0, 1, 1, 2]).reshape(1, 2, 2)


def program(kind: type[plans.Plan]) -> Program:
    if kind is plans.Ranked:
        text = SCORES
    elif kind in DETECTIONS:
        metric, quantity = DETECTIONS[kind]
        block = f"property p {{\n  metric {metric}\n  norm l2\n  budget 1\n  require {quantity} >= 0.1\n}}\n"
        text = DETECTOR.format(properties=block)
    else:
        metric, quantity = PIXELS[kind]
        definition = "metric mine = 0.25 * iou[c0] + 0.75 * recall[c1]" if kind is plans.Sum else ""
        text = SPEC.format(
            channels=3, names="c0, c1, c2", metric=metric, definitions=definition, requirement=f"{quantity} >= 0.1"
        )
    found, diagnostics = compile_text(text)
    assert found is not None, diagnostics
    return found


def asked(kind: type[plans.Plan]) -> Metric:
    query = program(kind).properties[0].query
    assert isinstance(query, WorstCaseQuery)
    assert type(query.metric.plan) is kind
    return query.metric


def context() -> Context:
    return Context(backends()["reference"], LOGITS, LABELS, 255, torch.ones(1, 2, 2) > 0, torch.ones(1, 2, 2))


def scene() -> Scene:
    flat = np.ascontiguousarray(LOGITS.double().reshape(3, 4).T.numpy())
    none = np.zeros(4, np.bool_)
    return Scene(flat, LABELS.reshape(-1).numpy(), none, ~none, np.ones(4), 2)


def test_every_plan_is_looked_at_here() -> None:
    assert {*PIXELS, *DETECTIONS, plans.Ranked} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_plan_says_where_it_is_proved_and_whether_it_is_exact(kind: type[plans.Plan]) -> None:
    words = " ".join((kind.__doc__ or "").split("\n")[0].split())
    for section in re.findall(r"[0-9]\.[A-Z]|D[0-9]", kind.proof.section):
        assert section in words
    assert ("exact" in words) is kind.proof.exact or "exact for each class" in words
    assert ("sound" in words) is not kind.proof.exact
    assert kind.proof.exact is kind.proof.claim.startswith("exact")


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_plan_has_words(kind: type[plans.Plan]) -> None:
    text = explain(program(kind))
    assert f"family: {kind.family} ({kind.proof.place})" in text
    assert f"algorithm: {kind.proof.algorithm}; {kind.proof.claim}" in text
    assert re.search(r"  formula: \S", text)
    assert re.search(r"  defined: \S", text)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_plan_has_a_bound(kind: type[plans.Plan]) -> None:
    metric = asked(kind)
    if kind.of_data_set:
        bound = open_dataset_bound(metric, (3, 2, 2), CONSTANT)
        if kind in PIXELS:
            bound.add(context())
            assert bound.clean() is not None
        bound.close()
    elif kind in PIXELS:
        assert open_bound(metric, context(), CONSTANT).clean()[0] is not None
        with pytest.raises(ValueError, match="each image"):
            open_dataset_bound(metric, (3, 2, 2), CONSTANT)
    else:
        assert kind.family in registry.names(bounds)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_plan_has_an_independent_form_or_a_coded_refusal(kind: type[plans.Plan]) -> None:
    """The oracle and the rechecker find the clean value that the bound finds, each from the definition."""
    compiled, metric = program(kind), asked(kind)
    given = {"attack": 1, "cross_check": 1, "certificate": True}
    for option, refused in UNCOVERED.items():
        options = Options(**{option: given[option]})  # type: ignore[arg-type]
        if kind in refused:
            with pytest.raises(OptionValueError, match="does not cover"):
                refuse_uncovered(compiled, options)
        else:
            refuse_uncovered(compiled, options)
    if kind not in PIXELS or kind in (plans.Components, plans.PooledComponents):
        return
    bound = open_dataset_bound(metric, (3, 2, 2), CONSTANT) if kind.of_data_set else None
    if bound is None:
        truth = open_bound(metric, context(), CONSTANT).clean()[0]
        found = value(metric, scene(), scene().predicted)
    else:
        bound.add(context())
        truth, found = bound.clean(), pooled.clean_value(metric, [scene()])
        bound.close()
    assert found == truth
    deriver = Deriver(compiled, [CONSTANT], lambda *given: given[2])
    deriver.add(["i"], LOGITS, LABELS, torch.ones(1, 2, 2) > 0, torch.ones(1, 2, 2))
    assert [Fraction(entry["clean"]) for entry in deriver.finish()[1][0]] == [truth]


@pytest.mark.parametrize("kind", DETECTIONS, ids=lambda k: k.__name__)
def test_every_plan_of_detections_is_derived_anew(kind: type[plans.Plan]) -> None:
    """The rechecker takes an image of a detector, and finds every object of it: both locations fire."""
    compiled = program(kind)
    boxes = np.tile(np.array([[0.0, 0, 4, 4]]), (16, 1))
    boxes[8:] += 8
    scores = np.full((2, 16), -3.0)
    scores[0, [0, 8]] = 3.0
    none = np.zeros(2, np.bool_)
    marked = Objects(boxes[[0, 8]], np.zeros(2, np.int64), none, none)
    detector = compiled.model.detector
    assert detector is not None
    deriver = Deriver(compiled, [CONSTANT], lambda *given: given[2])
    image = Located.of(scores, boxes, marked, detector, (16, 16))
    deriver.add_located(["i"], torch.from_numpy(scores)[None, :, None, :], [image])
    (entry,) = deriver.finish()[1][0]
    assert entry["clean"] == "1"
    claim = entry["points"][0]["certified"]
    assert claim.exact >= 1 - Fraction(1, 2**50)
