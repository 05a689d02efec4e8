"""Coins and rounded normal noise, against their laws in closed form, and what is done where nothing is decided."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.privacy import normal
from robspec.privacy.normal import UNIT, coins, rounded_normal


def seeded(seed: int = 0) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def law(below: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return torch.special.ndtr(torch.from_numpy(below.astype(np.float64))).numpy()  # type: ignore[no-any-return]


def test_the_law_of_the_numbers() -> None:
    """The largest gap to the law is exceeded once in 1e9 (Dvoretzky, Kiefer and Wolfowitz; Massart 1990)."""
    size = 400_000
    found = np.sort(rounded_normal(size, seeded()))
    expected = law((found + 0.5) / UNIT)
    steps = np.arange(size + 1) / size
    gap = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    assert gap <= math.sqrt(math.log(2e9) / (2 * size))
    # Six standard errors of the moments that a wrong side, a wrong tail or a wrong part would move.
    values = found / UNIT
    for power, exact in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        spread = math.sqrt(math.prod(range(1, 2 * power, 2)) - exact**2)
        assert abs((values**power).mean() - exact) <= 6 * spread / math.sqrt(size)
    counts = [int((np.floor(np.abs(values)) == k).sum()) for k in range(4)]
    for k, count in enumerate(counts):
        share = math.erf((k + 1) / math.sqrt(2)) - math.erf(k / math.sqrt(2))
        assert abs(count - size * share) <= 6 * math.sqrt(size * share)


def test_last_bits_are_coins() -> None:
    """What is left of a multiple of 2^-32 tells nothing of where a number came from: all of the low bits are fair."""
    size = 100_000
    found = rounded_normal(size, seeded(1))
    for bit in range(24):
        ones = int(((found >> bit) & 1).sum())
        assert abs(ones - size / 2) <= 6 * math.sqrt(size) / 2, bit


def test_a_number_is_rounded_down_on_both_sides() -> None:
    """Also below zero, so that it is the same function of K + Z for every K: cells from 0 and from -1 are alike."""
    found = rounded_normal(200_000, seeded(2)) >> 30
    left, right = int((found == -1).sum()), int((found == 0).sum())
    assert abs(left - right) <= 6 * math.sqrt(left + right)


def test_equal_numbers_decide_nothing() -> None:
    """Of bytes that are all the same every comparison is a tie; what is drawn then counts for nothing."""
    fresh, asked = seeded(3), []

    def bits(count: int) -> bytes:
        asked.append(count)
        return b"\x01" * count if len(asked) < 50 else fresh(count)

    found = rounded_normal(1000, bits)
    assert len(asked) > 60
    assert abs(found.mean() / UNIT) <= 6 / math.sqrt(1000)
    draw = normal._Draw(lambda count: b"\x10" * count)
    draw._half(3)
    assert not draw.decided


def test_how_many_chances_a_number_takes() -> None:
    """Far fewer on average than the 2^15 that the allowance is for."""
    taken, fresh = [0], seeded(4)

    def bits(count: int) -> bytes:
        taken[0] += count // 8
        return fresh(count)

    rounded_normal(20_000, bits)
    assert taken[0] / 20_000 < 30


def test_bytes_of_the_operating_system() -> None:
    assert len(rounded_normal(7, secrets.token_bytes)) == 7
    assert len(rounded_normal(0, secrets.token_bytes)) == 0


@pytest.mark.parametrize("q", [0.25, 0.01, 1 - 2**-53, 0.3])
def test_coins_are_never_likelier_than_q(q: float) -> None:
    words = [math.ceil(Fraction(q) * 2**64) - 1, min(2**64 - 1, math.ceil(Fraction(q) * 2**64))]
    drawn = coins(2, q, lambda _: b"".join(word.to_bytes(8, "little") for word in words))
    assert 1 not in drawn
    assert (0 in drawn) == (Fraction(words[0]) < math.floor(Fraction(q) * 2**64))
    assert coins(5, 1.0, lambda _: b"") == [0, 1, 2, 3, 4]
    count = len(coins(100_000, q, seeded(5)))
    assert abs(count - 100_000 * q) <= 6 * math.sqrt(100_000 * q * (1 - q)) + 1
