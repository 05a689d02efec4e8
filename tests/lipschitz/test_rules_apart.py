"""Rules where a wrong reading of one argument would go unnoticed elsewhere, worked out by hand in l1, l2 and linf."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF

Function = Callable[[torch.Tensor], torch.Tensor]
_TAPS = torch.tensor([[[3.0, -4.0]]])
_GAPS = torch.tensor([[[0.0, 5.0, 0.0, -3.0]]])


def _convolution(transposed: bool) -> Function:
    """The operator behind all convolutions, a step of 2 so that the two directions differ."""
    return lambda x: torch.ops.aten.convolution(x, _TAPS, None, [2], [0], [1], transposed, [0], 1)


# Shape of one image, and the bounds in l1, l2 and linf.
_BY_HAND: dict[str, tuple[Function, tuple[int, ...], tuple[float, float, float]]] = {
    # Every entry meets one tap, every output two; the other way round where it is transposed.
    "convolution": (_convolution(False), (1, 4), (4, 5, 7)),
    "transposed_convolution": (_convolution(True), (1, 4), (7, 5, 4)),
    "taps_of_one": (lambda x: functional.conv1d(x, torch.ones(1, 1, 2), stride=2), (1, 4), (1, math.sqrt(2), 2)),
    "taps_of_zero_before_others": (lambda x: functional.conv1d(x, _GAPS, stride=4), (1, 8), (5, math.sqrt(34), 8)),
    "a_constant_before_the_data": (
        lambda x: torch.einsum("ij,bj->bi", torch.tensor([[3.0, 0.0, -4.0]]), x),
        (3,),
        (4, 5, 7),
    ),
    # Three copies of one entry beside another function of all: 2 * 3 + 5, 2 sqrt(3) + 5, 2 + 5.
    "factors_of_a_sum_that_is_broadcast": (
        lambda x: 2 * x[:, :1].tanh() + 5 * x.sin(),
        (3,),
        (11, 2 * math.sqrt(3) + 5, 7),
    ),
    "factors_of_a_sum_that_is_broadcast_on_the_right": (
        lambda x: torch.add(5 * x.sin(), x[:, :1].tanh(), alpha=2),
        (3,),
        (11, 2 * math.sqrt(3) + 5, 7),
    ),
    # The view between two maps leaves them one.
    "a_view_of_the_same_shape": (
        lambda x: (
            (x @ torch.tensor([[1.0, 1.0], [1.0, -1.0]])).reshape(-1, 2) @ torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        ),
        (2,),
        (2, 2, 2),
    ),
    # sin(x) - 3 * 2 tanh(x): the factor is that of the first operand.
    "reversed_difference": (lambda x: torch.rsub(2 * x.tanh(), x.sin(), alpha=3.0), (3,), (7, 7, 7)),
    "a_mean_of_squares_by_another_divisor": (
        lambda x: torch.sqrt(functional.avg_pool1d(x**2, 4)),
        (1, 4),
        (0.5, 0.5, 1),
    ),
}


@pytest.mark.parametrize("name", sorted(_BY_HAND))
def test_bounds_by_hand(name: str, export: Any, bound: Any) -> None:
    function, shape, expected = _BY_HAND[name]
    program = export(function, shape)
    for norm, value in zip((L1, L2, LINF), expected, strict=True):
        assert bound(program, norm) == pytest.approx(value, rel=1e-6), norm


@pytest.mark.parametrize("divisor", [-5, -1])
def test_a_negative_divisor_makes_no_mean_of_squares(divisor: int, export: Any) -> None:
    pooled = lambda x: torch.sqrt(functional.avg_pool2d(x**2, 2, divisor_override=divisor))  # noqa: E731
    with pytest.raises(NoGlobalConstant):
        prove(export(pooled, (1, 2, 2)), input_norm=L2, output_norm=L2)


@pytest.mark.parametrize(
    "pair",
    [
        lambda x: [x.amax(1, True), (3 * x).amin(1, True)],
        lambda x: [(3 * x).amax(1, True), x.amin(1, True)],
        lambda x: [x[:, :2].amax(1, True), 3 * x[:, 2:].amin(1, True)],
        lambda x: [x.amax(1, True), 3 * x.amax(1, True)],
        lambda x: [torch.maximum(x[:, :1], x[:, 1:2]), torch.minimum(3 * x[:, :1], 3 * x[:, 1:2])],
    ],
)
def test_extremes_of_different_groups_are_no_pair(
    pair: Callable[[torch.Tensor], list[torch.Tensor]], export: Any
) -> None:
    """All three entries move by one, and one of the two outputs by three."""
    program = export(lambda x: torch.cat(pair(x), 1), (3,))
    assert prove(program, input_norm=LINF, output_norm=LINF).bound >= 3


def test_a_slope_above_one_is_the_bound_and_one_below_zero_is_none_of_a_monotone_map(export: Any, bound: Any) -> None:
    for slope, value in ((0.25, 1.0), (1.0, 1.0), (2.5, 2.5), (-3.0, 3.0)):
        program = export(lambda x, slope=slope: functional.leaky_relu(x, slope), (3,))
        assert bound(program, L2) == pytest.approx(value, rel=1e-6)
        # x + f(x) gains from slopes between 0 and 1 alone: 2 and no more, or 1 + |slope|.
        both = export(lambda x, slope=slope: x - functional.leaky_relu(x, slope), (3,))
        assert abs(1 - slope) <= bound(both, L2) <= (1 + value) * 1.000001


@pytest.mark.parametrize(
    ("dtype", "threshold", "fits"),
    [
        (torch.float32, 20.0, True),
        (torch.float32, 88.0, True),
        (torch.float32, 88.5, False),
        (torch.float32, 10.0, False),
        # In double the line that takes over at 20 lies visibly below the curve.
        (torch.float64, 20.0, False),
        (torch.float64, 40.0, True),
        (torch.float64, 709.0, True),
        (torch.float64, 709.5, False),
    ],
)
def test_a_softplus_neither_jumps_nor_overflows_in_its_own_type(
    dtype: torch.dtype, threshold: float, fits: bool, export: Any
) -> None:
    program = export(lambda x: functional.softplus(x, threshold=threshold), (3,), dtype=dtype)
    if fits:
        assert prove(program, input_norm=L2, output_norm=L2).bound == pytest.approx(1.0, rel=1e-6)
        return
    mend = "threshold of 40" if dtype == torch.float64 else "threshold of 20"
    with pytest.raises(NoGlobalConstant, match=mend):
        prove(program, input_norm=L2, output_norm=L2)


def test_shrinking_by_nothing_is_the_identity(export: Any, bound: Any) -> None:
    assert bound(export(lambda x: functional.softshrink(x, 0.0), (3,)), L2) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("factor", [2.0**-140, 3 * 2.0**-149])
def test_a_factor_below_the_normal_numbers_counts_as_what_it_may_be_rounded_to(
    factor: float, export: Any, bound: Any
) -> None:
    """In double a number of float32's subnormal range; the graph may round it to float32, by up to half of 2^-149."""
    program = export(lambda x: x.tanh() * factor, (3,))
    assert factor <= bound(program, L2) <= 2 * factor + 2.0**-148
