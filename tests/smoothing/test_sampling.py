"""Counts under noise: of linear models known in closed form, and the same whatever goes through the model at once."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from scipy.stats import binom, norm

from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.sampling import sample

F = Fraction
IMAGE = torch.linspace(0.2, 0.8, 48).reshape(3, 4, 4)


class Linear:
    """Two logits at each pixel, a difference of 2 (mean of the channels - 1/2)."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        s = images.mean(1, keepdim=True) - 0.5
        return torch.cat([-s, s], 1)


class Sign:
    """The same as one logit."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(1, keepdim=True) - 0.5


class Nowhere:
    """Logits that are not numbers."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 3, 4, 4), math.nan)


def test_frequencies_are_those_of_the_closed_form() -> None:
    smoothing = Smoothing(F(1, 4), 4000, 100, F(1, 20))
    counts = sample(Linear(), IMAGE, smoothing, 500)
    distance = (IMAGE.mean(0).double() - 0.5).abs().numpy() * math.sqrt(3)
    sides = (IMAGE.mean(0) > 0.5).numpy()
    certain = distance > 0.05
    assert np.array_equal(counts.chosen[certain], sides[certain].astype(int))
    frequency = norm.cdf(np.where(counts.chosen == sides, distance, -distance) / 0.25)
    assert np.all(counts.hits <= binom.isf(1e-7, 4000, frequency))
    assert np.all(counts.hits >= binom.isf(1 - 1e-7, 4000, frequency))


def test_it_does_not_matter_how_many_go_through_at_once() -> None:
    smoothing = Smoothing(F(1, 4), 30, 7, F(1, 20))
    found = [sample(Linear(), IMAGE, smoothing, chunk) for chunk in (1, 5, 7, 8, 100)]
    for other in found[1:]:
        assert np.array_equal(other.chosen, found[0].chosen)
        assert np.array_equal(other.hits, found[0].hits)


def test_one_logit_is_decided_by_its_sign() -> None:
    smoothing = Smoothing(F(1, 4), 50, 10, F(1, 20))
    two, one = (sample(model, IMAGE, smoothing, 8) for model in (Linear(), Sign()))
    assert np.array_equal(two.chosen, one.chosen)
    assert np.array_equal(two.hits, one.hits)


def test_another_image_has_other_noise_and_the_same_image_the_same() -> None:
    smoothing = Smoothing(F(1, 4), 200, 10, F(1, 20))
    again = sample(Linear(), IMAGE.clone(), smoothing, 8)
    assert np.array_equal(sample(Linear(), IMAGE, smoothing, 8).hits, again.hits)
    assert not np.array_equal(sample(Linear(), IMAGE + 1e-7, smoothing, 8).hits, again.hits)


def test_what_is_no_number_hits_nothing() -> None:
    for chunk in (1, 8):
        assert not sample(Nowhere(), IMAGE, Smoothing(F(1, 4), 20, 3, F(1, 20)), chunk).hits.any()
