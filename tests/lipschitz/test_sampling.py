"""Fewer frequencies than the torus has: never below what lies between the samples, and close where it is used."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.lipschitz import frequencies, sampling, torus
from robspec.lipschitz.definite import largest_eigenvalue, smallest_eigenvalue
from robspec.lipschitz.norms import operator_norm
from robspec.lipschitz.sampling import between_samples, coarse_grid
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.torus import norm_on_torus
from robspec.semantics.norm import L2
from tests.examples import examples

CLOSE = 1e-6


def circle(taps: dict[tuple[int, ...], torch.Tensor], sides: tuple[int, ...], stride: int = 1) -> Stencil:
    """A circular stencil, whose norm is that of its torus exactly."""
    dims = len(sides)
    return Stencil(
        torch.stack(list(taps.values())).unsqueeze(1),
        tuple(taps),
        (stride,) * dims,
        sides,
        tuple(n // stride for n in sides),
        (True,) * dims,
        False,
        tuple(range(1, dims + 2)),
        tuple(range(1, dims + 2)),
    )


def truth(stencil: Stencil) -> float:
    """The largest singular value over every frequency of the torus, from numpy; stride 1, one group."""
    index = np.array(list(itertools.product(*(range(n) for n in stencil.inputs))))
    turns = index / np.array(stencil.inputs) @ np.array(stencil.offsets).T
    matrices = np.einsum("ft,tij->fij", np.exp(2j * math.pi * turns), stencil.kernels[:, 0].numpy())
    return float(np.linalg.svd(matrices, compute_uv=False).max())


def orthogonal(generator: torch.Generator, size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def paraunitary(seed: int, size: int, dims: int, steps: int) -> dict[tuple[int, ...], torch.Tensor]:
    """An exactly orthogonal convolution: products of (P shifted + I - P) along every dimension."""
    generator = torch.Generator().manual_seed(seed)
    taps = {(0,) * dims: orthogonal(generator, size)}
    for dim in [d for d in range(dims) for _ in range(steps)]:
        basis = orthogonal(generator, size)[:, : size // 2]
        projector = basis @ basis.T
        found: dict[tuple[int, ...], torch.Tensor] = {}
        for key, kernel in taps.items():
            moved = tuple(k + (d == dim) for d, k in enumerate(key))
            for place, factor in ((key, torch.eye(size, dtype=torch.float64) - projector), (moved, projector)):
                found[place] = found.get(place, torch.zeros(size, size, dtype=torch.float64)) + factor @ kernel
        taps = found
    return taps


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frequencies each grid had that was looked at."""
    sizes: list[int] = []

    def counting(sides: tuple[int, ...]) -> torch.Tensor:
        grid = frequencies.half_grid(sides)
        sizes.append(len(grid))
        return grid

    monkeypatch.setattr(torus, "half_grid", counting)
    return sizes


