"""Rounding is explicit and upward: inputs built to stress it never push a bound below the truth."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robspec.lipschitz import directed
from robspec.lipschitz.definite import STEP, cholesky_slack, largest_eigenvalue
from robspec.lipschitz.figures import lower_text, upper_text
from robspec.lipschitz.frequencies import PHASE_ERROR, angles
from robspec.lipschitz.lines import interpolation_line
from robspec.lipschitz.norms import matrix_norm, matrix_spectral_norm
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF, Norm

_POSITIVE = st.floats(min_value=2.0**-300, max_value=2.0**300, allow_nan=False)
_NORMS = st.sampled_from([L1, L2, LINF, Norm(Fraction(3, 2)), Norm(Fraction(3))])


class TestDirected:
    """Every result is at least the exact one, and the smallest such float where that is cheap."""

    @given(st.lists(_POSITIVE, min_size=1, max_size=4))
    def test_sums_and_products(self, values: list[float]) -> None:
        exact_sum, exact_product = sum(map(Fraction, values)), math.prod(map(Fraction, values))
        assert Fraction(directed.add(*values)) >= exact_sum
        assert Fraction(math.nextafter(directed.add(*values), 0.0)) < exact_sum
        product = directed.mul(*values)
        assert math.isinf(product) or Fraction(product) >= exact_product

    @given(_POSITIVE, _POSITIVE)
    def test_quotients(self, a: float, b: float) -> None:
        assert Fraction(directed.div(a, b)) * Fraction(b) >= Fraction(a)

    @given(st.floats(min_value=2.0**-200, max_value=2.0**200), st.integers(1, 5), st.integers(1, 5))
    def test_powers(self, value: float, numerator: int, denominator: int) -> None:
        result = directed.power(value, Fraction(numerator, denominator))
        assert Fraction(result) ** denominator >= Fraction(value) ** numerator
        assert result <= value ** (numerator / denominator) * (1 + 1e-12)

    @given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=5), _NORMS)
    def test_stacks(self, values: list[float], norm: Norm) -> None:
        result = directed.stack(values, norm)
        if norm.p is None:
            assert result == max(values)
        else:
            order = float(norm.p)
            assert result >= sum(v**order for v in values) ** (1 / order) * (1 - 1e-12)

    def test_one_stays_one(self) -> None:
        assert directed.mul(1.0, 1.0) == directed.sqrt(1.0) == directed.root(1, L2) == 1.0

    def test_overflow_is_infinite_not_small(self) -> None:
        assert directed.mul(1e200, 1e200) == math.inf
        assert directed.mul(0.0, math.inf) == math.inf
        assert directed.add(1.0, math.nan) == math.inf

    @given(_POSITIVE, st.integers(1, 12))
    def test_decimal_texts_round_outwards(self, value: float, digits: int) -> None:
        assert Fraction(upper_text(value, digits)) >= Fraction(value) >= Fraction(lower_text(value, digits))


class TestEigenvalues:
    """A completed Cholesky factorisation, its rounding error subtracted, proves the bound."""

    @pytest.mark.parametrize("size", [1, 2, 7, 33, 128])
    @pytest.mark.parametrize("complex_", [False, True])
    def test_known_spectra(self, size: int, complex_: bool) -> None:
        generator = torch.Generator().manual_seed(size)
        dtype = torch.complex128 if complex_ else torch.float64
        basis, _ = torch.linalg.qr(torch.randn(4, size, size, generator=generator, dtype=dtype))
        spectrum = torch.rand(4, size, generator=generator, dtype=torch.float64)
        spectrum[2, 0] = 1.0
        matrices = basis @ torch.diag_embed(spectrum).to(dtype) @ basis.mH
        bound = largest_eigenvalue(lambda: iter(matrices.split(3)), 1e-13)
        assert 1.0 <= bound <= 1.0 + 2 * STEP + 1e-9

    @pytest.mark.parametrize("spread", [0.0, 1e-15, 1e-11, 4e-6, 0.5])
    def test_large_matrices_whose_largest_eigenvalue_is_guessed(self, spread: float) -> None:
        """A Krylov space proposes; where it proposes too little, the factorisation fails and the bound is raised."""
        generator = torch.Generator().manual_seed(1)
        axis = torch.randn(600, 1, generator=generator, dtype=torch.float64)
        axis = axis / axis.norm()
        flip = torch.eye(600, dtype=torch.float64) - 2 * axis @ axis.T
        spectrum = 1.0 - spread * torch.rand(600, generator=generator, dtype=torch.float64)
        spectrum[123] = 1.0
        matrix = (flip * spectrum @ flip).unsqueeze(0)
        bound = largest_eigenvalue(lambda: iter([matrix]), 1e-13)
        assert 1.0 <= bound <= 1.0 + 2 * STEP + 1e-9

    def test_a_guess_that_misses_is_mended(self) -> None:
        """The largest eigenvalue hides in a direction that the Krylov space never meets."""
        matrix = torch.eye(600, dtype=torch.float64)
        start = torch.randn(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        other = torch.randn(600, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        hidden = other - (other @ start) / (start @ start) * start
        matrix = matrix + torch.outer(hidden, hidden) / (hidden @ hidden)
        bound = largest_eigenvalue(lambda: iter([matrix.unsqueeze(0)]), 1e-13)
        assert 2.0 <= bound <= 2.0 * (1.0 + 2 * STEP) + 1e-9

    def test_a_cluster_of_equal_eigenvalues(self) -> None:
        matrices = torch.eye(64, dtype=torch.float64).expand(50, 64, 64) * (1.0 - 1e-9)
        bound = largest_eigenvalue(lambda: iter(matrices.split(7)), 0.0)
        assert 1.0 - 1e-9 <= bound <= 1.0 + 2 * STEP

    def test_the_largest_hides_in_the_last_batch(self) -> None:
        matrices = torch.eye(8, dtype=torch.float64).repeat(100, 1, 1)
        matrices[-1, 3, 3] = 7.0
        assert 7.0 <= largest_eigenvalue(lambda: iter(matrices.split(9)), 0.0) <= 7.0 * (1 + 2 * STEP)

    @pytest.mark.parametrize("poison", [math.nan, math.inf])
    def test_poisoned_matrices_give_infinity(self, poison: float) -> None:
        matrices = torch.eye(8, dtype=torch.float64).repeat(10, 1, 1)
        matrices[4, 2, 5] = poison
        assert largest_eigenvalue(lambda: iter(matrices.split(4)), 0.0) == math.inf

    def test_a_factorisation_fails_beyond_the_slack(self) -> None:
        """Below minus the slack no factorisation completes; far inside it some do, which is why it is
        subtracted.
        """
        generator = torch.Generator().manual_seed(0)
        completed = 0
        for size in (4, 32, 96, 200):
            slack = cholesky_slack(size, float(size))
            for _ in range(5):
                basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
                for depth in (1e-9, 1e-6, 1.0, 3.0):
                    spectrum = torch.ones(size, dtype=torch.float64)
                    spectrum[0] = -depth * slack
                    _, info = torch.linalg.cholesky_ex(basis @ torch.diag(spectrum) @ basis.T)
                    completed += int(info == 0)
                    assert depth < 1.0 or int(info) != 0
        assert completed > 0

    @pytest.mark.parametrize("order", [4, 16, 64])
    def test_hadamard_matrices_have_a_known_norm(self, order: int) -> None:
        hadamard = torch.ones(1, 1, dtype=torch.float64)
        while hadamard.shape[0] < order:
            hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
        truth = Fraction(order)
        bound = Fraction(matrix_spectral_norm(hadamard.unsqueeze(0)))
        assert truth <= bound**2 <= truth * Fraction(1_000_001, 1_000_000)

    def test_cancellation_in_the_gram_matrix(self) -> None:
        """Two nearly opposite rows: the small singular value drowns in rounding, the large one must not."""
        tiny = 2.0**-40
        matrix = torch.tensor([[1.0, 1.0], [-1.0, -1.0 - tiny]], dtype=torch.float64)
        square = 4 + 2 * Fraction(tiny) + Fraction(tiny) ** 2
        discriminant = square**2 - 4 * Fraction(tiny) ** 2
        truth_squared = (float(square) + math.sqrt(float(discriminant))) / 2
        bound = matrix_norm(matrix, L2)
        assert bound**2 >= truth_squared * (1 - 1e-15)
        assert bound**2 <= truth_squared * (1 + 1e-6)

    @pytest.mark.parametrize("exponent", [-120, -60, 60, 120])
    def test_extreme_scales(self, exponent: int) -> None:
        matrix = torch.full((3, 5), 2.0**exponent, dtype=torch.float64)
        truth = 2.0**exponent * math.sqrt(15)
        assert truth <= matrix_norm(matrix, L2) * (1 + 1e-15)
        assert matrix_norm(matrix, L2) <= truth * (1 + 1e-6)

    def test_overflowing_weights_give_infinity_not_nonsense(self) -> None:
        assert 3e200 <= matrix_norm(torch.full((3, 3), 1e200, dtype=torch.float64), L2) <= 3.00001e200
        assert matrix_norm(torch.full((3, 3), 1e308, dtype=torch.float64), L2) == math.inf


class TestPhases:
    """Phases are computed from exactly reduced turns, so that large shifts cost no accuracy."""

    @given(st.integers(1, 400), st.integers(0, 10**6), st.integers(0, 10**6))
    def test_cosine_and_sine(self, side: int, shift: int, frequency: int) -> None:
        turned = angles([(shift % side,)], torch.tensor([[frequency % side]]), (side,))
        exact = Fraction(shift % side * (frequency % side) % side, side)
        reference = 2 * math.pi * float(exact)
        assert abs(float(turned.cos()) - math.cos(reference)) <= PHASE_ERROR
        assert abs(float(turned.sin()) - math.sin(reference)) <= PHASE_ERROR


class TestStressedModels:
    """Whole layers whose float64 arithmetic is as inexact as it gets."""

    def test_a_long_sum_of_alternating_terms(self, export: Any) -> None:
        layer = nn.Linear(4096, 1, bias=False)
        layer.weight.data = (torch.arange(4096) % 2 * 2 - 1).float().reshape(1, -1) * 1.1
        exact = Fraction(float(layer.weight[0, 0].detach())) ** 2 * 4096
        bound = prove(export(layer, (4096,)), input_norm=L2, output_norm=L2).bound
        assert exact <= Fraction(bound) ** 2 <= exact * Fraction(1_000_003, 1_000_000)

    def test_weights_of_very_different_sizes(self, export: Any) -> None:
        layer = nn.Conv2d(2, 2, 1, bias=False)
        layer.weight.data = torch.tensor([[1e18, 1.0], [-1e18, 1e-18]]).reshape(2, 2, 1, 1)
        top = Fraction(float(layer.weight[0, 0].detach()))
        bound = prove(export(layer, (2, 4, 4)), input_norm=L2, output_norm=L2).bound
        assert Fraction(bound) ** 2 >= 2 * top**2

    def test_a_chain_of_many_unit_factors(self, export: Any) -> None:
        """A hundred factors of 1 + 2^-23: the product may not fall below its rational value."""
        factor = 1.0 + 2.0**-23

        def forward(x: torch.Tensor) -> torch.Tensor:
            for _ in range(100):
                x = torch.relu(x * factor)
            return x

        bound = prove(export(forward, (2,)), input_norm=L2, output_norm=L2).bound
        assert Fraction(bound) >= Fraction(factor) ** 100
        assert bound <= factor**100 * (1 + 1e-12)

    @pytest.mark.parametrize("scalar", [0.7, 0.3, 0.1, 1 / 3, -1.7])
    def test_python_scalars_count_exactly_and_as_rounded(self, scalar: float, export: Any) -> None:
        """A kernel may use the double or its float32 rounding; neither may exceed the bound."""
        rounded = float(torch.tensor(scalar))
        largest = max(abs(Fraction(scalar)), abs(Fraction(rounded)))
        for function in (
            lambda x: x * scalar,
            lambda x: torch.add(torch.zeros(3), x, alpha=scalar),
            lambda x: torch.rsub(x, torch.zeros(3), alpha=scalar),
        ):
            bound = prove(export(function, (3,)), input_norm=L2, output_norm=L2).bound
            assert largest <= Fraction(bound) <= largest * (1 + Fraction(1, 10**7))
        inverse = prove(export(lambda x: x / scalar, (3,)), input_norm=L2, output_norm=L2).bound
        assert Fraction(inverse) * min(abs(Fraction(scalar)), abs(Fraction(rounded))) >= 1

    def test_division_by_a_third_rounds_up(self, export: Any) -> None:
        third = float(torch.tensor(1.0) / 3)
        bound = prove(export(lambda x: x / (torch.tensor(1.0) / 3), (2,)), input_norm=L2, output_norm=L2).bound
        assert Fraction(bound) >= 1 / Fraction(third)

    def test_batch_norm_divides_by_the_exact_root(self, export: Any) -> None:
        layer = nn.BatchNorm2d(1)
        layer.running_var.fill_(0.3)
        layer.weight.data.fill_(0.7)
        bound = prove(export(layer, (1, 2, 2)), input_norm=L2, output_norm=L2).bound
        weight, variance = Fraction(float(layer.weight.detach())), Fraction(float(layer.running_var))
        assert Fraction(bound) ** 2 * (variance + Fraction(layer.eps)) >= weight**2


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("side", "size", "scale"), [(5, 9, None), (9, 4, None), (1, 6, None), (7, None, 2.6), (6, 1, None)]
)
def test_interpolation_matrices_follow_torch(
    mode: str, align: bool, side: int, size: int | None, scale: float | None
) -> None:
    """The definition against torch applied to the identity in float64, entry by entry."""
    from torch.nn import functional

    basis = torch.eye(side, dtype=torch.float64).reshape(side, 1, side, 1).expand(side, 1, side, 2)
    sizes = None if size is None else (size, 2)
    scales = None if scale is None else (scale, 1.0)
    images = functional.interpolate(basis, size=sizes, scale_factor=scales, mode=mode, align_corners=align)
    theirs = images[:, 0, :, 0].T
    ours = interpolation_line(side, theirs.shape[0], cubic=mode == "bicubic", align=align, scale=scale)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
