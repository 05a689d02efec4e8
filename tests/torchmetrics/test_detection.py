"""The certified mean average precision: below what `robspec check` certifies, alike however batches are grouped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import MinMaxMetric, Running

from robspec.bounds.context import Context
from robspec.bounds.detections import AveragePrecisions
from robspec.bounds.scene import Scene
from robspec.ir.plans import Precisions
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import Objects
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.torchmetrics import CertifiedMeanAveragePrecision
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument, MixedStates, NoLogits
from tests.kernels.available import CPU

F = Fraction
Image = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def image(seed: int, classes: int = 2) -> Image:
    """Some objects, each with a location that fires for it, and others that do not."""
    rng = random.Random(seed)  # noqa: S311  (a test draws scenes, not secrets)

    def boxes_of(count: int) -> list[list[float]]:
        corners = [(float(rng.randrange(40)), float(rng.randrange(40))) for _ in range(count)]
        return [[x, y, x + 8, y + 8] for x, y in corners]

    truth = boxes_of(rng.randrange(4))
    labels = [rng.randrange(classes) for _ in truth]
    boxes = [*truth, *boxes_of(4)]
    scores = torch.full((classes, len(boxes)), -4.0)
    for i, k in enumerate(labels):
        scores[k, i] = rng.choice([0.5, 1.0, 2.0, 4.0])
    found = {"scores": scores, "boxes": torch.tensor(boxes)}
    return found, {"boxes": torch.tensor(truth).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}


IMAGES = [image(seed) for seed in range(9)]


def make(eps: float = 0.3, **options: Any) -> CertifiedMeanAveragePrecision:
    return CertifiedMeanAveragePrecision(eps, 1, 2, overlaps="0.5 to 0.6", levels=("0.5", "0.7", "0.9"), **options)


def batches(size: int) -> Iterator[tuple[list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]]:
    for start in range(0, len(IMAGES), size):
        part = IMAGES[start : start + size]
        yield [p for p, _ in part], [t for _, t in part]


def value(size: int, metric: CertifiedMeanAveragePrecision) -> Fraction:
    for preds, target in batches(size):
        metric.update(preds, target)
    found = metric.exact().value
    assert isinstance(found, Fraction)
    assert float(metric.compute()) <= found
    return found


def by_check(eps: Fraction) -> tuple[Fraction, Fraction]:
    """The clean value and the bound of `robspec check`."""
    detector = Detector("sigmoid", F("0.05"), F("0.5"), "overlap", F(1, 2), 1, "frozen")
    asked = Metric("m", Precisions(()), arguments=(F("0.5"), F("0.55"), F("0.6")))
    opened = AveragePrecisions(asked, Constant(F(1), L2, L2, ConstantStatus.PROVED))
    for p, t in IMAGES:
        n = len(t["labels"])
        objects = Objects(t["boxes"].double().numpy(), t["labels"].numpy(), np.zeros(n, bool), np.zeros(n, bool))
        scene = Scene(p["scores"].double().numpy(), p["boxes"].double().numpy(), None, objects)
        opened.add(Context(CPU, torch.zeros(1, 1, 1, 1), None, None, scenes=(detector, (scene,))))
    clean, worst = opened.clean(), opened.worst_case([eps])[0]
    opened.close()
    assert clean is not None
    assert worst is not None
    return clean, worst


@pytest.mark.parametrize("eps", ["0", "0.3", "0.6", "1.5"])
def test_it_is_no_better_than_the_check_and_alike_for_every_grouping(eps: str) -> None:
    clean, worst = by_check(F(eps))
    found = value(2, make(float(eps)))
    assert found == value(5, make(float(eps)))
    assert found <= worst <= clean
    # Levels at the scores themselves give up next to nothing.
    if eps in ("0", "0.3"):
        assert found > F(1, 2) * worst > 0


def test_many_batches_fold_into_one_record() -> None:
    one, many = make(), make()
    for _ in range(3):
        value(9, one)
        value(1, many)
    assert one.exact() == many.exact()
    assert len(many.values) <= 17


def test_merging_wrapping_and_moving_change_no_digit() -> None:
    whole = value(3, make())
    first, second = make(), make()
    parts = list(batches(3))
    first.update(*parts[0])
    second.update(*parts[1])
    second.update(*parts[2])
    first.merge_state(second)
    assert first.exact().value == whole
    tracker, collection, extremes = (
        MetricTracker(make()),
        MetricCollection({"a": make(), "b": make(1.5)}),
        MinMaxMetric(make()),
    )
    tracker.increment()
    running = Running(make(), window=3)
    for part in parts:
        for wrapped in (tracker, collection, extremes, running):
            wrapped.update(*part)
    assert float(tracker.compute()) == float(collection.compute()["a"]) == float(running.compute())
    assert float(collection.compute()["b"]) < float(collection.compute()["a"])
    assert float(extremes.compute()["raw"]) == float(tracker.compute())
    half = make().half()
    assert value(3, half) == whole


def test_a_batch_that_is_refused_leaves_the_others() -> None:
    metric = make()
    (first, *_) = batches(4)
    metric(*first)
    before = metric.exact()
    preds, target = first
    bad: list[tuple[Any, Any]] = [
        (preds, target[:1]),
        ([], []),
        ([{"scores": preds[0]["scores"]}], target[:1]),
        ([{**preds[0], "boxes": preds[0]["boxes"][:, :3]}], target[:1]),
        ([{**preds[0], "scores": preds[0]["scores"][:1]}], target[:1]),
        ([{**preds[0], "scores": preds[0]["scores"] * float("nan")}], target[:1]),
        (preds[:1], [{"boxes": torch.zeros(1, 4), "labels": torch.tensor([2])}]),
        (preds[:1], [{"boxes": torch.zeros(1, 4), "labels": torch.tensor([0.5])}]),
    ]
    for case in bad:
        with pytest.raises(BadBatch):
            metric(*case)
        assert metric.exact() == before


def test_probabilities_and_arguments_are_refused() -> None:
    metric = make()
    for preds, target in batches(3):
        metric.update([{**p, "scores": torch.sigmoid(p["scores"])} for p in preds], target)
    with pytest.raises(NoLogits):
        metric.compute()
    given: list[dict[str, Any]] = [
        {"overlaps": "0.5 to 0.97"}, {"threshold": 0}, {"nms": 1.5}, {"levels": ("0.01",)}, {"levels": (1,)},
        {"norm": "l3"}, {"classes": 0}, {"limit": 0}, {"eps": -1},
    ]  # fmt: skip
    for case in given:
        with pytest.raises(BadMetricArgument):
            CertifiedMeanAveragePrecision(**{"eps": 0.1, "lipschitz": 1, "classes": 2, **case})
    one = make()
    one.update(*next(batches(2)))
    other = make(0.5)
    other.update(*next(batches(2)))
    one.merge_state(other)
    with pytest.raises(MixedStates):
        one.compute()


def test_without_objects_there_is_no_value() -> None:
    metric = make()
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    metric.update([IMAGES[0][0]], [empty])
    assert metric.exact().value is None
    assert torch.isnan(metric.compute())
