"""Coins and rounded normal noise, against their laws in closed form, and what is done where nothing is decided."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.normal import _exact
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
    """Of words that are all the same every comparison is a tie; what is drawn then counts for nothing."""
    found = np.zeros(10, dtype=np.int64)
    same = np.full(3 * _exact.TRY, 5, dtype=np.uint32)
    assert _exact.numbers(same, found, 0) == 0
    fresh = np.frombuffer(seeded(3)(4 * 2 * _exact.TRY), dtype="<u4")
    assert _exact.numbers(np.concatenate([same, fresh]), found, 4) == 10
    assert found[:4].tolist() == [0] * 4
    assert np.all(found[4:] != 0)


@pytest.mark.parametrize(("rest", "below"), [([8], True), ([10], False), ([9, 4, 3], False), ([9, 3, 4], True)])
def test_later_digits_decide_where_first_ones_are_equal(rest: list[int], below: bool) -> None:
    """One number begins with 7, 9 and the other with 7: as many digits of either are drawn as it takes, in turn."""
    state = np.zeros(22, dtype=np.int64)
    state[:2], state[4], state[16:18] = (7, 9), 7, (2, 1)
    words = np.array(rest, dtype=np.uint32)
    assert _exact._below(1, 0, words, state) is below
    assert (int(state[20]), int(state[21])) == (len(rest), 0)


def test_numbers_that_are_equal_in_all_digits_make_a_try_void() -> None:
    state = np.zeros(22, dtype=np.int64)
    state[16:18] = 1
    assert not _exact._below(1, 0, np.full(6, 9, dtype=np.uint32), state)
    assert state[21] == 1


def test_the_compiled_function_does_what_is_written() -> None:
    words = np.frombuffer(seeded(6)(4 * 3 * _exact.TRY), dtype="<u4")
    found = [np.zeros(200, dtype=np.int64) for _ in range(2)]
    for function, numbers in zip((_exact.numbers, _exact.numbers.py_func), found, strict=True):
        assert function(words, numbers, 0) == 200
    assert np.array_equal(*found)


def test_words_that_run_out_end_a_try_and_begin_none() -> None:
    words = np.frombuffer(seeded(7)(4 * (_exact.TRY + 100)), dtype="<u4")
    found = np.zeros(1000, dtype=np.int64)
    done = int(_exact.numbers(words, found, 0))
    assert 0 < done < 30
    assert np.all(found[done:] == 0)
    assert _exact.numbers(words[: _exact.TRY - 1], found, 0) == 0


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
