"""Real numbers of sixty digits and elementary functions: balls of python-flint where it is installed, else mpmath.

A ball holds the number it stands for whatever was rounded; mpmath's numbers are rounded sixty digits out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

try:
    import flint
except ImportError:
    flint = None

import mpmath

Digits = Any
"""flint.arb or mpmath.mpf."""
Exact = Any
"""numpy array of them."""
_PLACES = 60
mpmath.mp.dps = _PLACES
if flint is not None:
    flint.ctx.dps = _PLACES

number: Callable[[Any], Digits] = mpmath.mpf if flint is None else flint.arb
ZERO, ONE = number(0), number(1)


def exact(values: torch.Tensor) -> Exact:
    """Take numbers as they are."""
    found = values.detach().double().numpy()
    return np.array([number(v) for v in found.reshape(-1).tolist()], dtype=object).reshape(found.shape)


def each(function: Callable[[Digits], Digits], x: Exact) -> Exact:
    """Apply a function to every entry."""
    return np.array([function(v) for v in x.reshape(-1)], dtype=object).reshape(x.shape)


def larger(a: Digits, b: Digits) -> Digits:
    """The larger of two; of balls that overlap one that holds it."""
    return max(a, b) if flint is None else a.max(b)


def smaller(a: Digits, b: Digits) -> Digits:
    """The smaller of two."""
    return min(a, b) if flint is None else a.min(b)


def products(a: Exact, b: Exact) -> Exact:
    """Multiply two matrices."""
    if flint is None:
        return np.array([[mpmath.fdot(row, column) for column in b.T] for row in a], dtype=object)
    found = flint.arb_mat(a.tolist()) * flint.arb_mat(b.tolist())
    return np.array(found.entries(), dtype=object).reshape(len(a), b.shape[1])


def total(values: Sequence[Digits]) -> Digits:
    """Add numbers up."""
    return sum(values, ZERO)


def above(value: Digits) -> float:
    """A float that is about as large, and of a ball no smaller than its upper end to fifteen digits."""
    return float(value if flint is None else value.upper())


def length(values: Sequence[Digits]) -> Digits:
    """The l2 norm; of balls no smaller than that of any numbers they may stand for."""
    squares = total([v * v for v in values])
    return mpmath.sqrt(squares) if flint is None else squares.upper().sqrt()


def sqrt(v: Digits) -> Digits:
    """Square root of a positive number."""
    return mpmath.sqrt(v) if flint is None else v.sqrt()


def exp(v: Digits) -> Digits:
    """The exponential."""
    return mpmath.exp(v) if flint is None else v.exp()


def expm1(v: Digits) -> Digits:
    """The exponential less 1."""
    return mpmath.expm1(v) if flint is None else v.expm1()


def log1p(v: Digits) -> Digits:
    """Logarithm of 1 + v."""
    return mpmath.log1p(v) if flint is None else v.log1p()


def tanh(v: Digits) -> Digits:
    """Hyperbolic tangent."""
    return mpmath.tanh(v) if flint is None else v.tanh()


def erfc(v: Digits) -> Digits:
    """One less the error function."""
    return mpmath.erfc(v) if flint is None else v.erfc()
