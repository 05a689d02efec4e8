"""Exact certified values as numbers below 128, so that processes can exchange them and nothing is rounded.

A batch is a run of numbers: what it was, then its values; a value is its kind, and of a rational its sign, numerator
and denominator. Runs are simply concatenated, in any order. Every floating type holds numbers below 128 exactly, half
and bfloat16 included: torchmetrics converts states to a metric's dtype, and gathers empty ones in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from robspec.torchmetrics._tensors import Kind

_UNDEFINED, _RATIONAL, _INFINITE, _BATCH = 0, 1, 2, 3
_BITS = 7
_BASE = 1 << _BITS
_LONGEST_CHANNELS = 5


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as a state holds it.

    Args:
        channels: logits for each pixel.
        kind: what its logits look like.
        values: rationals, math.inf, or None where undefined; one for each image.
    """

    channels: int
    kind: Kind
    values: tuple[Fraction | float | None, ...]


def encode(batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """Write a batch down.

    Args:
        batch: what to write.
        dtype: of the metric.

    Returns:
        Numbers below 128, [n].
    """
    out = [_BATCH, *_number(batch.channels), int(batch.kind), *_number(len(batch.values))]
    for value in batch.values:
        if value is None:
            out.append(_UNDEFINED)
        elif value == math.inf:
            out.append(_INFINITE)
        else:
            rational = Fraction(value)
            out += [_RATIONAL, int(rational < 0), *_number(abs(rational.numerator)), *_number(rational.denominator)]
    return torch.tensor(out, dtype=torch.int64).to(dtype)


def decode(record: torch.Tensor) -> list[Batch]:
    """Read batches back, in order; the inverse of `encode`.

    Args:
        record: what `encode` gave, of any number of batches, in any type that holds numbers below 128.

    Raises:
        ValueError: it was not written by `encode`.
    """
    found = []
    try:
        numbers = iter([_whole(n) for n in record.tolist()])
        for kind in numbers:
            if kind != _BATCH:
                raise ValueError("no batch begins here")
            channels, logits, count = _read(numbers), Kind(next(numbers)), _read(numbers)
            found.append(Batch(channels, logits, tuple(_value(numbers) for _ in range(count))))
    except (StopIteration, RuntimeError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError("it ends too early, or holds what is no number") from error
    return found


def channels_of(records: Sequence[torch.Tensor]) -> int | None:
    """Logits for each pixel of the first batch, None without any."""
    first = next((record for record in records if record.numel()), None)
    return None if first is None else _read(iter([_whole(n) for n in first[1 : 3 + _LONGEST_CHANNELS].tolist()]))


def _value(numbers: Iterator[int]) -> Fraction | float | None:
    kind = next(numbers)
    if kind == _RATIONAL:
        sign = next(numbers)
        above = _read(numbers)
        return Fraction(-above if sign else above, _read(numbers))
    if kind not in (_UNDEFINED, _INFINITE):
        raise ValueError("no value begins here")
    return None if kind == _UNDEFINED else math.inf


def _whole(number: float) -> int:
    if not 0 <= number < _BASE or number != int(number):
        raise ValueError("a number is not one of 0 to 127")
    return int(number)


def _number(number: int) -> Iterator[int]:
    """The digits of a number, least first, behind how many they are, in two digits."""
    digits = []
    while number:
        digits.append(number % _BASE)
        number >>= _BITS
    yield from (len(digits) >> (_BITS * place) & (_BASE - 1) for place in range(2))
    yield from digits


def _read(numbers: Iterator[int]) -> int:
    count = next(numbers) + (next(numbers) << _BITS)
    return sum(next(numbers) << (_BITS * place) for place in range(count))
