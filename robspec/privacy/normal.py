"""Coins and normal noise made of random bits and integers alone: no floating-point number has last bits to tell from.

Noise is standard normal, taken 2^32 times and rounded down. Added to an integer K it is what rounding K + 2^32 Z down
gives, so that whoever sees it sees a function of the ideal mechanism K + 2^32 Z, and no more.

Uniform numbers are compared by their first 64 bits. Where two are equal nothing is decided, and all is drawn anew:
what comes out is the ideal number given that no two were equal. For |Z| <= 30 that is 2^15 chances of 2^-64 at most
on average, whatever Z is (docs/explanation/privacy.md): no probability is off by more than a factor of 1 + 2^-48.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = Callable[[int], bytes]
"""Gives so many random bytes; `secrets.token_bytes` where privacy is to come of it."""

UNIT = 1 << 32
"""The standard deviation of the noise, in integers."""
OFF = 2.0**-47
"""What each number drawn may add to epsilon: its probabilities are off by a factor of 1 + 2^-48, on either side."""
_HALF = np.uint64(1 << 63)

_Words: TypeAlias = npt.NDArray[np.uint64]
_Whole: TypeAlias = npt.NDArray[np.int64]
_Truth: TypeAlias = npt.NDArray[np.bool_]


def coins(count: int, q: float, bits: Bits) -> list[int]:
    """Draw each of a number of samples by itself.

    Args:
        count: how many there are.
        q: the probability of each, in (0, 1]; it is rounded down to 64 bits, so that none is drawn more often.
        bits: random bytes.

    Returns:
        Which are drawn, ascending.
    """
    if q >= 1:
        return list(range(count))
    below = np.uint64(math.floor(Fraction(q) * 2**64))
    return [int(k) for k in np.flatnonzero(_words(count, bits) < below)]


def rounded_normal(count: int, bits: Bits) -> _Whole:
    """Draw standard normal numbers, times 2^32, rounded down.

    Args:
        count: how many.
        bits: random bytes.

    Returns:
        int64 [count].

    Source: Karney 2016, "Sampling exactly from the normal distribution", algorithm N.
    """
    while True:
        draw = _Draw(bits)
        found = draw.numbers(count)
        if draw.decided:
            return found


def _words(count: int, bits: Bits) -> _Words:
    return np.frombuffer(bits(8 * count), dtype="<u8").astype(np.uint64, copy=False)


def _repeated(often: _Whole, test: Callable[[npt.NDArray[np.intp]], _Truth]) -> _Truth:
    """True where a test is passed so often."""
    kept, left = np.ones(often.size, dtype=bool), often.copy()
    going = np.flatnonzero(left > 0)
    while going.size:
        passed = test(going)
        kept[going[~passed]] = False
        going = going[passed]
        left[going] -= 1
        going = going[left[going] > 0]
    return kept


class _Draw:
    """One try at all numbers.

    Attributes:
        decided: whether no two uniform numbers that were compared were equal.
    """

    def __init__(self, bits: Bits) -> None:
        self._bits = bits
        self.decided = True

    def numbers(self, count: int) -> _Whole:
        found = np.zeros(count, dtype=np.int64)
        waiting = np.arange(count)
        while waiting.size:
            whole = self._geometric(waiting.size)
            kept = np.flatnonzero(self._halves(whole * (whole - 1)))
            part = _words(kept.size, self._bits)
            right = np.flatnonzero(self._tests(whole[kept], part))
            done = kept[right]
            size = (whole[done] << 32) | (part[right] >> np.uint64(32)).astype(np.int64)
            minus = (_words(done.size, self._bits) & np.uint64(1)).astype(bool)
            # Below what is cut off there is always something: rounded down, -v is -floor(v) - 1.
            found[waiting[done]] = np.where(minus, ~size, size)
            waiting = np.delete(waiting, done)
        return found

    def _below(self, one: _Words, other: _Words) -> _Truth:
        self.decided &= not bool((one == other).any())
        return one < other

    def _half(self, count: int) -> _Truth:
        """True with probability exp(-1/2): it is even how many uniform numbers fall, the first below 1/2."""
        even = np.ones(count, dtype=bool)
        falling = np.flatnonzero((last := _words(count, self._bits)) < _HALF)
        last = last[falling]
        even[falling] = False
        while falling.size:
            drawn = _words(falling.size, self._bits)
            below = self._below(drawn, last)
            falling, last = falling[below], drawn[below]
            even[falling] ^= True
        return even

    def _geometric(self, count: int) -> _Whole:
        """k with probability exp(-k/2) (1 - exp(-1/2))."""
        found = np.zeros(count, dtype=np.int64)
        going = np.arange(count)
        while going.size:
            going = going[self._half(going.size)]
            found[going] += 1
        return found

    def _halves(self, often: _Whole) -> _Truth:
        """True with probability exp(-often / 2)."""
        return _repeated(often, lambda at: self._half(at.size))

    def _tests(self, whole: _Whole, part: _Words) -> _Truth:
        """True with probability exp(-x (2k + x) / 2), by k + 1 tests."""
        return _repeated(whole + 1, lambda at: self._test(whole[at], part[at]))

    def _test(self, whole: _Whole, part: _Words) -> _Truth:
        """True with probability exp(-x (2k + x) / (2k + 2)): x falls, each time with a chance (2k + x) / (2k + 2)."""
        even = np.ones(whole.size, dtype=bool)
        falling, last = np.arange(whole.size), part
        while falling.size:
            drawn = _words(falling.size, self._bits)
            below = self._below(drawn, last) & self._met(whole[falling], part[falling])
            falling, last = falling[below], drawn[below]
            even[falling] ^= True
        return even

    def _met(self, whole: _Whole, part: _Words) -> _Truth:
        """True with probability (2k + x) / (2k + 2): of 2k + 2 sides, all but two, one where x allows it."""
        sides = (2 * whole + 2).astype(np.uint64)
        drawn = _words(whole.size, self._bits)
        # As many words for each side: the last few would be too many for some.
        self.decided &= not bool((drawn // sides == (~np.uint64(0)) // sides).any())
        side = drawn % sides
        inside = self._below(_words(whole.size, self._bits), part)
        met: _Truth = (side < sides - np.uint64(2)) | ((side == sides - np.uint64(2)) & inside)
        return met
