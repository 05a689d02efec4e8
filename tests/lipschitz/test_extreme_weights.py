"""Computed as 0 is not 0: bounds stay bounds through underflow, overflow and subnormal numbers.

The oracle is exact: products of the stored weights in rationals, and for any vector v the ratio |A v| / |v| in
rationals, which no bound may be below.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robspec.errors import RobspecError
from robspec.function.errors import NotFinite
from robspec.lipschitz import magnitude
from robspec.lipschitz.joining import total
from robspec.lipschitz.norms import matrix_norm, operator_norm
from robspec.lipschitz.prove import prove
from robspec.lipschitz.stencil import Stencil, compose, diagonal, pointwise
from robspec.semantics.norm import L1, L2, LINF, Norm

Matrix = list[list[Fraction]]
SIZES = [1e-320, 1e-300, 1e-200, 1e-160, 1e-100, 1e-38, 1.0, 1e38, 1e100, 1e150]
sizes = st.sampled_from(SIZES)


def exact(matrix: torch.Tensor) -> Matrix:
    """The stored numbers as rationals."""
    return [[Fraction(float(v)) for v in row] for row in matrix]


def times(a: Matrix, b: Matrix) -> Matrix:
    """A product of rationals."""
    columns = list(zip(*b, strict=True))
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in columns] for row in a]


def at_least(matrix: Matrix, norm: Norm) -> Fraction:
    """The norm itself in l1 and linf; in l2 the square of a ratio |A v| / |v|, v close to the leading direction."""
    if norm == L1:
        return max(sum(map(abs, column), Fraction(0)) for column in zip(*matrix, strict=True))
    if norm == LINF:
        return max(sum(map(abs, row), Fraction(0)) for row in matrix)
    largest = max(abs(v) for row in matrix for v in row)
    if largest == 0:
        return Fraction(0)
    scaled = torch.tensor([[float(v / largest) for v in row] for row in matrix], dtype=torch.float64)
    direction = torch.linalg.svd(scaled).Vh[0]
    v = [Fraction(float(x)) for x in direction]
    image = [sum((a * x for a, x in zip(row, v, strict=True)), Fraction(0)) for row in matrix]
    return sum((y * y for y in image), Fraction(0)) / sum((x * x for x in v), Fraction(0))


def holds(bound: float, matrix: Matrix, norm: Norm) -> bool:
    """Whether a bound is none too small, decided in rationals."""
    if math.isinf(bound):
        return True
    found = Fraction(bound) ** 2 if norm == L2 else Fraction(bound)
    return found >= at_least(matrix, norm)


def drawn(seed: int, rows: int, columns: int, scales: list[float]) -> torch.Tensor:
    """Random entries, each of one of the sizes."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    chosen = torch.randint(0, len(scales), (rows, columns), generator=generator)
    return values * torch.tensor(scales, dtype=torch.float64)[chosen]


def stencil(matrix: torch.Tensor) -> Stencil:
    """One matrix at every position of a 2 x 2 map."""
    return pointwise(matrix.unsqueeze(0), (2, 2), (1, 2, 3))


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
class TestNorms:
    """Norms of matrices and stencils of any size."""

    @given(seed=st.integers(0, 10**6), scales=st.lists(sizes, min_size=1, max_size=3))
    def test_one_matrix(self, norm: Norm, seed: int, scales: list[float]) -> None:
        matrix = drawn(seed, 3, 4, scales)
        assert holds(matrix_norm(matrix, norm), exact(matrix), norm)
        assert holds(operator_norm(stencil(matrix), norm), exact(matrix), norm)

    @given(
        seed=st.integers(0, 10**6), scales=st.lists(st.lists(sizes, min_size=1, max_size=2), min_size=2, max_size=5)
    )
    def test_products(self, norm: Norm, seed: int, scales: list[list[float]]) -> None:
        whole = stencil(drawn(seed, 3, 3, scales[0]))
        rational = exact(whole.kernels[0, 0])
        for number, sizes_ in enumerate(scales[1:], start=1):
            matrix = drawn(seed + number, 3, 3, sizes_)
            joined = compose(stencil(matrix), whole)
            assert joined is not None
            whole, rational = joined, times(exact(matrix), rational)
        assert holds(operator_norm(whole, norm), rational, norm)

    @given(seed=st.integers(0, 10**6), scales=st.lists(sizes, min_size=2, max_size=3), factor=sizes)
    def test_scalings_and_sums(self, norm: Norm, seed: int, scales: list[float], factor: float) -> None:
        matrix, other = drawn(seed, 3, 3, scales), drawn(seed + 1, 3, 3, scales)
        factors = drawn(seed + 2, 1, 3, scales)[0]
        scaled = compose(diagonal(factors, (2, 2), (1, 2, 3)), stencil(matrix))
        summed = None if scaled is None else total(scaled, stencil(other), factor)
        assert summed is not None
        rows = zip(exact(matrix), exact(other), factors.tolist(), strict=True)
        rational = [
            [Fraction(f) * a + Fraction(factor) * b for a, b in zip(first, second, strict=True)]
            for first, second, f in rows
        ]
        assert holds(operator_norm(summed, norm), rational, norm)