def rotating(angle: float, size: float) -> torch.Tensor:
    """A scaled rotation B: I + B exp(i t) has the singular values |1 + size exp(i (t +- angle))|."""
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return size * torch.tensor(turn, dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_peak_between_the_samples_counts(dims: int, visited: list[int]) -> None:
    """The largest singular value, 1 + size, lies halfway between two samples, which show 1 + 0.924 size at most."""
    size = 4e-6
    eye = torch.eye(2, dtype=torch.float64)
    sides = (64, 32)[:dims]
    taps = {(0,) * dims: eye, (1,) + (0,) * (dims - 1): rotating(math.pi / 8, size)}
    bound = norm_on_torus(circle(taps, sides))
    assert visited == [5], "the sampled grid alone was looked at"
    assert 1 + size <= bound <= (1 + size) * (1 + CLOSE)


def test_a_peak_between_the_samples_of_both_dimensions_counts() -> None:
    size = 2e-6
    turned = rotating(math.pi / 8, size)
    taps = {(0, 0): torch.eye(2, dtype=torch.float64), (1, 0): turned, (0, 1): turned}
    bound = norm_on_torus(circle(taps, (32, 32)))
    assert 1 + 2 * size <= bound <= (1 + 2 * size) * (1 + CLOSE)


def test_without_the_growth_between_samples_the_peak_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted peak is a test of the growth: with none, the bound would be false."""
    size = 5e-6
    taps = {(0,): torch.eye(2, dtype=torch.float64), (1,): rotating(math.pi / 8, size)}
    stencil = circle(taps, (64,))
    assert norm_on_torus(stencil) >= 1 + size
    monkeypatch.setattr(sampling, "_STRETCH", 1)
    assert norm_on_torus(stencil) < 1 + size


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([0.0, 1e-9, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-3, 0.1]),
    st.sampled_from([2, 3, 4]),
)
def test_almost_orthogonal_kernels(seed: int, dims: int, steps: int, off: float, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    taps = {
        key: kernel + off * torch.randn(kernel.shape, generator=generator, dtype=torch.float64)
        for key, kernel in paraunitary(seed, size, dims, steps).items()
    }
    stencil = circle(taps, (65, 32)[:dims])
    exact = truth(stencil)
    assert exact * (1 - 1e-14) <= norm_on_torus(stencil) <= exact * (1 + CLOSE)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(-1.0, 1.0))
def test_between_samples_bounds_trigonometric_polynomials(seed: int, degree: int, shift: float) -> None:
    """Any Hermitian family of the degree, whatever its samples are: the maximum over a fine grid stays below."""
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((degree + 1, 3, 3))

    def family(turns: np.ndarray) -> np.ndarray:
        waves = sum(np.exp(1j * d * turns)[:, None, None] * parts[d] for d in range(degree + 1))
        return 1e6 * np.eye(3) + waves + np.conj(waves.transpose(0, 2, 1))

    samples = np.linalg.eigvalsh(family(2 * math.pi * np.arange(8 * degree) / (8 * degree)))
    fine = np.linalg.eigvalsh(family(np.linspace(0, 2 * math.pi, 4001) + shift))
    bound = between_samples(float(samples.max()), float(samples.min()), 1)
    if bound is not None:
        assert bound >= fine.max()
        assert bound > samples.max()


def test_each_refined_dimension_counts() -> None:
    """cos(a - pi/8) cos(b - pi/8) has the maximum 1 and samples up to cos(pi/8)^2: one factor is not enough."""
    turns = 2 * math.pi * np.arange(8) / 8 - math.pi / 8
    samples = 1e6 + np.outer(np.cos(turns), np.cos(turns))
    both = between_samples(float(samples.max()), float(samples.min()), 2)
    one = between_samples(float(samples.max()), float(samples.min()), 1)
    assert both is not None
    assert one is not None
    assert one < 1e6 + 1 <= both


def test_growth_is_above_the_cosine() -> None:
    """cos(pi/8)^2 = (2 + sqrt 2) / 4, so the growth must exceed its root's inverse; 8 samples per degree."""
    stretch = sampling._STRETCH
    assert sampling.PER_DEGREE == 8
    # stretch^2 (2 + sqrt 2) / 4 > 1, in integers: sqrt 2 > 1.41421356
    assert stretch**2 * (2 + 141421356 / Fraction(10**8)) / 4 > 1


@pytest.mark.parametrize(
    ("keys", "sides", "grid"),
    [
        ([(0, 0), (2, 2)], (100, 100), (16, 16)),
        ([(0, 0), (2, 0)], (100, 1), (16, 1)),
        ([(3,), (4,)], (32,), (8,)),
        ([(3,), (4,)], (31,), None),
        ([(0, 0), (2, 2)], (34, 30), None),
        ([(0, 0), (1, 2)], (12, 100), (8, 16)),
        ([(0, 0), (9, 1)], (60, 100), (60, 8)),
        ([(0,), (99,)], (100,), None),
    ],
)
def test_the_coarse_grid(keys: list[tuple[int, ...]], sides: tuple[int, ...], grid: tuple[int, ...] | None) -> None:
    assert coarse_grid(keys, sides) == grid


def test_ordinary_convolutions_look_at_every_frequency(visited: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    taps = {(d,): torch.randn(3, 3, generator=generator, dtype=torch.float64) for d in range(3)}
    stencil = circle(taps, (101,))
    exact = truth(stencil)
    assert exact <= norm_on_torus(stencil) <= exact * (1 + CLOSE)
    assert visited == [51]


def test_a_spread_the_hint_cannot_see_is_found_by_the_samples(
    visited: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """|1 + 0.3 exp(i t) - 0.3 exp(2 i t)| is 1 at frequency 0 and far from it elsewhere."""
    taps = {(0,): 1.0, (1,): 0.3, (2,): -0.3}
    stencil = circle({key: torch.full((1, 1), tap, dtype=torch.float64) for key, tap in taps.items()}, (100,))
    exact = truth(stencil)
    assert exact <= norm_on_torus(stencil) <= exact * (1 + CLOSE)
    assert visited == [9, 51]


def test_the_size_of_the_map_costs_nothing() -> None:
    """A map of 10^12 positions; its half grid could not even be listed."""
    taps = paraunitary(5, 4, 2, 2)
    side = 10**6
    stencil = circle(taps, (side, side))
    assert 1.0 <= operator_norm(stencil, L2) <= 1 + CLOSE


@pytest.mark.parametrize("make", [lambda b: b, lambda b: torch.complex(b, torch.zeros_like(b))])
def test_the_smallest_eigenvalue_is_never_above(make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(3)
    for low in (0.0, 1e-9, 0.5, 1.0 - 1e-7):
        spectrum = torch.linspace(low, 1.0, 5, dtype=torch.float64)
        bases = [orthogonal(generator, 5) for _ in range(6)]
        batch = make(torch.stack([b @ torch.diag(spectrum) @ b.T for b in bases]))
        error = 1e-14
        above = largest_eigenvalue(lambda batch=batch: iter(batch.split(2)), error)
        below = smallest_eigenvalue(lambda batch=batch: iter(batch.split(2)), above, error)
        assert 0.0 <= below <= low
        assert below >= low - 2e-6 * (1 - low) - 1e-12


@pytest.mark.parametrize("size", [1, 5])
def test_the_error_of_the_stored_matrices_counts_on_both_sides(size: int) -> None:
    """What is stored is 1/2; what is meant may be 0.4 or 0.6."""
    stored = torch.eye(size, dtype=torch.float64).unsqueeze(0) / 2
    above = largest_eigenvalue(lambda: iter([stored]), 0.1)
    assert above >= 0.6
    assert smallest_eigenvalue(lambda: iter([stored]), above, 0.1) <= 0.4


def test_no_bound_from_samples_that_spread_or_are_no_numbers() -> None:
    assert between_samples(math.inf, 0.0, 1) is None
    assert between_samples(1.0, 1.0 - 1e-5, 1) is not None
    assert between_samples(1.0, 1.0 - 1e-4, 1) is None
    assert smallest_eigenvalue(lambda: iter(()), math.inf, 0.0) == 0.0
