"""Detectors by smoothing: certified scores stay on their side of the threshold, all others may be on either."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from robspec.data.objects import Objects
from robspec.ir.types import Program
from robspec.lower import compile_text
from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.sampling import Counts, sample
from robspec.smoothing.testing import enough, histogram, least_hits
from robspec.verify.result import ImageResult
from robspec.verify.smoothed import SmoothedEvaluator, asked
from tests.examples import examples
from tests.kernels.available import CPU
from tests.tasks.detecting import BY_LOCATION, SPEC

F = Fraction
SAMPLES = 100
PROPERTY = """
property p {{
  metric {metric}
  norm l2
  {question}
  by smoothing {{ sigma 0.25 samples {samples} alpha 0.001 }}
  require {requirement}
}}
"""
TWO_BY_TWO = """language 1
model {{
  input image [3, 4, 4] in [0, 1]
  output scores [2, 4]
  classes car, truck
}}
detector {{
  threshold sigmoid 0.5
  nms none
  match location {least}
  strides 2
}}
data cars {{
  images "i/*.png"
  objects coco "a.json"
}}
{properties}"""


@dataclass
class Batch:
    """Images without pixels that matter, and what is annotated."""

    names: tuple[str, ...]
    images: torch.Tensor
    objects: tuple[Objects, ...]
    labels: None = None
    region: None = None
    weights: None = None


def program(metric: str, question: str, least: int = 1) -> Program:
    whole = metric.startswith("pooled")
    requirement = f"{'radius' if 'degraded' in question else 'worst_case'} >= 0{'' if whole else ' for all images'}"
    for text in (requirement, requirement.replace(">= 0", "<= 100000")):
        prop = PROPERTY.format(metric=metric, question=question, samples=SAMPLES, requirement=text)
        found, diagnostics = compile_text(TWO_BY_TWO.format(properties=prop, least=least))
        if found is not None:
            return found
    raise AssertionError(diagnostics)


def answer(
    asked: Program, chosen: list[np.ndarray], hits: list[np.ndarray], objects: list[Objects]
) -> list[ImageResult]:
    """Answer the property for images whose counts are known."""
    images = iter(Counts(c, h) for c, h in zip(chosen, hits, strict=True))
    evaluator = SmoothedEvaluator(asked, None, CPU, len(chosen), sampler=lambda *_: next(images))  # type: ignore[arg-type]
    names = tuple(f"i{k}" for k in range(len(chosen)))
    batch = Batch(names, torch.zeros(len(chosen), 3, 4, 4), tuple(objects))
    evaluator.meet(batch.images)
    (prop,) = asked.properties
    assert prop.smoothing is not None
    found = evaluator.answer(prop, prop.smoothing, batch) or evaluator.conclude(prop)
    evaluator.close()
    return found


CENTRES = [(1.0, 1.0), (3.0, 1.0), (1.0, 3.0), (3.0, 3.0)]


def counted(fires: np.ndarray, objects: Objects, least: int) -> dict[str, Fraction | None]:
    """What a detector by location finds, in plain Python: [2, 4] of 0 and 1."""
    listed = list(zip(objects.boxes.tolist(), objects.classes.tolist(), strict=True))

    def inside(centre: tuple[float, float], box: list[float]) -> bool:
        return box[0] < centre[0] < box[2] and box[1] < centre[1] < box[3]

    def own(box: list[float], k: int) -> list[int]:
        rivals = [other for other, c in listed if c == k]
        return [
            n for n, at in enumerate(CENTRES) if inside(at, box) and sum(inside(at, other) for other in rivals) == 1
        ]

    free = [n for n, at in enumerate(CENTRES) if not any(inside(at, box) for box, _ in listed)]
    tp = sum(int(fires[k, own(box, k)].sum() >= least) for box, k in listed)
    fp, total, mislabelled = int(fires[:, free].sum()), len(listed), 0
    for box, k in listed:
        other = 1 - k
        strange = [n for n in own(box, k) if not any(inside(CENTRES[n], b) for b, c in listed if c == other)]
        missed = fires[k, own(box, k)].sum() < least
        mislabelled += int(missed and fires[other, strange].sum() >= least)
    return {
        "recall": F(tp, total) if total else None,
        "missed": F(total - tp),
        "false_positives": F(fp),
        "precision": (F(tp, tp + fp) if tp + fp else F(0)) if total else None,
        "mislabelled": F(mislabelled),
    }


BOXES = [[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [0.0, 2.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0]]
SCENES = st.tuples(
    st.lists(st.integers(0, 1), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.tuples(st.sampled_from(BOXES), st.integers(0, 1)), max_size=3),
    st.integers(1, 2),
)


def annotated(listed: list[tuple[list[float], int]]) -> Objects:
    none = np.zeros(len(listed), np.bool_)
    boxes = np.array([b for b, _ in listed], np.float64).reshape(-1, 4)
    return Objects(boxes, np.array([k for _, k in listed], np.int64), none, none)


@pytest.mark.parametrize("metric", ["recall", "missed", "false_positives", "precision", "mislabelled"])
@settings(max_examples=examples(25))
@given(scene=SCENES)
def test_worst_case(metric: str, scene: tuple[list[int], list[bool], list[tuple[list[float], int]], int]) -> None:
    """The worst over every side of the threshold of every score that is not certified."""
    sides, held, listed, least = scene
    chosen, kept, objects = np.array(sides).reshape(2, 4), np.array(held).reshape(2, 4), annotated(listed)
    (found,) = answer(program(metric, "budget 0.1", least), [chosen], [np.where(kept, SAMPLES, 0)], [objects])
    values = []
    for free in itertools.product([0, 1], repeat=int((~kept).sum())):
        fires = chosen.copy()
        fires[~kept] = free
        values.append(counted(fires, objects, least)[metric])
    clean = counted(chosen, objects, least)[metric]
    assert found.clean == clean
    assert found.attained == (None,)
    if clean is None:
        assert found.certified == (None,)
        return
    known = [v for v in values if v is not None]
    truth = max(known) if metric not in ("recall", "precision") else min(known)
    (got,) = found.certified
    assert got is not None
    if metric in ("precision", "mislabelled"):
        # Sound bounds: lost objects and added detections, or shared raised locations, are bounded one by one.
        assert (got <= truth) if metric == "precision" else (got >= truth)
        if kept.all():
            assert got == clean
    else:
        assert got == truth


def test_pooled() -> None:
    objects = annotated([([0.0, 0.0, 2.0, 2.0], 0)])
    on = np.array([[1, 0, 0, 0], [0, 0, 0, 0]])
    hits = np.full((2, 4), SAMPLES)
    open_ = hits.copy()
    open_[0, 0] = 0
    (found,) = answer(program("pooled recall", "budget 0.1"), [on, on], [hits, open_], [objects] * 2)
    assert (found.clean, found.certified) == (1, (F(1, 2),))


def test_radius_is_that_of_the_score_that_decides() -> None:
    """Two locations, both of one object: it is lost where both are free, at the larger radius of the two."""
    objects = annotated([([0.0, 0.0, 4.0, 2.0], 0)])
    on = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    hits = np.array([[90, 97, 100, 100], [100] * 4])
    (both,) = answer(program("recall", "degraded when h < 1"), [on], [hits], [objects])
    (two,) = answer(program("recall", "degraded when h < 1", 2), [on], [hits], [objects])

    def exact(k: int) -> float:
        from scipy.stats import beta

        return float(0.25 * norm.ppf(beta.ppf(0.001 / 8, k, SAMPLES - k + 1)))

    for result, k in ((both, 97), (two, 90)):
        assert result.certified[0] is not None
        assert exact(k) - 1e-6 < float(result.certified[0]) <= exact(k) + 1e-12


class Linear:
    """The score of a location of the only class is one entry of the image, and a threshold is at 0."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0].reshape(len(images), 1, 1, -1)