class Chain(nn.Module):
    """1 x 1 convolutions one after the other, in float64."""

    def __init__(self, matrices: list[torch.Tensor], slope: float) -> None:
        super().__init__()
        self.matrices = nn.ParameterList([m.reshape(*m.shape, 1, 1) for m in matrices])
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, matrix in enumerate(self.matrices):
            x = nn.functional.conv2d(x, matrix)
            if number == 1:
                x = nn.functional.leaky_relu(x, self.slope)
        return x


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_whole_networks(export: Any, norm: Norm, seed: int) -> None:
    """With slope 1 the rectifier is the identity, and the network the exact product of its weights."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [SIZES[int(i)] for i in torch.randint(0, len(SIZES), (4,), generator=generator)]
    matrices = [drawn(seed * 10 + i, 2, 2, [size]) for i, size in enumerate(chosen)]
    program = export(Chain(matrices, 1.0), (2, 2, 2), dtype=torch.float64)
    try:
        bound = prove(program, input_norm=norm, output_norm=norm).bound
    except NotFinite:
        return  # beyond the doubles: refused, and not guessed
    rational = exact(matrices[0])
    for matrix in matrices[1:]:
        rational = times(exact(matrix), rational)
    assert holds(bound, rational, norm)


def test_small_and_large_weights_cancel(export: Any) -> None:
    """Five layers of 1e-35 and five of 1e35 with a rectifier between them: the constant is not below the product."""
    h = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    matrices = [h * 1e-35] * 5 + [h * 1e35] * 5
    bound = prove(export(Chain(matrices, 0.5), (2, 2, 2), dtype=torch.float64), input_norm=L2, output_norm=L2).bound
    assert 32 * (1 - 1e-14) <= bound <= 32.01


@pytest.mark.parametrize("variance", [5e-324, 1e-300, 1.0, 1e300, 1.7e308])
@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1.0, 1e300])
def test_normalisation(export: Any, variance: float, weight: float) -> None:
    class Norm2d(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in (("mean", 0.0), ("var", variance), ("weight", weight)):
                self.register_buffer(name, torch.full((2,), value, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.batch_norm(x, self.mean, self.var, self.weight, self.mean, eps=1e-5)

    try:
        bound = prove(export(Norm2d(), (2, 2, 2), dtype=torch.float64), input_norm=L2, output_norm=L2).bound
    except RobspecError:
        return
    # weight / sqrt(variance + eps), squared, in rationals
    assert Fraction(bound) ** 2 * (Fraction(variance) + Fraction(1e-5)) >= Fraction(weight) ** 2


@pytest.mark.parametrize("divisor", [5e-324, 1e-310, 1e-300, 1e300, 1.7e308])
def test_division(export: Any, divisor: float) -> None:
    by = torch.full((2, 1, 1), divisor, dtype=torch.float64)
    try:
        program = export(lambda x: x / by, (2, 2, 2), dtype=torch.float64)
        bound = prove(program, input_norm=L2, output_norm=L2).bound
    except RobspecError:
        return
    assert Fraction(bound) * Fraction(divisor) >= 1


@given(st.floats(min_value=5e-324, max_value=1e300), st.integers(-600, 600))
def test_powers_of_two_round_up(value: float, power: int) -> None:
    found = magnitude.scale_up(value, power)
    assert math.isinf(found) or Fraction(found) >= Fraction(value) * Fraction(2) ** power
    assert found > 0
