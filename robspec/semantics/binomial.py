"""Binomial tails above the true ones, and lower confidence bounds on a probability from a count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

_BITS = 96
"""Of the floating point numbers with which tails are computed; their exponents have no limit."""
_SMALLEST = 1000
"""Tails below 2^-1000 count as that much."""
_PROBABILITY = 64
"""Bits behind the point of a probability."""


@lru_cache(maxsize=64)
def tails_up(trials: int, p: Fraction) -> tuple[Fraction, ...]:
    """Bound every upper tail of a binomial distribution from above.

    Args:
        trials: n, at least 1.
        p: in (0, 1); rounded up to 64 bits behind the point, which no tail falls by.

    Returns:
        For each k from 0 to n a rational that is at least P(Bin(n, p) >= k), relatively less than n 2^-90 above it,
        or 2^-1000.
    """
    return tuple(_fraction(t) for t in _tails(trials, p, 0))


@lru_cache(maxsize=4096)
def probability_down(hits: int, trials: int, alpha: Fraction) -> Fraction:
    """Bound a probability from below, wrong with probability alpha at most.

    Args:
        hits: how often it happened.
        trials: n, how often it could.
        alpha: in (0, 1).

    Returns:
        A p, on the safe side of the largest with P(Bin(n, p) >= hits) <= alpha; 0 where there is none.

    Source: Clopper and Pearson 1934.
    """
    if hits == 0:
        return Fraction(0)
    # Where the limit is comes from floating point; that it is one is decided with the rounding in hand.
    guess = Fraction(_limit(hits, trials, float(alpha)))
    for less in (30, 20, 10, 5, 1):
        found = Fraction(int(guess * (1 - Fraction(1, 2**less)) * 2**_PROBABILITY), 2**_PROBABILITY)
        if 0 < found < 1 and _fraction(_tails(trials, found, hits)[0]) <= alpha:
            return found
    return Fraction(0)


def _limit(hits: int, trials: int, alpha: float) -> float:
    """About where the tail from `hits` on is alpha, by bisection in doubles."""
    ways = [
        math.lgamma(trials + 1) - math.lgamma(j + 1) - math.lgamma(trials - j + 1) for j in range(hits, trials + 1)
    ]
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        if not 0.0 < p < 1.0:
            break
        yes, no = math.log(p), math.log1p(-p)
        tail = sum(math.exp(w + (hits + k) * yes + (trials - hits - k) * no) for k, w in enumerate(ways))
        low, high = (p, high) if tail <= alpha else (low, p)
    return low


def _tails(trials: int, p: Fraction, least: int) -> Sequence[Any]:
    """The tails from `least` hits on, as mpmath numbers rounded up at every step."""
    from mpmath import mp

    def up(operation: Any, a: Any, b: Any) -> Any:
        return operation(a, b, prec=_BITS, rounding="u")

    above = -((-p.numerator << _PROBABILITY) // p.denominator)
    with mp.workprec(2 * _BITS):
        whole = 1 << _PROBABILITY
        if not 0 < above < whole:
            return [mp.mpf(1)] * (trials + 1 - least)
        success, failure = mp.ldexp(mp.mpf(above), -_PROBABILITY), mp.ldexp(mp.mpf(whole - above), -_PROBABILITY)
        odds = up(mp.fdiv, failure, success)
        term, power, rest = mp.mpf(1), success, trials
        while rest:
            term = up(mp.fmul, term, power) if rest & 1 else term
            power, rest = up(mp.fmul, power, power), rest >> 1
        total, tails = term, [term]
        for j in range(trials, least, -1):
            term = up(mp.fdiv, up(mp.fmul, up(mp.fmul, term, mp.mpf(j)), odds), mp.mpf(trials - j + 1))
            total = up(mp.fadd, total, term)
            tails.append(total)
    return tails[::-1]


def _fraction(value: Any) -> Fraction:
    mantissa, exponent = int(value.man), int(value.exp)
    if mantissa.bit_length() + exponent < -_SMALLEST:
        return Fraction(1, 1 << _SMALLEST)
    return min(Fraction(mantissa) * Fraction(2) ** exponent, Fraction(1))