def test_counts_are_those_of_a_linear_score() -> None:
    """P(z + sigma g >= 0) = Phi(z / sigma), and what is not finite or within the bracket is found by nobody."""
    z = torch.linspace(-0.6, 0.6, 9)[None, None]
    smoothing = Smoothing(F(1, 4), 4000, 100, F(1, 20), fires=(0.0, 0.0))
    counts = sample(Linear(), z, smoothing, 500)
    assert counts.chosen.shape == (1, 9)
    distance = np.abs(z.numpy()[0, 0].astype(np.float64))
    sure = distance > 0.1
    assert np.array_equal(counts.chosen[0, sure], (z[0, 0].numpy() > 0)[sure])
    frequency = norm.cdf(distance / 0.25)[sure]
    assert np.all(counts.hits[0, sure] <= binom.isf(1e-7, 4000, frequency))
    assert np.all(counts.hits[0, sure] >= binom.isf(1 - 1e-7, 4000, frequency))
    for chunk in (1, 7):
        again = sample(Linear(), z, Smoothing(F(1, 4), 30, 5, F(1, 20), fires=(0.0, 0.0)), chunk)
        first = sample(Linear(), z, Smoothing(F(1, 4), 30, 5, F(1, 20), fires=(0.0, 0.0)), 35)
        assert np.array_equal(again.hits, first.hits)
        assert np.array_equal(again.chosen, first.chosen)
    wide = sample(Linear(), z, Smoothing(F(1, 4), 30, 5, F(1, 20), fires=(-9.0, 9.0)), 10)
    assert not wide.hits.any()
    assert not sample(Linear(), z * math.nan, Smoothing(F(1, 4), 9, 5, F(1, 20), fires=(0.0, 0.0)), 10).hits.any()


