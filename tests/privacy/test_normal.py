"""Coins and rounded normal noise, against their laws in closed form, and what is done where nothing is decided."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from fractions import Fraction

import flint
import numpy as np
import pytest
import torch

from robspec.kernels.normal import _exact
from robspec.kernels.normal._sums import sums
from robspec.privacy.normal import UNIT, coins, rounded_normal


def seeded(seed: int = 0) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def law(below: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return torch.special.ndtr(torch.from_numpy(below.astype(np.float64))).numpy()  # type: ignore[no-any-return]


def test_the_law_of_the_numbers() -> None:
    """The largest gap to the law is exceeded once in 1e9 (Dvoretzky, Kiefer and Wolfowitz; Massart 1990)."""
    size = 4_000_000
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


def filled(words: np.ndarray, found: np.ndarray, done: int = 0, *, python: bool = False) -> int:  # type: ignore[type-arg]
    function = _exact.numbers.py_func if python else _exact.numbers
    return int(function(words.astype(np.uint32), *sums(), found, done))


def test_sums_against_balls_of_six_hundred_bits() -> None:
    before = flint.ctx.prec
    flint.ctx.prec = 640
    try:
        weights = [(-flint.arb(j * j) / 8192).exp() for j in range(_exact.CELLS)]
        whole, added = sum(weights, flint.arb(0)), flint.arb(0)
        table, guide = sums()
        for j, digits in enumerate(table.tolist()):
            added += weights[j]
            exact = (added / whole * flint.arb(2) ** (32 * _exact.DIGITS)).floor().unique_fmpz()
            assert exact is not None
            assert int(exact) == sum(digit << 32 * (_exact.DIGITS - 1 - k) for k, digit in enumerate(digits))
    finally:
        flint.ctx.prec = before
    for g in range(0, _exact.GUIDE, 7):
        assert guide[g] == np.flatnonzero(np.append(table[:, 0], 2**32 - 1) >= g << 20)[0]


def drawn(j: int) -> list[int]:
    """Digits of a uniform number that falls into a cell, in its middle."""
    table = sums()[0].astype(object)
    low = [0, *[sum(int(d) << 32 * (_exact.DIGITS - 1 - k) for k, d in enumerate(row)) for row in table[j - 1 : j]]][
        -1
    ]
    high = sum(int(d) << 32 * (_exact.DIGITS - 1 - k) for k, d in enumerate(table[j]))
    return [((low + high) // 2 >> 32 * (_exact.DIGITS - 1 - k)) & 0xFFFFFFFF for k in range(_exact.DIGITS)]


@pytest.mark.parametrize("j", [0, 1, 2, 77, 400, 1535])
def test_a_number_is_kept_with_exactly_the_chance_that_is_asked_for(j: int) -> None:
    """y is given; the chance that the first fall goes on is (2j + y) / 2^13 times y, the second y^2 / 2 and so on.

    Every side of the die is tried beside every order of the numbers after it; what is counted is compared with
    sums of fractions, and these with exp.
    """
    y = Fraction(3, 4)
    state = np.zeros(_exact.STATE, dtype=np.int64)
    high, low = 2**32 - 1, 0

    def kept(side: int, words: list[int]) -> bool:
        state[:] = 0
        state[_exact.DIGITS * _exact._PLACE] = 3 << 30
        state[_exact._KNOWN + _exact._PLACE] = 1
        return bool(_exact._kept(j, side, np.array([*words, *[high] * 40], dtype=np.uint32), state))

    # One more fall wants a side below 2j, or 2j and a number below y; then a number below the last one.
    for side in (0, 2 * j - 1, 2 * j, 2 * j + 1, 8191):
        if side < 0 or side > 8191:
            continue
        first, fell = kept(side, [high, high]), kept(side, [low, low, 8191])
        assert first, "no number below y: nothing falls, which is even"
        assert fell is (side > 2 * j), "one fall, which is odd, where the side allows it"
        if side < 2 * j:
            # 1/2 is below 3/4, then a side that will do, then 1/4 below 1/2: two falls; or 5/8, which is not.
            assert kept(side, [1 << 31, 0, 1 << 30, 8191])
            assert not kept(side, [1 << 31, 0, 5 << 29, 8191])
            assert not kept(side, [1 << 31, 0, 1 << 30, 0, 1 << 29, 8191])
        if side == 2 * j:
            assert not kept(side, [1 << 31, 1 << 30, 8191])
            assert kept(side, [7 << 29, 1 << 30, 8191]), "7/8 is not below y"
    c = (2 * j + y) / 8192
    total = sum(((-y * c) ** n / math.factorial(n) for n in range(40)), Fraction(0))
    with_falls = [(y * c) ** n / math.factorial(n) for n in range(40)]
    even = sum((with_falls[n] - with_falls[n + 1] for n in range(0, 39, 2)), Fraction(0))
    assert float(total) == pytest.approx(math.exp(-(y * (2 * j + y)) / 8192), rel=1e-15)
    assert abs(even - total) < Fraction(1, 2**60)


def test_cells_join_without_a_gap() -> None:
    """The same cell and place, on both sides of 0."""
    for j in (0, 1, 5, 100):
        digits = drawn(j)
        known = sum(1 for _ in digits)
        for place in (0, 1, 2**31, 2**32 - 1):
            for sign in (0, 1):
                words = [digits[0]]
                table = sums()[0]
                if j and (table[[j - 1, j], 0] == digits[0]).any():
                    words = digits[:known]
                found = np.zeros(1, dtype=np.int64)
                row = np.array([*words, place, sign << 31 | 8191, *[0] * _exact.TRY], dtype=np.uint32)
                assert filled(row, found) == 1
                size = (j << 26) + (place >> 6)
                assert found[0] == (-size - 1 if sign else size)


def test_what_is_equal_to_a_sum_in_all_digits_makes_a_try_void() -> None:
    """One digit less and it is of the cell before, one more and it is of the next one."""
    table, _ = sums()
    for j in (0, 3, 1000, 1534):
        for change in (-1, 0, 1):
            digits = table[j].astype(np.int64)
            digits[-1] += change
            if not 0 <= digits[-1] < 2**32:
                continue
            state = np.zeros(_exact.STATE, dtype=np.int64)
            words = np.array([*digits, *[0] * 20], dtype=np.uint32)
            cell = _exact._cell(words, *sums(), state)
            assert bool(state[_exact._VOID]) is (change == 0)
            assert change == 0 or cell == (j if change < 0 else j + 1)


@pytest.mark.parametrize(("rest", "below"), [([8], True), ([10], False), ([9, 4, 3], False), ([9, 3, 4], True)])
def test_later_digits_decide_where_first_ones_are_equal(rest: list[int], below: bool) -> None:
    """One number begins with 7, 9 and the other with 7: as many digits of either are drawn as it takes, in turn."""
    state = np.zeros(_exact.STATE, dtype=np.int64)
    state[_exact.DIGITS : _exact.DIGITS + 2], state[2 * _exact.DIGITS] = (7, 9), 7
    state[_exact._KNOWN + 1 : _exact._KNOWN + 3] = (2, 1)
    words = np.array(rest, dtype=np.uint32)
    assert _exact._below(2, 1, words, state) is below
    assert (int(state[_exact._NEXT]), int(state[_exact._VOID])) == (len(rest), 0)


def test_numbers_that_are_equal_in_all_digits_make_a_try_void() -> None:
    state = np.zeros(_exact.STATE, dtype=np.int64)
    state[_exact._KNOWN + 1 : _exact._KNOWN + 3] = 1
    assert not _exact._below(2, 1, np.full(2 * _exact.DIGITS - 2, 9, dtype=np.uint32), state)
    assert state[_exact._VOID] == 1


def test_the_compiled_function_does_what_is_written() -> None:
    words = np.frombuffer(seeded(6)(4 * 3 * _exact.TRY), dtype="<u4")
    found = [np.zeros(400, dtype=np.int64) for _ in range(2)]
    for python, numbers in zip((False, True), found, strict=True):
        assert filled(words, numbers, python=python) == 400
    assert np.array_equal(*found)


def test_words_that_run_out_end_a_try_and_begin_none() -> None:
    words = np.frombuffer(seeded(7)(4 * (_exact.TRY + 100)), dtype="<u4")
    found = np.zeros(1000, dtype=np.int64)
    done = filled(words, found)
    assert 0 < done < 60
    assert np.all(found[done:] == 0)
    assert filled(words[: _exact.TRY - 1], found) == 0


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
