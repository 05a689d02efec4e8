"""Logits and annotations as numpy arrays or as tensors: everything that is found of them is the same."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec import arrays
from robspec.bounds.context import Context
from robspec.kernels.knapsack import Backend, backends
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.arithmetic import favourable
from robspec.verify.census import Census
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled, metrics_of

SIDE = 6
METRICS = {
    1: ["pixel_accuracy", "stability", "iou[b]", "pooled iou[b]", "mean_iou", "fnr[b]"],
    4: [
        *("pixel_accuracy", "stability", "iou[b]", "iou[b, c]", "dice[a]", "recall[c]", "fnr[b]", "precision[d]"),
        *("mean_iou", "mean_dice", "mean_accuracy", "frequency_weighted_iou", "top_k(2)", "object_recall(0.5)[b]"),
        *("pooled iou[b]", "pooled mean_iou"),
        *("pixel_accuracy in region", "iou[b] in region", "pixel_accuracy in [a, b]", "weighted pixel_accuracy"),
    ],
}
HEAD = """language 1
model {{
  input image [3, {side}, {side}] in [0, 1]
  output logits [{channels}, {side}, {side}]
  classes {classes}
}}
data d {{
  images "i/*"
  masks "m/*"
  region "r/*"
  weights "w/*"
  ignore 255
}}
"""
ASKED = """
property worst{n} {{
  metric {metric}
  norm l2
  budget 0 to 2 points 3
  require {aggregate}
}}
"""
FAR = """
property far{n} {{
  metric {metric}
  norm l2
  degraded when h {side} 0.5
  require radius >= 0 for all images
}}
"""


def text(channels: int) -> str:
    classes = ", ".join("abcd"[: max(channels, 2)])
    found = HEAD.format(side=SIDE, channels=channels, classes=classes)
    for n, metric in enumerate(METRICS[channels]):
        pooled = metric.startswith("pooled")
        aggregate = "worst_case" if pooled else "mean(worst_case)"
        found += ASKED.format(n=n, metric=metric, aggregate=aggregate + (" <= 1" if "fnr" in metric else " >= 0"))
        if not pooled:
            found += FAR.format(n=n, metric=metric, side=">=" if metric.startswith("fnr") else "<=")
    return found


def batch(channels: int, seed: int, kind: type) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-4, 5, (3, channels, SIDE, SIDE)).astype(kind) / 2  # with ties
    labels = rng.integers(0, max(channels, 2), (3, SIDE, SIDE))
    labels[rng.random(labels.shape) < 0.1] = 255
    return logits, labels, rng.random(labels.shape) < 0.8, rng.random(labels.shape)


def answered(channels: int, backend: Backend, parts: tuple[Any, ...], delta: Fraction) -> list[Any]:
    """Everything that is found of a batch."""
    program, diagnostics = compile_text(text(channels))
    assert program is not None, diagnostics
    constant = Constant(Fraction(3, 4), L2, L2, ConstantStatus.PROVED, rounding=delta)
    logits, labels, region, weights = parts
    context = Context(backend, logits, labels, 255, region, weights)
    names = ("x", "y", "z")
    pairs = [(p, constant) for p in program.properties]
    single = [(p, c) for p, c in pairs if not is_pooled(p)]
    evaluator = BatchEvaluator(context, names, together=single)
    found: list[Any] = [evaluator.answer(p, c) for p, c in single]
    together = PooledEvaluator([(p, c) for p, c in pairs if is_pooled(p)], program.model.plane)
    together.add(context)
    found += [together.answer(p.name) for p, _ in pairs if is_pooled(p)]
    together.close()
    census = Census(program)
    census.add(names, context)
    return [
        *found,
        list(context.finite()),
        census.by_class,
        census.predicted,
        census.ignored,
        list(census.views.values()),
    ]


@pytest.mark.parametrize("name", ["reference", "cpu", "numpy"])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 2)])
def test_arrays_and_tensors_have_the_same_answers(name: str, channels: int, delta: Fraction) -> None:
    from robspec.kernels.knapsack import array

    backend = array.BACKEND if name == "numpy" else backends()[name]
    for seed, kind in enumerate((np.float64, np.float32)):
        if delta and kind is np.float32:
            continue  # rounding is proved of float64
        plain = batch(channels, seed, kind)
        first = answered(channels, backend, plain, delta)
        tensors = tuple(torch.from_numpy(part) for part in plain)
        assert answered(channels, backend, tensors, delta) == first
        assert answered(channels, backend, (tensors[0], *plain[1:]), delta) == first
        assert answered(channels, backend, (plain[0], *tensors[1:]), delta) == first


@pytest.mark.parametrize("channels", [1, 4])
def test_favourable_logits_are_the_best_of_every_choice(channels: int) -> None:
    """By brute force: of each pixel the best that a class which is level within delta can do."""
    delta = Fraction(1, 2)
    program, _ = compile_text(text(channels))
    assert program is not None
    accuracy = next(iter(metrics_of(program.properties[0].query)))
    logits, labels, _, _ = batch(channels, 5, np.float64)
    found = favourable(logits, labels, delta, accuracy)
    assert isinstance(found, np.ndarray)
    wide = np.concatenate([np.zeros_like(logits), logits], axis=1) if channels == 1 else logits
    said = (found[:, 0] > 0) if channels == 1 else found.argmax(axis=1)
    reach = float(delta)
    for place in np.ndindex(labels.shape):
        row = wide[place[0], :, place[1], place[2]]
        level = (
            np.flatnonzero(row >= row.max() - 2 * reach)
            if channels > 1
            else np.flatnonzero([row[1] <= 2 * reach, row[1] >= -2 * reach])
        )
        best = labels[place] in level
        assert (said[place] == labels[place]) == best or labels[place] == 255


def test_what_an_array_is_given_as() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = arrays.tensor(values)
    assert np.shares_memory(arrays.host(tensor), values)
    assert arrays.tensor(tensor) is tensor
    assert arrays.host(values) is values
    assert arrays.tensor(None) is None
    assert arrays.kind(values) == arrays.kind(tensor) == "float32"
    assert arrays.size(values) == arrays.size(tensor) == 6
    assert arrays.doubles(tensor).dtype == arrays.doubles(values).dtype == np.float64
    assert arrays.doubles(tensor.to(torch.bfloat16)).tolist() == values.tolist()
    values.flags.writeable = False
    assert not np.shares_memory(arrays.host(arrays.tensor(values)), values)
    assert arrays.library(values) is np
    assert arrays.library(tensor) is torch
    assert isinstance(arrays.like(values, tensor), torch.Tensor)
    assert arrays.like(values, values) is values
