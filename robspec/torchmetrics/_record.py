"""Exact certified values as int64 tensors, so that processes can exchange them and nothing is rounded.

A value is a run of numbers: its kind, then for a rational its sign, and the lengths and 62-bit limbs of numerator and
denominator. Runs are simply concatenated, in any order of images and processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch

_UNDEFINED, _RATIONAL, _INFINITE = 0, 1, 2
_BITS = 62


def encode(values: Sequence[Fraction | float | None]) -> torch.Tensor:
    """Write values down.

    Args:
        values: rationals, math.inf, or None where undefined.

    Returns:
        int64 [n].
    """
    out: list[int] = []
    for value in values:
        if value is None:
            out.append(_UNDEFINED)
        elif value == math.inf:
            out.append(_INFINITE)
        else:
            rational = Fraction(value)
            above, below = (list(_limbs(abs(n))) for n in (rational.numerator, rational.denominator))
            out += [_RATIONAL, -1 if rational < 0 else 1, len(above), *above, len(below), *below]
    return torch.tensor(out, dtype=torch.int64)


def decode(record: torch.Tensor) -> list[Fraction | float | None]:
    """Read values back, in order; the inverse of `encode`."""
    numbers = iter(record.tolist())
    found: list[Fraction | float | None] = []
    for kind in numbers:
        if kind == _RATIONAL:
            sign = next(numbers)
            above = _number(numbers)
            found.append(Fraction(sign * above, _number(numbers)))
        else:
            found.append(None if kind == _UNDEFINED else math.inf)
    return found


def _limbs(number: int) -> Iterator[int]:
    while number:
        yield number & (2**_BITS - 1)
        number >>= _BITS


def _number(numbers: Iterator[int]) -> int:
    return sum(next(numbers) << (_BITS * place) for place in range(next(numbers)))
