"""Hold elementary functions against sixty digits: how much of what `--arithmetic real` allows them they use.

What their libraries guarantee is not written down, so that the allowances in `robspec/lipschitz/rounding/rules` are
an assumption; this says how far it is from what can be seen. Arguments are spread over magnitudes from 2^-40 to 2^9.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE, Precision

mpmath.mp.dps = 60
ONE = mpmath.mpf(1)
Exact = Callable[[Any], Any]
Allowed = Callable[[Any], Any]


def _sigmoid(v: Any) -> Any:
    return ONE / (1 + mpmath.exp(-v))


def _softplus(v: Any) -> Any:
    return mpmath.log1p(mpmath.exp(v)) if v < 0 else v + mpmath.log1p(mpmath.exp(-v))


# Name, torch, definition, and the allowance in units of u for an argument v, as `rules/functions.py` has it.
FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Exact, Allowed]] = {
    "tanh": (torch.tanh, mpmath.tanh, lambda v: 4 * abs(v)),
    "sigmoid": (torch.sigmoid, _sigmoid, lambda _: 10),
    "silu": (functional.silu, lambda v: v * _sigmoid(v), lambda v: 10 * 1.1 * abs(v)),
    "mish": (functional.mish, lambda v: v * mpmath.tanh(_softplus(v)), lambda v: 12 * abs(v)),
    "gelu": (functional.gelu, lambda v: v * (1 + mpmath.erf(v / mpmath.sqrt(2))) / 2, lambda v: 20 * abs(v)),
    "elu": (functional.elu, lambda v: v if v > 0 else mpmath.expm1(v), lambda v: 9 * abs(v) + 9),
    "sin": (torch.sin, mpmath.sin, lambda v: 5 * abs(v)),
    "cos": (torch.cos, mpmath.cos, lambda _: 5),
    "erf": (torch.erf, mpmath.erf, lambda v: 5 * abs(v)),
    "atan": (torch.atan, mpmath.atan, lambda v: 6 * abs(v)),
    "asinh": (torch.asinh, mpmath.asinh, lambda v: 16 * abs(v)),
    "logsigmoid": (functional.logsigmoid, lambda v: -_softplus(-v), lambda v: 9 * abs(v) + 9),
}


def arguments(count: int, precision: Precision, seed: int) -> torch.Tensor:
    """Draw numbers of both signs whose exponents are spread evenly."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(-40, 9, count)
    found = torch.from_numpy(drawn)
    return found if precision == DOUBLE else found.float()


def used(name: str, count: int, precision: Precision, seed: int) -> float:
    """The largest error found, as a share of what is allowed there.

    Args:
        name: of a function.
        count: how many arguments.
        precision: the arithmetic.
        seed: of the draw.
    """
    run, exact, allowed = FUNCTIONS[name]
    given = arguments(count, precision, seed)
    most = 0.0
    for v, got in zip(given.double().tolist(), run(given).double().tolist(), strict=True):
        value = mpmath.mpf(v)
        error = abs(mpmath.mpf(got) - exact(value))
        most = max(most, float(error / (allowed(value) * mpmath.mpf(precision.unit) + mpmath.mpf(precision.tiny))))
    return most


def main() -> None:
    """Print, for both precisions, the largest share of each allowance that was used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elementary", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    table = Table("function", "float64", "float32")
    for name in FUNCTIONS:
        shares = [used(name, given.count, precision, given.seed) for precision in (DOUBLE, SINGLE)]
        table.add_row(name, *(f"{share:.3f}" for share in shares))
    console = Console()
    console.print(table)
    console.print(
        f"{platform.machine()}, torch {torch.__version__}, {given.count} arguments a function and precision"
    )


if __name__ == "__main__":
    main()
