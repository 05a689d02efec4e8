"""Certificates about the function over the reals: what a check certifies with rounding, derived anew."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.bounds.context import Context
from robspec.ir.types import Program
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.oracle.rounded import best_value, favoured
from robspec.oracle.scene import Scene
from robspec.recheck.derive import Deriver
from robspec.recheck.write import Told, filled
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, LINF, Norm
from robspec.session.certificate import _told
from robspec.verify.arithmetic import favourable
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled
from tests.bounds.language import metric

TEXT = """language 1
model {
  input image [3, 2, 3] in [0, 1]
  output logits [3, 2, 3]
  classes a, b, c
}
data d {
  images "i/*"
  masks "m/*"
}
"""
METRICS = (
    "pixel_accuracy",
    "iou[b]",
    "precision[b]",
    "mean_iou",
    "mean_accuracy",
    "pooled iou[b]",
    "fpr[b]",
)
CONDITIONS = ("h <= 0.5", "h < 0.8 * h0", "h <= 0.5 or h <= 0.6 * h0", "h < 0.9 * h0 and pixel_accuracy <= 0.7")


def compiled(asked: str) -> Program:
    sense, conditions = (">=", CONDITIONS) if asked != "fpr[b]" else ("<=", ("h >= 0.5", "h > 0.1 + 1 * h0"))
    whole = asked.startswith("pooled")
    aggregate, every = ("worst_case", "") if whole else ("mean(worst_case)", " for all images")
    text = TEXT + f"property p {{\n  metric {asked}\n  norm l2\n  budget 0 to 1 points 3\n"
    text += f"  require {aggregate} {sense} 0\n}}\n"
    for n, condition in enumerate(conditions[:2] if whole else conditions):
        text += f"property r{n} {{\n  metric {asked}\n  norm l2\n  degraded when {condition}\n"
        text += f"  require radius >= 0{every}\n}}\n"
    program, diagnostics = compile_text(text)
    assert program is not None, [str(d) for d in diagnostics]
    return program


def answers(program: Program, constants: list[Constant], context: Context) -> list[Any]:
    evaluator = BatchEvaluator(context, ["x", "y"])
    pooled = [(p, c) for p, c in zip(program.properties, constants, strict=True) if is_pooled(p)]
    pools = PooledEvaluator(pooled, (3, 2, 3))
    pools.add(context)
    found = []
    for prop, constant in zip(program.properties, constants, strict=True):
        found.append(pools.answer(prop.name) if is_pooled(prop) else evaluator.answer(prop, constant))
    pools.close()
    return found


@pytest.mark.parametrize("norm", [L2, LINF], ids=str)
@pytest.mark.parametrize("asked", METRICS)
def test_what_a_check_certifies_with_rounding_is_derived(asked: str, norm: Norm) -> None:
    """Values, radii and clean values of random images, many of them on ties, are those exact arithmetic derives."""
    program, random = compiled(asked), np.random.default_rng(len(asked))
    differs = 0
    for _ in range(2):
        logits = torch.from_numpy(random.integers(-2, 3, (2, 3, 2, 3)) / 2.0 + random.normal(size=(2, 3, 2, 3)) / 50)
        labels = torch.from_numpy(random.integers(0, 3, (2, 2, 3)))
        delta = Fraction(float(random.choice([1e-9, 0.03, 0.4])))
        constant = Constant(Fraction(3, 2), L2, norm, ConstantStatus.PROVED, rounding=delta)
        constants = [constant] * len(program.properties)
        context = Context(backends()["reference"], logits, labels, None)
        results = answers(program, constants, context)
        told: list[deque[tuple[Told, ...]]] = []
        for prop, found in zip(program.properties, results, strict=True):
            if is_pooled(prop):
                told.append(deque(tuple(map(Told, image.certified)) for image in found))
            else:
                told.append(deque(_told(prop, constant, context, found)))

        def settle(number: int, _: int, entry: dict[str, Any], told: Any = told) -> dict[str, Any]:
            return filled(program.properties[number].name, entry, told[number].popleft())

        deriver = Deriver(program, constants, settle)
        deriver.add(["x", "y"], logits, labels, None, None)
        _, points = deriver.finish()
        for found, entries in zip(results, points, strict=True):
            for image, entry in zip(found, entries, strict=True):
                best = image.attained[0] if "met" not in entry else None
                if best is not None:
                    assert Fraction(entry["best"]) == best
                for high, met in zip(image.attained, entry.get("met", ()), strict=False):
                    assert met is (None if high is None else high == 0)
                differs += entry["best"] != entry["clean"]
    assert differs


@pytest.mark.parametrize("channels", [3, 4])
def test_two_readings_of_what_rounding_leaves_open_agree(channels: int) -> None:
    random = np.random.default_rng(channels)
    for _ in range(40):
        logits = random.integers(-3, 4, (1, channels, 1, 7)) / 4.0 + random.normal(size=(1, channels, 1, 7)) / 100
        labels = random.integers(0, max(channels, 2) + 1, (1, 1, 7))
        delta = Fraction(float(random.random() / 3))
        asked = metric(str(random.choice(["pixel_accuracy", "top_k(2)", "iou[c1]", "mean_iou", "fpr[c0]"])), channels)
        scene = Scene(
            logits[0].reshape(channels, -1).T.copy(),
            labels.reshape(-1),
            np.zeros(7, bool),
            np.ones(7, bool),
            np.ones(7),
            2,
        )
        mine = favoured(scene, delta, asked)
        found = favourable(torch.from_numpy(logits), torch.from_numpy(labels), delta, asked)
        theirs = replace(scene, logits=found[0].reshape(found.shape[1], -1).T.numpy())
        if asked.rank == 1:
            assert np.array_equal(mine.predicted, theirs.predicted)
        assert np.array_equal(mine.among(asked.rank), theirs.among(asked.rank))


def test_no_logits_within_delta_are_worth_more_also_by_rank() -> None:
    """Two of four classes count; errors that aim at the second and third largest logit of one pixel."""
    asked, random = metric("top_k(2)", 4), np.random.default_rng(0)
    gained = 0
    for _ in range(200):
        logits = random.integers(-2, 3, (5, 4)) / 4.0
        labels = random.integers(0, 4, 5)
        scene = Scene(logits, labels, np.zeros(5, bool), np.ones(5, bool), np.ones(5), 2)
        delta = Fraction(3, 16)
        best = best_value(asked, scene, delta)
        for pixel in range(5):
            error = np.zeros((5, 4))
            error[pixel, labels[pixel]] += 0.13
            second = np.argsort(-logits[pixel], kind="stable")[1]
            error[pixel, second] -= 0.13
            assert np.linalg.norm(error) <= float(delta)
            reached = best_value(asked, replace(scene, logits=logits + error), Fraction(0))
            assert reached is not None
            assert best is not None
            assert reached <= best
            gained += reached > (best_value(asked, scene, Fraction(0)) or 0)
    assert gained
