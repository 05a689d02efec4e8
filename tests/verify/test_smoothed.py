"""Properties by smoothing: what is certified stays, and whatever else an image may become is enumerated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.ir.types import Program
from robspec.lower import compile_text
from robspec.semantics.norm import L2
from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.sampling import Counts
from robspec.verify.result import ImageResult
from robspec.verify.smoothed import SmoothedEvaluator
from tests.bounds.language import metric
from tests.bounds.test_metrics import CASES, IDS, Case
from tests.examples import examples
from tests.kernels.available import CPU

F = Fraction
K, SAMPLES = 3, 100
SPEC = """language 1
model {{
  input image [3, 1, {items}] in [0, 1]
  output logits [{channels}, 1, {items}]
  classes {names}
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
  ignore 255
}}
{definitions}
property p {{
  metric {metric}
  norm l2
  {question}
  by smoothing {{ sigma 0.25 samples 100 alpha 0.001 {tau} }}
  require {requirement}
}}
"""


@dataclass
class Batch:
    """Images without pixels that matter, and their labels."""

    names: tuple[str, ...]
    images: torch.Tensor
    labels: torch.Tensor | None
    region: torch.Tensor | None = None
    weights: torch.Tensor | None = None


@lru_cache
def program(
    metric: str, items: int, question: str, definitions: str = "", tau: str = "", channels: int = K
) -> Program:
    names = ", ".join(f"c{k}" for k in range(max(channels, 2)))
    radius = question.startswith("degraded")
    measure = "radius" if radius else "worst_case"
    wholes = [f"{measure} >= 0", f"{measure} <= 1"] if metric.startswith("pooled") else []
    for requirement in [f"{measure} >= 0 for all images", f"{measure} <= 1 for all images", *wholes]:
        text = SPEC.format(
            metric=metric,
            items=items,
            question=question,
            definitions=definitions,
            tau=tau,
            channels=channels,
            names=names,
            requirement=requirement,
        )
        found, diagnostics = compile_text(text)
        if found is not None:
            return found
    raise AssertionError(diagnostics)


def answer(
    asked: Program, chosen: Sequence[Sequence[int]], hits: Sequence[Sequence[int]], labels: list[list[int]]
) -> list[ImageResult]:
    """Answer the property for images whose counts are known."""
    images = iter(Counts(np.array([c]), np.array([h])) for c, h in zip(chosen, hits, strict=True))

    class Nothing:
        def logits(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("no forward pass is needed")

    evaluator = SmoothedEvaluator(asked, Nothing(), CPU, len(chosen), sampler=lambda *_: next(images))
    batch = Batch(
        tuple(f"i{k}" for k in range(len(chosen))),
        torch.zeros(len(chosen), 3, 1, len(chosen[0])),
        torch.tensor(labels)[:, None, :],
    )
    evaluator.meet(batch.images)
    (prop,) = asked.properties
    assert prop.smoothing is not None
    found = evaluator.answer(prop, prop.smoothing, batch)
    found = found or evaluator.conclude(prop)
    evaluator.close()
    return found


def worst(case: Case, chosen: Sequence[int], held: Sequence[bool], labels: list[int]) -> Fraction | None:
    """The worst value when whatever is not held may be any class."""
    choices = [[c] if h else range(K) for c, h in zip(chosen, held, strict=True)]
    values = [case.truth(labels, list(found)) for found in itertools.product(*choices)]
    known = [v for v in values if v is not None]
    return None if len(known) < len(values) else (max(known) if case.lower else min(known))


ITEMS = st.lists(
    st.tuples(st.integers(0, K - 1), st.booleans(), st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=4
)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@settings(max_examples=examples(12))
@given(items=ITEMS)
def test_worst_case(case: Case, items: list[tuple[int, bool, int]]) -> None:
    """Exactly the worst over every class of what is not certified; where the family's bound is exact."""
    chosen, held, labels = (list(v) for v in zip(*items, strict=True))
    asked = program(case.text, len(items), "budget 0.1", case.definitions)
    (found,) = answer(asked, [chosen], [[SAMPLES if h else 0 for h in held]], [labels])
    truth = worst(case, chosen, held, labels)
    assert found.clean == case.truth(labels, chosen)
    assert found.attained == (None,)
    (got,) = found.certified
    if truth is None:
        assert got is None
        return
    assert got is not None
    assert -got >= -truth if not case.lower else got >= truth
    if case.exact:
        assert got == truth


@pytest.mark.parametrize("case", [c for c in CASES if c.exact], ids=[c.text for c in CASES if c.exact])
@settings(max_examples=examples(8))
@given(
    items=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0, 70, 90, 100]), st.sampled_from([0, 1, 2])),
        min_size=1,
        max_size=4,
    )
)
def test_radius(case: Case, items: list[tuple[int, int, int]]) -> None:
    """The largest radius whose certified pixels keep the condition from being met, whatever the others become."""
    chosen, hits, labels = (list(v) for v in zip(*items, strict=True))
    relation = ">=" if case.lower else "<="
    asked = program(case.text, len(items), f"degraded when h {relation} 0.5", case.definitions)
    (found,) = answer(asked, [chosen], [hits], [labels])
    smoothing = asked.properties[0].smoothing
    assert smoothing is not None
    radius = {h: limits(h, len(items), smoothing) for h in hits}

    def met(level: Fraction) -> bool | None:
        value = worst(case, chosen, [radius[h] >= level and radius[h] > 0 for h in hits], labels)
        return None if value is None else (value >= F(1, 2) if case.lower else value <= F(1, 2))

    (got,) = found.certified
    levels = sorted({r for r in radius.values() if r > 0})
    if met(F(10**6)) is None:
        assert got is None
    elif not met(F(10**6)):
        assert got == math.inf
    else:
        assert got == max((level for level in levels if not met(level)), default=F(0))


