"""Maps against closed forms, and deletion and insertion against hand-made curves."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from robspec.explanations.attribution import METHODS, attribute, baseline, curves, order, require_captum, score_of
from robspec.explanations.decision import Decision
from robspec.explanations.errors import ExtraMissing
from robspec.explanations.maps import line, mapped
from tests.explanations.networks import Linear, Model, Pixelwise, asked, constant, explainer, subject

SHAPE = (1, 2, 3, 4)


def linear(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_linear_score_are_its_weights(method: str) -> None:
    """Gradients and their means under noise are w; integrated ones w (x - x0), which sum to f(x) - f(x0)."""
    image, weight = linear()
    found = attribute(method, lambda x: (x * weight).sum((1, 2, 3)), image, (0.0, 1.0), 0)
    expected = weight * (image - baseline(image)) if method == "integrated" else weight
    assert found.values.shape == SHAPE[1:]
    assert np.allclose(found.values, expected[0].numpy(), atol=1e-6)


def test_maps_of_a_cubic_score() -> None:
    """Integrated gradients of sum x^4 are (x - x0) int 4 (x0 + t (x - x0))^3 dt; SmoothGrad averages 4 x^3."""
    image, _ = linear()
    start = baseline(image)

    def quartic(x: Tensor) -> Tensor:
        return (x**4).sum((1, 2, 3))

    assert np.allclose(attribute("gradient", quartic, image, (0.0, 1.0), 0).values, (4 * image**3)[0], atol=1e-6)
    found = attribute("integrated", quartic, image, (0.0, 1.0), 0)
    assert np.allclose(found.values, (image**4 - start**4)[0], atol=1e-6)
    smooth = [attribute("smoothgrad", quartic, image, (0.0, 1.0), seed).values for seed in (0, 0, 1)]
    assert np.array_equal(smooth[0], smooth[1])
    assert not np.array_equal(smooth[0], smooth[2])
    # 32 samples of E 4 (x + n)^3 = 4 x^3 + 12 x s^2, with s a tenth of the range.
    assert np.allclose(smooth[0], (4 * image**3 + 0.12 * image)[0], atol=5 * 12 * 0.1 / 32**0.5)


def test_the_noise_leaves_the_global_generator_alone() -> None:
    image, weight = linear()
    torch.manual_seed(5)
    attribute("smoothgrad", lambda x: (x * weight).sum((1, 2, 3)), image, (0.0, 1.0), 9)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_deletion_and_insertion_by_hand() -> None:
    """Of a sum of pixels 1, 0, 0, 0 with mean 1/4: what is left after k of 4, trapezoids of width 1/4."""
    image = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)

    def first(x: Tensor) -> Tensor:
        return x[:, 0, 0, 0]

    best = curves(first, image, torch.tensor([0, 1, 2, 3]), steps=4)
    last = curves(first, image, torch.tensor([3, 2, 1, 0]), steps=4)
    assert best is not None
    assert last is not None
    # Removed first: 1, 0, 0, 0, 0. Removed last: 1, 1, 1, 1, 0.
    assert (best.deletion, best.insertion) == (0.125, 0.875)
    assert (last.deletion, last.insertion) == (0.875, 0.125)


def test_scores_that_do_not_differ_from_the_baseline_have_no_curve() -> None:
    assert curves(lambda x: 0 * x.sum((1, 2, 3)), torch.rand(SHAPE), torch.arange(12)) is None


def test_pixels_are_ranked_by_the_sizes_of_all_channels() -> None:
    values = np.array([[[1.0, -5.0]], [[-3.0, 1.0]]], np.float32)
    assert order(values).tolist() == [1, 0]
    assert order(np.zeros((2, 2, 2), np.float32)).tolist() == [0, 1, 2, 3]


def test_what_is_attributed_are_the_margins_of_the_pixels_the_bound_flips() -> None:
    image = torch.rand((1, 1, 5, 6), generator=torch.Generator().manual_seed(3))
    labels = (image[:, 0] > 0.5).long()
    prop = asked("metric pixel_accuracy norm l2 degraded when h <= 0.8", (5, 6))
    found = explainer(Pixelwise(), prop, constant(), steps=10).explain(subject(image, labels))
    assert int(found.flips.sum()) == 6
    values = attribute("gradient", score_of(found, Model(Pixelwise())), image, (0.0, 1.0), 0).values[0]
    sign = torch.where(labels[0] == 1, 1.0, -1.0)
    assert np.allclose(values, (2**0.5 * sign * found.flips).numpy(), atol=1e-6)


def test_a_twin_is_asked_about_the_same_margins() -> None:
    image = torch.full((1, 1, 3, 4), 0.5)
    weight = torch.randn((2, 12), generator=torch.Generator().manual_seed(2))
    model, twin = Model(Linear(weight, torch.zeros(2))), Model(Linear(-3 * weight, torch.zeros(2)))
    found = explainer(Linear(weight, torch.zeros(2)), Decision(), constant(9), steps=10).explain(subject(image))
    ours, theirs = mapped(found, {"a.pt2": model, "b.pt2": twin}, ["gradient"], (0.0, 1.0), 0)
    assert np.allclose(theirs.attribution.values, -3 * ours.attribution.values, rtol=1e-5)
    assert (ours.stem, theirs.stem) == ("attribution-gradient", "attribution-gradient-beside")
    # An image of one colour is its own baseline.
    assert ours.scores is None
    assert line(ours) == "gradient of a.pt2: no scores, the margins are those of the baseline"


def test_a_missing_extra_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    require_captum()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"robspec\[explain\]"):
        require_captum()
