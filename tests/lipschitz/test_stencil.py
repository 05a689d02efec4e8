"""MATH.md 5: "its norm is the largest singular value over that grid"; a stencil's bound is never below its
dense norm.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.lipschitz import joining
from robspec.lipschitz.norms import operator_norm
from robspec.lipschitz.stencil import Stencil, compose, diagonal, identity, pointwise
from robspec.lipschitz.torus import norm_on_torus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.examples import examples


def dense(stencil: Stencil) -> np.ndarray:
    """Write a stencil as a matrix by its definition, one entry at a time."""
    rows = [*itertools.product(range(stencil.channels_out), *(range(m) for m in stencil.outputs))]
    columns = [*itertools.product(range(stencil.channels_in), *(range(n) for n in stencil.inputs))]
    where = {column: index for index, column in enumerate(columns)}
    place = {row: index for index, row in enumerate(rows)}
    matrix = np.zeros((len(rows), len(columns)))
    _, groups, per_out, per_in = stencil.kernels.shape
    kernels = stencil.kernels.numpy()
    walked = stencil.inputs if stencil.transposed else stencil.outputs
    target = stencil.outputs if stencil.transposed else stencil.inputs
    for spot in itertools.product(*(range(n) for n in walked)):
        for tap, offset in enumerate(stencil.offsets):
            position = [p * s + d for p, s, d in zip(spot, stencil.stride, offset, strict=True)]
            wrapped = [p % n if c else p for p, n, c in zip(position, target, stencil.circular, strict=True)]
            if any(not 0 <= p < n for p, n in zip(wrapped, target, strict=True)):
                continue
            for group, i, j in itertools.product(range(groups), range(per_out), range(per_in)):
                here, there = (spot, tuple(wrapped)) if not stencil.transposed else (tuple(wrapped), spot)
                row = place[(group * per_out + i, *here)]
                matrix[row, where[(group * per_in + j, *there)]] += kernels[tap, group, i, j]
    return matrix


def exact(matrix: np.ndarray, norm: Norm) -> float:
    """The dense norm in l_1, l_2 or l_infinity."""
    if matrix.size == 0:
        return 0.0
    if norm.p == 2:
        return float(np.linalg.svd(matrix, compute_uv=False)[0])
    return float(np.abs(matrix).sum(0 if norm.p == 1 else 1).max())


@st.composite
def stencils(draw: st.DrawFn, *, circular: bool = True) -> Stencil:
    """Draw any stencil of one or two dimensions: strides, dilations, gaps, surplus padding, groups, both
    directions.
    """
    dims = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    inputs = tuple(draw(st.integers(1, 7)) for _ in range(dims))
    outputs = tuple(draw(st.integers(1, 7)) for _ in range(dims))
    transposed = draw(st.booleans())
    wraps = tuple(circular and not transposed and draw(st.booleans()) for _ in range(dims))
    dilation = draw(st.integers(1, 3))
    shift = draw(st.integers(-4, 2))
    cells = st.tuples(*(st.integers(0, 3) for _ in range(dims)))
    taps = draw(st.lists(cells, min_size=1, max_size=5, unique=True))
    offsets = tuple(tuple(k * dilation + shift for k in tap) for tap in taps)
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    kernels = torch.randn(len(taps), groups, rows, columns, generator=generator, dtype=torch.float64)
    axes = tuple(range(1, dims + 2))
    return Stencil(kernels, offsets, stride, inputs, outputs, wraps, transposed, axes, axes)


class TestNorms:
    """ "Where code and page disagree, one of them is a defect": no bound is below the dense norm."""

    @settings(max_examples=examples(100), deadline=None)
    @given(stencils())
    def test_no_bound_is_below_the_dense_norm(self, stencil: Stencil) -> None:
        matrix = dense(stencil)
        for norm in (L1, L2, LINF):
            assert operator_norm(stencil, norm) >= exact(matrix, norm) * (1 - 1e-13)
        assert norm_on_torus(stencil) >= exact(matrix, L2) * (1 - 1e-13)

    @settings(max_examples=examples(60), deadline=None)
    @given(stencils())
    def test_small_maps_are_exact(self, stencil: Stencil) -> None:
        matrix = dense(stencil)
        for norm in (L1, L2, LINF):
            assert operator_norm(stencil, norm) <= exact(matrix, norm) * (1 + 1e-6) + 1e-10

    @settings(max_examples=examples(60), deadline=None)
    @given(stencils(), st.sampled_from([Fraction(5, 4), Fraction(3, 2), Fraction(3), Fraction(7, 2)]))
    def test_other_norms_hold_on_random_vectors(self, stencil: Stencil, p: Fraction) -> None:
        matrix = dense(stencil)
        bound = operator_norm(stencil, Norm(p))
        vectors = np.random.default_rng(0).standard_normal((matrix.shape[1], 20))
        order = float(p)
        stretch = np.linalg.norm(matrix @ vectors, ord=order, axis=0) / np.linalg.norm(vectors, ord=order, axis=0)
        assert bound >= stretch.max() * (1 - 1e-12)

    @settings(max_examples=examples(40), deadline=None)
    @given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31))
    def test_circular_convolution_is_exact_on_its_own_grid(self, n: int, k: int, c: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        kernels = torch.randn(k, 1, c, c, generator=generator, dtype=torch.float64)
        offsets = tuple((d,) for d in range(k))
        stencil = Stencil(kernels, offsets, (1,), (n,), (n,), (True,), False, (1, 2), (1, 2))
        truth = exact(dense(stencil), L2)
        assert truth * (1 - 1e-13) <= norm_on_torus(stencil) <= truth * (1 + 1e-6)

    def test_stride_and_dilation_together_need_the_dilated_kernel(self) -> None:
        """ "Not the undilated kernel with the same stride (1.970 against a bound of 1.414)": taps d = s."""
        kernels = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
        stencil = Stencil(kernels, ((-2,), (0,), (2,)), (2,), (16,), (8,), (False,), False, (1, 2), (1, 2))
        truth = exact(dense(stencil), L2)
        undilated = Stencil(kernels, ((-1,), (0,), (1,)), (2,), (16,), (8,), (False,), False, (1, 2), (1, 2))
        assert norm_on_torus(undilated) < truth <= norm_on_torus(stencil)

    def test_surplus_circular_padding_repeats_rows(self) -> None:
        kernels = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        stencil = Stencil(kernels, ((-3,),), (1,), (4,), (10,), (True,), False, (1, 2), (1, 2))
        assert operator_norm(stencil, L2) == pytest.approx(math.sqrt(3), rel=1e-6)

    def test_kernels_longer_than_the_circle_wrap_instead_of_being_cut(self) -> None:
        kernels = torch.ones(5, 1, 1, 1, dtype=torch.float64)
        stencil = Stencil(kernels, tuple((d,) for d in range(5)), (1,), (2,), (2,), (True,), False, (1, 2), (1, 2))
        assert operator_norm(stencil, L2) == pytest.approx(5.0, rel=1e-6)


class TestComposition:
    """Adjacent linear maps are grouped only where the composition is exact."""

    @settings(max_examples=examples(120), deadline=None)
    @given(stencils(), stencils())
    def test_composition_is_the_matrix_product(self, second: Stencil, first: Stencil) -> None:
        combined = compose(second, first)
        if combined is None:
            return
        assert np.allclose(dense(combined), dense(second) @ dense(first), atol=1e-12)

    @settings(max_examples=examples(60), deadline=None)
    @given(stencils(), st.integers(0, 2**31))
    def test_pointwise_maps_compose_on_both_sides(self, stencil: Stencil, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        axes = stencil.input_axes
        before = pointwise(
            torch.randn(1, stencil.channels_in, 2, generator=generator, dtype=torch.float64),
            stencil.inputs,
            axes,
        )
        factors = torch.randn(stencil.channels_out, generator=generator, dtype=torch.float64)
        after = diagonal(factors, stencil.outputs, axes)
        inner = compose(stencil, before)
        assert inner is not None
        whole = compose(after, inner)
        assert whole is not None
        assert np.allclose(dense(whole), dense(after) @ dense(stencil) @ dense(before), atol=1e-12)

    @pytest.mark.parametrize("circular", [False, True])
    @pytest.mark.parametrize(("stride", "pads"), [(1, (1, 1)), (2, (1, 1)), (2, (0, 1)), (3, (2, 2)), (1, (4, 4))])
    def test_padding_then_a_valid_window(self, circular: bool, stride: int, pads: tuple[int, int]) -> None:
        n, k = 4, 3
        m = n + sum(pads)
        one = torch.ones(1, 2, 1, 1, dtype=torch.float64)
        pad = Stencil(one, ((-pads[0],),), (1,), (n,), (m,), (circular,), False, (1, 2), (1, 2), parts=0)
        kernels = torch.randn(k, 1, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        outputs = (m - k) // stride + 1
        window = Stencil(
            kernels,
            tuple((d,) for d in range(k)),
            (stride,),
            (m,),
            (outputs,),
            (False,),
            False,
            (1, 2),
            (1, 2),
        )
        combined = compose(window, pad)
        assert combined is not None
        assert np.allclose(dense(combined), dense(window) @ dense(pad))
        truth = exact(dense(combined), L2)
        assert truth * (1 - 1e-13) <= operator_norm(combined, L2) <= truth * (1 + 1e-6)

    def test_two_zero_padded_windows_do_not_compose(self) -> None:
        kernels = torch.ones(3, 1, 1, 1, dtype=torch.float64)
        window = Stencil(kernels, ((-1,), (0,), (1,)), (1,), (5,), (5,), (False,), False, (1, 2), (1, 2))
        assert compose(window, window) is None

    @settings(max_examples=examples(80), deadline=None)
    @given(stencils(), st.integers(0, 2**31), st.sampled_from([1.0, -1.0, 0.5]))
    def test_sums_and_stacks(self, stencil: Stencil, seed: int, sign: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        other = Stencil(
            torch.randn(stencil.kernels.shape, generator=generator, dtype=torch.float64),
            tuple(tuple(2 * d for d in offset) for offset in stencil.offsets),
            stencil.stride,
            stencil.inputs,
            stencil.outputs,
            stencil.circular,
            stencil.transposed,
            stencil.input_axes,
            stencil.output_axes,
        )
        summed, stacked = joining.total(stencil, other, sign), joining.concatenate([stencil, other])
        if summed is not None:
            assert np.allclose(dense(summed), dense(stencil) + sign * dense(other), atol=1e-12)
        if stacked is not None:
            assert np.allclose(dense(stacked), np.concatenate([dense(stencil), dense(other)]), atol=1e-12)

    def test_a_skip_connection_joins_a_convolution(self) -> None:
        kernels = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        window = Stencil(kernels, ((-1,), (0,), (1,)), (1,), (6,), (6,), (False,), False, (1, 2), (1, 2))
        summed = joining.total(identity(2, (6,), (1, 2)), window, 1.0)
        assert summed is not None
        assert np.allclose(dense(summed), np.eye(12) + dense(window))