def limits(hits: int, items: int, smoothing: Smoothing) -> Fraction:
    from robspec.semantics.binomial import probability_down

    frequency = probability_down(hits, smoothing.samples, smoothing.alpha / items)
    return smoothing.radius(frequency) if frequency > F(1, 2) else F(0)


def test_radii_of_pixels_share_no_budget() -> None:
    """Four pixels of radius r each: an attack of size r may flip all of them, and one of less than r none."""
    asked = program("pixel_accuracy", 4, "degraded when h <= 0")
    (found,) = answer(asked, [[1, 1, 1, 1]], [[100] * 4], [[1, 1, 1, 1]])
    smoothing = asked.properties[0].smoothing
    assert smoothing is not None
    # A knapsack would say twice as much.
    assert found.certified == (limits(100, 4, smoothing),)
    (budget,) = answer(program("pixel_accuracy", 4, "budget 0.4"), [[1] * 4], [[100] * 4], [[1] * 4])
    assert budget.certified == (0,)


def test_one_logit() -> None:
    asked = program("pixel_accuracy", 4, "budget 0.1", channels=1)
    (found,) = answer(asked, [[0, 1, 1, 0]], [[100, 100, 0, 0]], [[0, 1, 1, 0]])
    assert (found.clean, found.certified) == (1, (F(1, 2),))


def test_pooled() -> None:
    asked = program("pooled iou[c1]", 3, "budget 0.1")
    chosen, hits, labels = [[1, 1, 0], [0, 1, 2]], [[100, 0, 100], [100, 100, 0]], [[1, 1, 0], [0, 1, 1]]
    (found,) = answer(asked, chosen, hits, labels)
    # The worst: the pixels that are not certified become wrong, one annotated c1 twice.
    assert (found.clean, found.certified) == (F(3, 4), (F(2, 4),))


def test_alpha_is_shared_by_the_images() -> None:
    """With a thousand images as many hits certify less."""
    smoothing = program("pixel_accuracy", 1, "budget 0.1").properties[0].smoothing
    assert smoothing is not None
    asked = program("pixel_accuracy", 1, "budget 0.1")
    few = next(h for h in range(101) if answer(asked, [[1]], [[h]], [[1]])[0].certified == (1,))
    many = next(h for h in range(101) if answer(asked, [[1]] * 50, [[h]] * 50, [[1]] * 50)[0].certified == (1,))
    assert few < many <= 100


def test_tau_is_what_is_tested() -> None:
    loose, strict = (program("pixel_accuracy", 1, "budget 0.1", tau=t) for t in ("", "tau 0.9"))
    least = [
        next(h for h in range(102) if h == 101 or answer(p, [[1]], [[h]], [[1]])[0].certified == (1,))
        for p in (loose, strict)
    ]
    assert least[0] < least[1] <= 100


def test_certified_radii_of_a_linear_model_are_below_its_true_ones() -> None:
    """The smoothed sign of w x is the sign itself: the radius of a pixel is |w x| / ||w||."""
    random = np.random.default_rng(3)
    distance = np.linspace(0.01, 1.5, 40)
    hits = random.binomial(100, norm.cdf(distance / 0.25))
    for d, h in zip(distance, hits, strict=True):
        (found,) = answer(program("pixel_accuracy", 1, "degraded when h <= 0"), [[1]], [[int(h)]], [[1]])
        assert found.certified[0] is not None
        assert float(found.certified[0]) <= d


def test_what_is_not_certified_is_counted_at_the_largest_budget() -> None:
    asked = program("pixel_accuracy", 2, "budget 0 to 1 points 3")
    images = iter([Counts(np.array([[1, 1]]), np.array([[100, 70]]))])
    evaluator = SmoothedEvaluator(asked, None, CPU, 1, sampler=lambda *_: next(images))  # type: ignore[arg-type]
    batch = Batch(("i",), torch.zeros(1, 3, 1, 2), torch.ones(1, 1, 2, dtype=torch.int64))
    evaluator.meet(batch.images)
    (prop,) = asked.properties
    assert prop.smoothing is not None
    (found,) = evaluator.answer(prop, prop.smoothing, batch)
    assert found.certified == (F(1, 1), F(0), F(0))
    abstains, few = evaluator.notes()
    assert abstains.figures["share"] == 1
    # From the second budget on even a hundred hits of a hundred are too few for both pixels.
    assert "at eps = 0.5 nothing" in few.text
    assert 2 * norm.cdf(2) ** few.figures["samples"] <= 0.001
    evaluator.close()


def test_l2_may_be_written_as_an_exponent() -> None:
    text = SPEC.format(
        metric="pixel_accuracy",
        items=2,
        question="budget 0.1",
        definitions="",
        tau="",
        channels=2,
        names="c0, c1",
        requirement="worst_case >= 0 for all images",
    )
    found, diagnostics = compile_text(text.replace("norm l2", "norm l(2)"))
    assert found is not None, diagnostics
    assert found.properties[0].query.norm == L2


def test_what_samples_stand_for_is_no_lipschitz_constant() -> None:
    smoothing = program("pixel_accuracy", 1, "budget 0.1").properties[0].smoothing
    assert smoothing is not None
    context = Context(CPU, torch.zeros(1, 3, 1, 2), torch.zeros(1, 1, 2, dtype=torch.int64), None)
    for text in ("pixel_accuracy", "iou[c1]", "mean_iou"):
        with pytest.raises(ValueError, match="no Lipschitz constant"):
            open_bound(metric(text), context, smoothing.standing)
    with pytest.raises(ValueError, match="no Lipschitz constant"):
        open_dataset_bound(metric("pooled iou[c1]"), (3, 1, 2), smoothing.standing)
