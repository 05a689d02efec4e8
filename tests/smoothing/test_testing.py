"""Tests of many items at once: Holm's procedure as it is published, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robspec.semantics.binomial import tails_up
from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.testing import enough, histogram, least_hits, radii

F = Fraction


def published(hits: Sequence[int], trials: int, tau: Fraction, alpha: Fraction) -> list[bool]:
    """Holm 1979, item by item: p-values in rising order, the k-th against alpha / (m - k)."""
    values = [float(binom.sf(h - 1, trials, float(tau))) for h in hits]
    order = sorted(range(len(hits)), key=lambda i: values[i])
    rejected = [False] * len(hits)
    for k, i in enumerate(order):
        if values[i] > float(alpha) / (len(hits) - k):
            break
        rejected[i] = True
    return rejected


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.sampled_from([F(1, 2), F(3, 4), F(9, 10)]),
    st.sampled_from([F(1, 10), F(1, 100), F(1, 1000)]),
)
def test_decisions_are_the_published_ones(hits: list[int], tau: Fraction, alpha: Fraction) -> None:
    least = least_hits(histogram(np.array(hits), 30), tau, alpha)
    assert [h >= least for h in hits] == published(hits, 30, tau, alpha)


@pytest.mark.parametrize("bits", [40, 90, 2000])
def test_next_to_certainty_takes_many_samples_and_ends(bits: int) -> None:
    """tau^n <= alpha takes some log(1 / alpha) / (1 - tau) samples, also where tau is 1 as a double."""
    needed = enough(1, 1 - F(1, 2**bits), F(1, 1000), 40)
    assert needed is not None
    assert abs(F(needed, 2**bits) - F("6.907755")) < F(1, 100_000)


def test_many_items_need_more_hits_than_one() -> None:
    def least(items: int) -> int:
        return least_hits(histogram(np.full(items, 100), 100), F(3, 4), F(1, 1000)) <= 100

    assert least(1)
    assert least(65536)
    assert not least_hits(histogram(np.full(65536, 100), 100), F(9, 10), F(1, 1000)) <= 100


@pytest.mark.parametrize("items", [1, 20, 400])
def test_it_is_wrong_no_more_often_than_it_says(items: int) -> None:
    """All items exactly at tau, the worst case: 10,000 repeats, wrong when any item is certified."""
    tau, alpha, trials, repeats = F(3, 4), F(1, 20), 60, 10_000
    random = np.random.default_rng(items)
    wrong = 0
    for _ in range(repeats):
        hits = random.binomial(trials, float(tau), items)
        wrong += least_hits(histogram(hits, trials), tau, alpha) <= int(hits.max())
    # Were it wrong with probability alpha, more than this would be seen once in 10^6.
    assert wrong <= binom.isf(1e-6, repeats, float(alpha))
    # And each item alone is tested at what the counts allow: the test is not empty.
    if items == 1:
        attained = max(float(t) for t in tails_up(trials, tau) if t <= alpha)
        assert wrong >= binom.isf(1 - 1e-6, repeats, attained)


@pytest.mark.parametrize("share", [F(3, 5), F(9, 10)])
def test_radii_are_right_at_all_items_at_once(share: Fraction) -> None:
    """Radii of 50 items of one frequency are above the true radius in no more than alpha of the repeats."""
    smoothing = Smoothing(F(1, 4), 100, 10, F(1, 20))
    true = smoothing.radius(share) + F(1, 2**30)
    random = np.random.default_rng(5)
    wrong = 0
    for _ in range(2000):
        hits = random.binomial(100, float(share), 50)
        found = radii(histogram(hits, 100), smoothing, smoothing.alpha)
        wrong += any(found[h] > true for h in hits)
    assert wrong <= binom.isf(1e-6, 2000, 0.05)


def test_more_hits_never_have_a_smaller_radius() -> None:
    smoothing = Smoothing(F(1, 4), 100, 10, F(1, 1000))
    found = radii([1] * 101, smoothing, F(1, 1000))
    assert found == sorted(found)
    assert found[50] == 0 < found[100]
