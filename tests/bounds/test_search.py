"""Radii without a closed form, of bounds that are looked for anew at every budget: right to one part in 2^20."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from robspec.bounds.search import coarse_radius, radius
from robspec.ir.types import Metric
from tests.bounds.language import metric

F = Fraction
ACCURACY, MISSED = metric("pixel_accuracy"), metric("fnr[c1]")


@pytest.mark.parametrize("edge", [F(1), F(1, 3), F(4), F(5, 2), F(10**9, 7), F(1, 10**9), F(3, 2**38), F(2**39)])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("asked", [ACCURACY, MISSED], ids=["higher", "lower"])
def test_the_radius_certifies_and_little_more_does_not(asked: Metric, edge: Fraction, strict: bool) -> None:
    """The value is at its clean one up to the edge, or at a threshold that is not met by itself, then meets it."""
    sign = -1 if asked.lower_is_better else 1
    gamma = sign * F(1, 2)
    beyond = gamma - sign * F(1, 4) if strict else gamma
    asked_at: list[Fraction] = []

    def worst(eps: Fraction) -> Fraction:
        asked_at.append(eps)
        return (gamma if strict and eps > edge / 2 else sign * F(1)) if eps <= edge else beyond

    found = coarse_radius(asked, sign * F(1), beyond, gamma, worst, strict=strict)
    assert isinstance(found, Fraction)
    assert found <= edge <= found * (1 + F(1, 2**20)) / (1 - F(1, 2**20))
    # Steps of four, then halves.
    assert len(asked_at) <= 24 + abs(math.log2(edge)) / 2
    assert all(eps > 0 for eps in asked_at)


@pytest.mark.parametrize("strict", [False, True])
def test_where_nothing_is_looked_for(strict: bool) -> None:
    def never(_: Fraction) -> Fraction:
        raise AssertionError("asked")

    half, less, more = F(1, 2), F(1, 4), F(3, 4)
    assert coarse_radius(ACCURACY, less, F(0), half, never, strict=strict) == 0
    assert coarse_radius(ACCURACY, F(1), more, half, never, strict=strict) == math.inf
    assert coarse_radius(MISSED, more, F(1), half, never, strict=strict) == 0
    assert coarse_radius(MISSED, F(0), less, half, never, strict=strict) == math.inf
    # On the threshold only the objective that includes it is met.
    if strict:
        falls = lambda eps: half if eps <= 3 else F(0)  # noqa: E731
        for search in (coarse_radius, radius):
            assert abs(search(ACCURACY, half, F(0), half, falls, strict=True) - 3) < F(1, 10**5)
        assert coarse_radius(ACCURACY, F(1), half, half, never, strict=True) == math.inf
    else:
        assert coarse_radius(ACCURACY, half, F(0), half, never, strict=False) == 0


def test_where_the_search_ends() -> None:
    """Beyond 2^40 and below 2^-40 it goes no further: what it says certifies."""
    far = coarse_radius(ACCURACY, F(1), F(0), F(1, 2), lambda _: F(1), strict=False)
    assert far == F(2) ** 40
    asked_at: list[Fraction] = []

    def nothing(eps: Fraction) -> Fraction:
        asked_at.append(eps)
        return F(0)

    assert coarse_radius(ACCURACY, F(1), F(0), F(1, 2), nothing, strict=False) == 0
    assert min(asked_at) == F(1, 2**40)
    assert len(asked_at) == 21