def test_false_certifications_are_as_rare_as_promised() -> None:
    """Ten scores just nearer to the threshold than eps, on both sides: attacks move their medians across."""
    eps, alpha, repeats, samples = 0.25, 0.05, examples(400), 40
    smoothing = Smoothing(F(1, 4), samples, 3, F(1, 20), fires=(0.0, 0.0))
    tau = smoothing.frequency(F(1, 4))
    assert tau is not None
    near = (eps - 1e-6) * torch.tensor([1.0, -1.0] * 5)
    image = torch.zeros(2, 1, 10)
    image[0, 0] = near
    wrong = 0
    for k in range(repeats):
        # The second channel makes another image of it, and so other noise.
        image[1, 0, 0] = k
        counts = sample(Linear(), image, smoothing, samples + 3)
        wrong += int(counts.hits.max()) >= least_hits(histogram(counts.hits, samples), tau, F(1, 20))
    assert wrong <= binom.isf(1e-6, repeats, alpha)
    # As many samples as this can be wrong, and now and then are.
    assert enough(10, tau, F(1, 20), samples) is None
    assert wrong > 0


def test_so_few_samples_are_said_to_be_too_few() -> None:
    objects = annotated([])
    on, hits = np.zeros((2, 4), np.int64), np.full((2, 4), SAMPLES)
    asked = program("false_positives", "budget 0.5")
    images = iter([Counts(on, hits)])
    evaluator = SmoothedEvaluator(asked, None, CPU, 1, sampler=lambda *_: next(images))  # type: ignore[arg-type]
    batch = Batch(("i",), torch.zeros(1, 3, 4, 4), (objects,))
    evaluator.meet(batch.images)
    (prop,) = asked.properties
    assert prop.smoothing is not None
    (found,) = evaluator.answer(prop, prop.smoothing, batch)
    assert found.certified == (8,)
    abstains, few = evaluator.notes()
    assert abstains.figures == {"share": 1, "scores": 8}
    needed = int(few.figures["samples"])
    tau = norm.cdf(2)
    assert 8 * tau**needed <= 0.001 < 8 * tau ** (needed - 2)
    evaluator.close()


def test_the_threshold_is_known_as_well_as_a_float32_sigmoid_is() -> None:
    (settings_,) = asked(program("recall", "budget 0.1"))
    assert settings_.fires is not None
    low, high = settings_.fires
    assert -1e-5 < low < 0 < high < 1e-5


def test_matches_by_overlap_are_refused() -> None:
    """Boxes are not smoothed."""
    prop = PROPERTY.format(metric="recall", question="budget 0.1", samples=9, requirement="mean(worst_case) >= 1")
    found, diagnostics = compile_text(SPEC.format(properties=prop))
    assert found is None
    assert [d.code for d in diagnostics] == ["E0159"]
    assert "match location" in str(diagnostics[0].mend)
    found, diagnostics = compile_text(BY_LOCATION.format(properties=prop))
    assert found is not None, diagnostics
