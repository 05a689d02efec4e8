"""Bounds of single rules worked out by hand, in each norm: what the other tests of the rules left open."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.function.errors import MixedBatch, UnsuitableProgram
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.lines import ENTRY_ERROR
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF, Norm

NORMS = (L1, L2, LINF)
SQRT2, SQRT3 = math.sqrt(2), math.sqrt(3)
Function = Callable[[torch.Tensor], torch.Tensor]

_COLUMN = torch.tensor([[3.0], [-4.0]])


def _prelu(slopes: list[float]) -> nn.Module:
    layer = nn.PReLU(len(slopes))
    layer.weight.data = torch.tensor(slopes)
    return layer


def _ordered_pairs(x: torch.Tensor) -> torch.Tensor:
    one, two, three, four = x.split(1, 1)
    steep = torch.maximum(3 * one, 3 * two), torch.minimum(3 * one, 3 * two)
    return torch.cat([*steep, torch.maximum(three, four), torch.minimum(three, four)], 1)


def _norm2d(eps: float, variance: float) -> nn.Module:
    """Channels divided by sqrt(eps + variance), the first doubled."""
    layer = nn.BatchNorm2d(2, eps=eps)
    layer.running_var = torch.tensor([variance, 1.0])
    layer.weight.data = torch.tensor([2.0, 1.0])
    return layer


# Shape of one image, and the bounds in l1, l2 and linf.
_BY_HAND: dict[str, tuple[Function, tuple[int, ...], tuple[float, float, float]]] = {
    "rsub": (lambda x: torch.rsub(x.tanh(), x.sin(), alpha=3.0), (4,), (4, 4, 4)),
    "sum_with_a_repeated_branch": (lambda x: x[..., :1].tanh() + x.sin(), (3,), (4, 1 + SQRT3, 2)),
    "sum_with_a_branch_repeated_on_the_right": (lambda x: x.sin() + x[..., :1].tanh(), (3,), (4, 1 + SQRT3, 2)),
    "sum_of_disjoint_branches": (lambda x: x[:, :2].tanh() + x[:, 2:].tanh(), (4,), (1, SQRT2, 2)),
    "longer_constant_added": (lambda x: (x + torch.zeros(2, 1, 3)).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "longer_constant_multiplied": (
        lambda x: (x * torch.full((2, 1, 3), -3.0)).transpose(0, 1),
        (3,),
        (6, 3 * SQRT2, 3),
    ),
    "longer_limits": (lambda x: x.clamp(torch.zeros(2, 1, 3), None).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "longer_maximum": (lambda x: torch.maximum(x, torch.zeros(2, 1, 3)).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "longer_mask": (
        lambda x: torch.where(torch.tensor([True, False]).reshape(2, 1, 1), x, x.tanh()).transpose(0, 1),
        (3,),
        (4, 2, 1),
    ),
    "root_of_different_squares": (lambda x: torch.sqrt((3 * x) ** 2 + x**2), (4,), (4, math.sqrt(10), math.sqrt(10))),
    "root_of_squares_after_one": (lambda x: torch.sqrt(torch.ones(4) + x**2), (4,), (1, 1, 1)),
    "root_of_squares_and_zeros": (lambda x: torch.sqrt(x**2 + torch.tensor([0.0, 1, 2, 0])), (4,), (1, 1, 1)),
    "root_of_squares_and_a_half": (lambda x: torch.sqrt(torch.add(x**2, torch.ones(4), alpha=0.5)), (4,), (1, 1, 1)),
    "root_of_squares_and_nothing": (lambda x: torch.sqrt(torch.add(x**2, torch.ones(4), alpha=0)), (4,), (1, 1, 1)),
    "root_of_pooled_squares": (
        lambda x: torch.sqrt(functional.avg_pool2d(4.0 * x**2, (1, 2), 1, divisor_override=5)),
        (1, 1, 3),
        (4 / math.sqrt(5), math.sqrt(8 / 5), math.sqrt(8 / 5)),
    ),
    "stored_instance_statistics": (
        lambda x: functional.instance_norm(x, torch.zeros(2), torch.tensor([3.0, 0.25]), None, None, False, 0.1, 0.0),
        (2, 3, 3),
        (2, 2, 2),
    ),
    "batch_behind_stacked": (lambda x: torch.stack([x.tanh(), x.sin()], 0).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "batch_behind_expanded": (lambda x: x.expand(2, -1, -1).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "batch_behind_repeated": (lambda x: x.repeat(2, 1, 1).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "choice_of_data_or_nothing": (lambda x: torch.where(torch.tensor([True, False]), x, 0.0), (2,), (1, 1, 1)),
    "choice_of_nothing_or_data": (lambda x: torch.where(torch.tensor([True, False]), 0.0, x), (2,), (1, 1, 1)),
    "choice_of_unequal_branches": (
        lambda x: torch.where(torch.tensor([True, False]), 3 * x.tanh(), x.sin()),
        (2,),
        (4, math.sqrt(10), 3),
    ),
    "extremes_of_other_groups": (
        lambda x: torch.cat([x.tanh().amax(1, True), x.sin().amin(1, True)], 1),
        (3,),
        (2, SQRT2, 1),
    ),
    "extremes_over_other_sides": (lambda x: torch.cat([x.amax(1), x.amin(2)], 1), (2, 2), (2, SQRT2, 1)),
    "the_same_extreme_in_two_ways": (
        lambda x: torch.cat([x.amax(1), x.max(1).values], 1),
        (2, 2),
        (2, SQRT2, 1),
    ),
    "the_same_extreme_twice": (lambda x: torch.cat([x.amax(1), x.amax(1)], 1), (2, 2), (2, SQRT2, 1)),
    "extremes_of_a_group_of_one": (
        lambda x: torch.cat([x[:, :1].amax(1), x[:, :1].amin(1)], 1),
        (2, 2),
        (2, SQRT2, 1),
    ),
    "extremes_of_one_group": (lambda x: torch.cat([x.amin(1), x.amax(1)], 1), (2, 2), (1, 1, 1)),
    "extremes_of_other_pairs": (
        lambda x: torch.cat([torch.maximum(x.tanh(), x.sin()), torch.minimum(x.tanh(), x.cos())], 1),
        (3,),
        (4, 2, 1),
    ),
    "two_ordered_pairs": (_ordered_pairs, (4,), (3, 3, 3)),
    "maximum_with_a_repeated_branch": (
        lambda x: torch.maximum(x[:, :1].tanh(), x.sin()),
        (3,),
        (6, math.sqrt(6), 1),
    ),
    "extremes_with_a_repeated_branch": (
        lambda x: torch.cat([f(x[:, :1].tanh(), x.sin()) for f in (torch.maximum, torch.minimum)], 1),
        (3,),
        (12, math.sqrt(12), 1),
    ),
    "flat_elu": (lambda x: torch.ops.aten.elu(x, 2.0, 1.0, 0.0), (3,), (1, 1, 1)),
    "steep_elu": (lambda x: torch.ops.aten.elu(x, 2.0, 3.0, 4.0), (3,), (24, 24, 24)),
    "wide_elu": (lambda x: torch.ops.aten.elu(x, -0.25, -3.0, 2.0), (3,), (3, 3, 3)),
    "slopes_of_channels": (_prelu([0.1, 2.5, -0.3]), (3, 2), (2.5, 2.5, 2.5)),
    "falling_slopes_of_channels": (_prelu([0.1, 0.5, -3.0]), (3, 2), (3, 3, 3)),
    "slopes_of_a_kernel": (
        lambda x: torch.ops.aten._prelu_kernel(x, torch.tensor([0.1, 2.5, -0.3]).reshape(1, 3, 1)),
        (3, 2),
        (2.5, 2.5, 2.5),
    ),
    "logarithm_and_a_buffer": (lambda x: torch.ops.aten.log_sigmoid_forward(x)[0], (3,), (1, 1, 1)),
    "average_of_random_slopes": (lambda x: functional.rrelu(x, 0.5, 3.0), (3,), (3, 3, 3)),
    "average_of_falling_slopes": (lambda x: functional.rrelu(x, -3.0, 0.5), (3,), (3, 3, 3)),
    "log_softmax_of_two": (lambda x: x.log_softmax(1), (2,), (1, SQRT2, 2)),
    "log_softmax_of_four": (lambda x: x.log_softmax(1), (4,), (3, 2, 2)),
    "batch_before_logsumexp": (lambda x: x.transpose(0, 1).logsumexp(0).unsqueeze(1), (3,), (1, 1, 1)),
    "batch_beside_logsumexp": (lambda x: x.transpose(0, 1).logsumexp(0, True).transpose(0, 1), (3,), (1, 1, 1)),
    "widened": (lambda x: x.to(torch.float64), (3,), (1, 1, 1)),
    "norm_of_batches": (_norm2d(0.5, 0.5), (2, 2, 2), (2, 2, 2)),
    "norm_of_batches_with_a_tiny_eps": (_norm2d(2.0**-30, 0.0), (2, 2, 2), (2.0**16,) * 3),
    "zero_convolution": (lambda x: functional.conv1d(x, torch.zeros(3, 2, 2)), (2, 4), (0, 0, 0)),
    "zero_transposed": (lambda x: functional.conv_transpose1d(x, torch.zeros(2, 3, 2)), (2, 4), (0, 0, 0)),
    "product_with_a_vector": (lambda x: x.mv(torch.tensor([3.0, -4.0])).unsqueeze(1), (2,), (4, 5, 7)),
    "product_and_sum": (lambda x: torch.addmm(torch.ones(1), x, _COLUMN, alpha=3), (2,), (12, 15, 21)),
    "product_from_the_left_and_sum": (
        lambda x: torch.addmm(torch.zeros(1, 1), _COLUMN.T, x.transpose(0, 1), alpha=3).transpose(0, 1),
        (2,),
        (12, 15, 21),
    ),
    "batch_behind_stacked_columns": (
        lambda x: torch.stack([x.transpose(0, 1).tanh(), x.transpose(0, 1).sin()], 0).permute(2, 0, 1),
        (3,),
        (2, SQRT2, 1),
    ),
    "whole_batch_sliced": (lambda x: torch.ops.aten.slice(2 * x, 0, 0, 2**63 - 1), (3,), (2, 2, 2)),
    "whole_batch_sliced_without_limits": (lambda x: torch.ops.aten.slice(2 * x, 0, None, None), (3,), (2, 2, 2)),
    "factors_before_data": (lambda x: torch.tensor([1.0, -3.0]) * x, (2,), (3, 3, 3)),
    "smooth_elu": (lambda x: functional.celu(x, 1.0), (3,), (1, 1, 1)),
    "size_without_an_order": (lambda x: torch.ops.aten.norm(x, None, [1], True), (3,), (1, 1, SQRT3)),
    "product_of_matrices": (lambda x: x.mm(_COLUMN), (2,), (4, 5, 7)),
    "product_from_the_left": (lambda x: (_COLUMN.T @ x.transpose(0, 1)).transpose(0, 1), (2,), (4, 5, 7)),
    "vector_from_the_left": (lambda x: (_COLUMN[:, 0] @ x.transpose(0, 1)).unsqueeze(1), (2,), (4, 5, 7)),
    "vector_then_factors": (lambda x: (x @ _COLUMN[:, 0]) * torch.tensor([1.0, 9, 2]), (3, 2), (36, 45, 63)),
    "vector_before_factors": (lambda x: (_COLUMN[:, 0] @ x) * torch.tensor([1.0, 9, 2]), (2, 3), (36, 45, 63)),
    "overlapping_adaptive_maxima": (lambda x: functional.adaptive_max_pool2d(x, 3), (1, 4, 4), (4, 2, 1)),
    "overlapping_adaptive_maxima_of_lines": (lambda x: functional.adaptive_max_pool1d(x, 3), (1, 4), (2, SQRT2, 1)),
    "maxima_that_overlap": (lambda x: functional.max_pool2d(x, 3, 2), (1, 5, 5), (4, 2, 1)),
    "maxima_with_gaps": (lambda x: functional.max_pool1d(x, 3, 3, dilation=2), (1, 9), (1, 1, 1)),
    "extremes_and_their_places": (lambda x: torch.cat([x.max(1).values, x.min(1).values], 1), (2, 2), (1, 1, 1)),
    "wrapped_beside_the_batch": (
        lambda x: functional.pad(x.transpose(0, 1), (1, 2), mode="circular").transpose(0, 1),
        (2, 4),
        (2, SQRT2, 1),
    ),
    "maxima_of_rows": (lambda x: functional.max_pool2d(x, (3, 1), (1, 1)), (1, 4, 4), (3, SQRT3, 1)),
    "maxima_of_cubes": (lambda x: functional.max_pool3d(x, 2, 1), (1, 3, 3, 3), (8, math.sqrt(8), 1)),
    "batch_before_mean": (lambda x: x.transpose(0, 1).mean(0).unsqueeze(1), (3,), (1 / 3, 1 / SQRT3, 1)),
    "batch_beside_mean": (lambda x: x.transpose(0, 1).mean(0, True).transpose(0, 1), (3,), (1 / 3, 1 / SQRT3, 1)),
    "batch_before_sum": (lambda x: x.transpose(0, 1).sum(0).unsqueeze(1), (3,), (1, SQRT3, 3)),
    "mean_of_one": (lambda x: x[:, :1].mean(1, True), (3,), (1, 1, 1)),
    "root_of_a_mean_of_squares": (lambda x: torch.sqrt((4.0 * x**2).mean(1, True)), (4,), (1, 1, 2)),
    "root_of_a_sum_of_squares": (lambda x: torch.sqrt((4.0 * x.square()).sum(1, True)), (4,), (2, 2, 4)),
    "root_of_squares_times_a_sign": (lambda x: torch.sqrt(x**2 * torch.tensor([0.0, 4, 1])), (3,), (2, 2, 2)),
    "reflected": (lambda x: torch.ops.aten.reflection_pad1d(x, [1, 2]), (1, 4), (3, SQRT3, 1)),
    "replicated": (lambda x: torch.ops.aten.replication_pad1d(x, [2, 1]), (1, 4), (3, SQRT3, 1)),
    "replicated_twice": (
        lambda x: torch.ops.aten.replication_pad2d(x, [1, 0, 2, 0]),
        (1, 2, 2),
        (6, math.sqrt(6), 1),
    ),
    "wrapped": (lambda x: torch.ops.aten._pad_circular(x, [1, 2]), (1, 4), (2, SQRT2, 1)),
    "filled": (lambda x: torch.ops.aten.constant_pad_nd(x, [1, 2], 5.0), (1, 4), (1, 1, 1)),
    "dropout_asleep": (lambda x: functional.dropout(2 * x, 0.5, False), (3,), (2, 2, 2)),
    "first_power": (lambda x: x.pow(1.0), (3,), (1, 1, 1)),
    "flipped_up": (lambda x: x.transpose(0, 1).flipud().transpose(0, 1), (3,), (1, 1, 1)),
    "flipped_left": (lambda x: x.fliplr(), (3,), (1, 1, 1)),
    "batch_beside_an_index": (lambda x: x.transpose(0, 1)[[0, 0, 1]].transpose(0, 1), (2,), (2, SQRT2, 1)),
    "batch_behind_an_index": (
        lambda x: x.unsqueeze(1)[:, [0, 0]].transpose(0, 1).transpose(0, 1),
        (2,),
        (2, SQRT2, 1),
    ),
    "batch_beside_windows": (lambda x: x.transpose(0, 1).unfold(0, 2, 1).transpose(0, 1), (3,), (2, SQRT2, 1)),
    "filled_by_mask": (lambda x: x.masked_fill(torch.tensor([True, False, False]), 3.0), (3,), (1, 1, 1)),
    "filled_everywhere": (lambda x: x.masked_fill(torch.ones(3, dtype=torch.bool), 3.0), (3,), (1, 1, 1)),
    "batch_before_a_maximum": (lambda x: x.transpose(0, 1).amax(0).unsqueeze(1), (3,), (1, 1, 1)),
    "batch_beside_a_minimum": (lambda x: x.transpose(0, 1).amin(0, True).transpose(0, 1), (3,), (1, 1, 1)),
    "nearest_in_a_line": (lambda x: functional.interpolate(x, scale_factor=2), (1, 3), (2, SQRT2, 1)),
    "nearest_in_space": (lambda x: functional.interpolate(x, scale_factor=2), (1, 2, 2, 2), (8, math.sqrt(8), 1)),
    "nearest_exactly": (
        lambda x: functional.interpolate(x, scale_factor=3, mode="nearest-exact"),
        (1, 3),
        (3, SQRT3, 1),
    ),
    "batch_behind_a_new_side": (lambda x: (2 * x.unsqueeze(0)).transpose(0, 1), (3,), (2, 2, 2)),
    "batch_before_a_new_side": (lambda x: (2 * x.transpose(0, 1).unsqueeze(2)).transpose(0, 1), (3,), (2, 2, 2)),
    "batch_beside_a_fold": (lambda x: (2 * x.transpose(0, 1).unflatten(0, (2, 2))).movedim(2, 0), (4,), (2, 2, 2)),
    "divided_by_one": (lambda x: x / torch.tensor([1.0, 2.0]), (2,), (1, 1, 1)),
    "disjoint_parts": (lambda x: torch.cat([x[:, :2].tanh(), x[:, 2:].sin()], 1), (4,), (1, 1, 1)),
    "disjoint_parts_of_parts": (lambda x: torch.cat([x[:, :3][:, :2].tanh(), x[:, 2:].sin()], 1), (4,), (1, 1, 1)),
    "parts_of_parts_that_meet": (
        lambda x: torch.cat([x[:, 1:][:, :2].tanh(), x[:, 2:].sin()], 1),
        (4,),
        (2, SQRT2, 1),
    ),
    "selected_apart": (lambda x: torch.cat([x[:, 0].tanh(), x[:, 1].sin()], 1), (2, 3), (1, 1, 1)),
    "selected_twice": (lambda x: torch.cat([x[:, -1].tanh(), x[:, 1].sin()], 1), (2, 3), (2, SQRT2, 1)),
    "selected_by_row_and_column": (
        lambda x: torch.cat([x[:, 0][:, 1:2].tanh(), x[:, :, 1][:, :1].sin()], 1),
        (2, 3),
        (2, SQRT2, 1),
    ),
    "selected_in_other_rows": (
        lambda x: torch.cat([x[:, 0][:, 1:2].tanh(), x[:, 1][:, 1:2].sin()], 1),
        (2, 3),
        (1, 1, 1),
    ),
    "unbound_apart": (lambda x: torch.cat([y.tanh() for y in x.unbind(1)], 1), (2, 3), (1, 1, 1)),
    "unbound_and_selected": (
        lambda x: torch.cat([x.unbind(1)[1].tanh(), x[:, 1].sin()], 1),
        (2, 3),
        (2, SQRT2, 1),
    ),
    "narrowed_apart": (lambda x: torch.cat([x.narrow(1, 0, 2).tanh(), x.narrow(1, -2, 2).sin()], 1), (4,), (1, 1, 1)),
    "narrowed_together": (
        lambda x: torch.cat([x.narrow(1, 0, 2).tanh(), x.narrow(1, 1, 3).sin()], 1),
        (4,),
        (2, SQRT2, 1),
    ),
    "narrowed_from_the_end": (
        lambda x: torch.cat([x.narrow(1, 2, 1).tanh(), x.narrow(1, -2, 2).sin()], 1),
        (4,),
        (2, SQRT2, 1),
    ),
    "narrowed_apart_from_the_end": (
        lambda x: torch.cat([x.narrow(1, 0, 1).tanh(), x.narrow(1, -3, 3).sin()], 1),
        (4,),
        (1, 1, 1),
    ),
    "narrowed_to_nothing": (lambda x: torch.cat([x[:, :3].tanh(), x.narrow(1, 4, 0).sin()], 1), (4,), (1, 1, 1)),
    "split_apart": (lambda x: torch.cat([y.tanh() for y in x.split([1, 3], 1)], 1), (4,), (1, 1, 1)),
    "split_and_sliced": (
        lambda x: torch.cat([x.split([1, 3], 1)[1].tanh(), x[:, 1:2].sin()], 1),
        (4,),
        (2, SQRT2, 1),
    ),
    "strided_apart": (lambda x: torch.cat([x[:, ::2].tanh(), x[:, 1::2].sin()], 1), (4,), (1, 1, 1)),
    "strided_together": (lambda x: torch.cat([x[:, ::2].tanh(), x[:, 1:][:, 1::2].sin()], 1), (4,), (2, SQRT2, 1)),
    "batch_before_a_selection": (lambda x: x.transpose(0, 1).select(0, 1).unsqueeze(1), (3,), (1, 1, 1)),
    "batch_before_the_unbound": (lambda x: x.transpose(0, 1).unbind(0)[1].unsqueeze(1), (3,), (1, 1, 1)),
    "batch_beside_a_sort": (lambda x: x.transpose(0, 1).msort().transpose(0, 1), (3,), (1, 1, 1)),
    "batch_before_a_rank": (lambda x: x.transpose(0, 1).kthvalue(2, 0).values.unsqueeze(1), (3,), (1, 1, 1)),
    "batch_beside_a_rank": (lambda x: x.transpose(0, 1).kthvalue(2, 0, True).values.transpose(0, 1), (3,), (1, 1, 1)),
    "batch_before_a_diagonal": (lambda x: x.permute(1, 2, 0).diagonal(0, 0, 1), (3, 3), (1, 1, 1)),
    "maximum_beside_another": (
        lambda x: torch.cat([torch.maximum(x.tanh(), x.sin()), x.cos()], 1),
        (3,),
        (3, SQRT3, 1),
    ),
    "root_of_squares_scaled_twice": (lambda x: torch.sqrt(4.0 * (9.0 * x**2)), (3,), (6, 6, 6)),
    "size_in_l1": (lambda x: torch.linalg.vector_norm(x, 1, 1, True), (3,), (1, SQRT3, 3)),
    "size_in_l2": (lambda x: torch.linalg.vector_norm(x, 2, 1, True), (3,), (1, 1, SQRT3)),
    "size_in_l3": (lambda x: torch.linalg.vector_norm(x, 3, 1, True), (3,), (1, 1, 3 ** (1 / 3))),
    "size_in_linf": (lambda x: torch.linalg.vector_norm(x, math.inf, 1, True), (3,), (1, 1, 1)),
    "batch_before_a_size": (lambda x: x.transpose(0, 1).norm(dim=0).unsqueeze(1), (3,), (1, 1, SQRT3)),
    "batch_beside_a_size": (
        lambda x: x.transpose(0, 1).norm(dim=0, keepdim=True).transpose(0, 1),
        (3,),
        (1, 1, SQRT3),
    ),
}


@pytest.mark.parametrize("name", sorted(_BY_HAND))
def test_bounds_by_hand(name: str, export: Any, bound: Any) -> None:
    function, shape, expected = _BY_HAND[name]
    program = export(function, shape)
    for norm, value in zip(NORMS, expected, strict=True):
        assert bound(program, norm) == pytest.approx(value, rel=1e-9), norm


_REFUSED: dict[str, Function] = {
    "squares_and_a_size": lambda x: torch.sqrt(x**2 + x.abs()),
    "a_size_and_squares": lambda x: torch.sqrt(x.abs() + x**2),
    "limits_below_that_are_data": lambda x: x.clamp(x.flip(1), None),
    "limits_above_that_are_data": lambda x: x.clamp(None, x.flip(1)),
    "signs_of_other_squares": lambda x: torch.sqrt(torch.sign(x**2) * x.flip(1) ** 2),
    "squares_times_their_steps": lambda x: torch.sqrt((x**2).round() * x**2),
    "sum_of_another_type": lambda x: x.sum(1, True, dtype=torch.float64),
    "size_of_another_type": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64),
    "softmax_of_another_type": lambda x: x.softmax(1, dtype=torch.float64),
    "log_softmax_of_another_type": lambda x: x.log_softmax(1, dtype=torch.float64),
    "root_of_another_power": lambda x: x.abs().pow(0.3).sqrt(),
    "root_of_squared_products": lambda x: ((x * x.tanh()) ** 2).sqrt(),
    "half_a_norm": lambda x: torch.linalg.vector_norm(x, 0.5, 1, True),
    "count_of_what_is_not_zero": lambda x: torch.linalg.vector_norm(x, 0, 1, True),
    "softplus_upside_down": lambda x: functional.softplus(x, beta=-1.0),
    "softplus_of_nothing": lambda x: functional.softplus(x, beta=0.0),
    "softplus_that_overflows": lambda x: functional.softplus(x, threshold=89.0),
    "softplus_that_overflows_soon": lambda x: functional.softplus(x, beta=10.0, threshold=1000.0),
    "softplus_that_never_starts": lambda x: functional.softplus(x, threshold=-1.0),
    "long_lines": lambda x: functional.interpolate(
        x[:, :, None].expand(-1, 3, 4096), scale_factor=0.5, mode="linear"
    ),
    "lines_that_become_long": lambda x: functional.interpolate(x[:, None], size=4096, mode="linear"),
    "squares_less_a_constant": lambda x: torch.sqrt(x**2 + torch.tensor([0.0, 1.0, -0.5])),
}


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_refused_by_hand(name: str, export: Any) -> None:
    with pytest.raises(NoGlobalConstant):
        prove(export(_REFUSED[name], (3,)), input_norm=L2, output_norm=L2)


_UNBATCHED: dict[str, Function] = {
    "bias_that_is_data": lambda x: functional.conv1d(x, torch.ones(3, 3, 1), x[:, 0]),
    "data_on_both_sides": lambda x: torch.addmm(torch.zeros(3, 3), x, x),
}


@pytest.mark.parametrize("name", sorted(_UNBATCHED))
def test_refused_by_hand_without_a_batch(name: str, export: Any) -> None:
    with pytest.raises(NoGlobalConstant):
        prove(export(_UNBATCHED[name], (3, 3), batch=False), input_norm=L2, output_norm=L2)


_AFFINE: dict[str, tuple[Function, tuple[int, ...]]] = {
    "matrix_and_image": (lambda x: torch.linspace(-1, 2, 6).reshape(2, 3) @ x, (3,)),
    "image_and_matrix": (lambda x: x @ torch.linspace(-1, 2, 6).reshape(3, 2), (3,)),
    "difference_of_products": (
        lambda x: x @ torch.linspace(-1, 2, 6).reshape(3, 2) + torch.neg(x @ torch.linspace(0, 1, 6).reshape(3, 2)),
        (2, 3),
    ),
    "scaled_product": (
        lambda x: torch.addmm(torch.ones(2), x, torch.linspace(-1, 2, 6).reshape(3, 2), alpha=0.1),
        (2, 3),
    ),
    "like_another": (lambda x: x[:1].expand_as(torch.zeros(2, 3)), (2, 3)),
    "padded_line": (lambda x: functional.pad(x, (1, 2)), (4,)),
    "wrapped_channels": (lambda x: functional.pad(x.unsqueeze(0), (1, 2, 0, 0), mode="circular"), (2, 4)),
    "padded_channels": (lambda x: _mixed(functional.pad(x, (0, 0, 0, 0, 1, 1))), (2, 3, 3)),
    "padded_rows": (lambda x: _mixed(functional.pad(x, (0, 0, 2, 1))), (2, 3, 3)),
    "cut_rows": (lambda x: _mixed(functional.pad(x, (0, 0, -1, 1))), (2, 3, 3)),
    "folded": (lambda x: functional.fold(x, (3, 5), (2, 3), padding=1, stride=(1, 2)), (6, 12)),
    "folded_with_gaps": (lambda x: functional.fold(x, (4, 3), (2, 1), dilation=(2, 1), stride=1), (2, 6)),
}


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """Sum over the first side with factors of both signs."""
    factors = torch.linspace(-1, 2, x.shape[0]).reshape(-1, 1, 1)
    return (x * factors).sum(0)


@pytest.mark.parametrize("name", sorted(_AFFINE))
def test_affine_maps_of_an_image_without_a_batch(
    name: str, export: Any, bound: Any, matrix: Any, dense_norm: Any
) -> None:
    function, shape = _AFFINE[name]
    program = export(function, shape, batch=False)
    full = matrix(program)
    for norm in NORMS:
        truth, proved = dense_norm(full, norm), bound(program, norm)
        assert proved >= truth * (1 - 1e-13), norm
        if not name.startswith(("padded_", "cut_")):
            assert proved <= truth * (1 + 1e-6), norm


def _scaled(x: torch.Tensor) -> torch.Tensor:
    """Multiply by other factors in each entry but those of the batch."""
    return x * torch.linspace(-1, 2, x.shape[1]).reshape(-1, *(1,) * (x.dim() - 2))


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


_COMPOSED: dict[str, tuple[Function, tuple[int, ...]]] = {
    "two_normed_channels": (_seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 2), _norm2d(0.5, 3.0))), (2, 3, 3)),
    "two_convolutions": (
        _seeded(lambda: nn.Sequential(nn.Conv1d(2, 3, 2, 2, 1), nn.ConvTranspose1d(3, 2, 3, 2))),
        (2, 5),
    ),
    "same": (_seeded(lambda: nn.Conv1d(2, 2, 5, dilation=2, padding="same")), (2, 6)),
    "layer_of_rows": (_seeded(lambda: nn.Linear(4, 2)), (3, 4)),
    "stacked": (lambda x: _scaled(torch.stack([_scaled(x), x], 1)), (3, 2)),
    "valid": (_seeded(lambda: nn.Conv1d(2, 2, 2, padding="valid")), (2, 4)),
    "moved": (lambda x: _scaled(_scaled(x).movedim((1, 2), (3, 1))), (2, 3, 4)),
    "moved_along": (lambda x: _scaled(torch.moveaxis(_scaled(x), 3, 1)), (2, 3, 4)),
    "axes_swapped": (lambda x: _scaled(torch.swapaxes(_scaled(x), 1, -1)), (2, 3, 4)),
    "dims_swapped": (lambda x: _scaled(torch.swapdims(_scaled(x), 1, 2)), (2, 3, 4)),
    "permuted": (lambda x: _scaled(_scaled(x).permute(0, 2, 3, 1)), (2, 3, 4)),
    "turned": (lambda x: _scaled((_scaled(x).transpose(0, 1) * 2).transpose(0, 1)), (3, 2)),
    "matrices_turned": (lambda x: _scaled(_scaled(x).mT), (3, 2)),
    "flat_turned": (lambda x: _scaled((_scaled(x).t() * torch.tensor([1.0, 9, 2]).reshape(3, 1)).t()), (3,)),
    "padded_behind_the_batch": (lambda x: functional.pad(x, (1, 2)) * torch.linspace(-1, 2, 6), (3,)),
    "padded_beside_the_batch": (lambda x: functional.pad(x.transpose(0, 1), (0, 0, 1, 2)).transpose(0, 1), (3,)),
    "rows_padded": (lambda x: _scaled(functional.pad(_scaled(x), (0, 0, 1, 2))), (3, 4)),
    "wrapped_lines": (lambda x: functional.pad(_scaled(x), (1, 2), mode="circular"), (3, 4)),
    "linear_in_a_line": (lambda x: functional.interpolate(x, scale_factor=1.7, mode="linear"), (2, 5)),
    "linear_in_space": (
        lambda x: functional.interpolate(x, scale_factor=(1, 1.5, 2), mode="trilinear"),
        (1, 2, 3, 2),
    ),
    "linear_with_a_scale": (lambda x: torch.ops.aten.upsample_linear1d(x, [8], False, 1.7), (2, 5)),
    "linear_with_two_scales": (
        lambda x: torch.ops.aten.upsample_bilinear2d(x, [5, 7], False, 1.7, 2.4),
        (1, 3, 3),
    ),
    "linear_recomputed": (
        lambda x: functional.interpolate(x, scale_factor=1.7, mode="linear", recompute_scale_factor=True),
        (2, 5),
    ),
}


_LOOSE = {"two_convolutions", "padded_behind_the_batch", "rows_padded", "stacked"}


@pytest.mark.parametrize(
    ("name", "decomposed"),
    [*((n, False) for n in sorted(_COMPOSED)), *((n, True) for n in ("two_convolutions", "same"))],
)
def test_affine_maps_in_sequence(
    name: str, decomposed: bool, export: Any, bound: Any, matrix: Any, dense_norm: Any
) -> None:
    function, shape = _COMPOSED[name]
    program = export(function, shape)
    if decomposed:
        program = _decomposed(program)
    full = matrix(program)
    for norm in NORMS:
        truth, proved = dense_norm(full, norm), bound(program, norm)
        assert proved >= truth * (1 - 1e-13), norm
        if name not in _LOOSE:
            assert proved <= truth * (1 + (1e-6 if name.startswith("linear") else 1e-2)), norm


def _decomposed(program: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates a helper of its own
        return program.run_decompositions()


@pytest.mark.parametrize(
    ("activation", "tight"),
    [
        (nn.Tanh(), True),
        (nn.ELU(), True),
        (nn.ELU(0.0), True),
        (nn.ELU(2.0), False),
        (nn.ELU(-0.5), False),
        (nn.CELU(2.0), True),
        (nn.SELU(), False),
        (nn.LeakyReLU(0.0), True),
        (nn.LeakyReLU(-0.5), False),
        (nn.PReLU(init=1.0), True),
        (nn.Hardtanh(), True),
        (nn.ReLU6(), True),
        (nn.Sigmoid(), True),
        (nn.Hardsigmoid(), True),
        (nn.LogSigmoid(), True),
        (nn.Softplus(), True),
        (nn.Softshrink(), True),
        (nn.Threshold(0.5, 0.5), True),
        (nn.SiLU(), False),
        (nn.Mish(), False),
        (nn.Hardswish(), False),
    ],
    ids=str,
)
def test_which_activations_have_slopes_from_zero_to_one(activation: nn.Module, tight: bool, export: Any) -> None:
    """x - 2 W' s(W x) with W' W = 1 is 1-Lipschitz for slopes in [0, 1] alone."""
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(4, 4))[0]
    program = export(_Block(weight, activation), (4,))
    assert (prove(program, input_norm=L2, output_norm=L2).bound <= 1.00001) == tight


class _Block(nn.Module):
    def __init__(self, weight: torch.Tensor, activation: nn.Module) -> None:
        super().__init__()
        self.weight, self.activation = nn.Parameter(weight), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - 2 * self.activation(x @ self.weight.T) @ self.weight


def test_images_as_windows_may_not_be_folded() -> None:
    class Fold(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.fold(x.flatten(1).transpose(0, 1), (2, 2), 1)

    with pytest.raises(MixedBatch):
        prove(torch.export.export(Fold(), (torch.randn(4, 3, 2, 2),)), input_norm=L2, output_norm=L2)


@pytest.mark.parametrize(
    "repeat", [lambda x: x.repeat(2, 1), lambda x: x.repeat_interleave(2, 0)], ids=["whole", "one by one"]
)
def test_images_of_a_batch_may_not_be_repeated(repeat: Function, export: Any) -> None:
    with pytest.raises(MixedBatch):
        prove(export(repeat, (3,)), input_norm=L2, output_norm=L2)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("two_ordered_pairs", "MaxMin"),
        ("extremes_of_one_group", "MaxMin"),
        ("extremes_of_other_groups", "cat"),
        ("root_of_different_squares", "root of squares"),
        ("disjoint_parts", "cat"),
    ],
)
def test_a_derivation_names_the_rule(name: str, rule: str, export: Any) -> None:
    function, shape, _ = _BY_HAND[name]
    found = prove(export(function, shape), input_norm=L2, output_norm=L2)
    assert found.rows[-1].rule == rule


@pytest.mark.parametrize("taken", [slice(1, None), slice(None, 2), slice(None, None, 2)], ids=str)
def test_some_images_of_a_batch_may_not_be_taken(taken: slice) -> None:
    class Take(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x[taken]

    with pytest.raises(MixedBatch):
        prove(torch.export.export(Take(), (torch.randn(4, 3, 2, 2),)), input_norm=L2, output_norm=L2)


@pytest.mark.parametrize("side", [3, 5, 7, 49])
def test_averages_are_rounded_up_from_the_exact_number(side: int, export: Any, bound: Any) -> None:
    for function in (lambda x: functional.avg_pool1d(x, side), lambda x: functional.adaptive_avg_pool1d(x, 1)):
        program = export(function, (1, side))
        assert Fraction(bound(program, L1)) >= Fraction(1, side)
        assert Fraction(bound(program, LINF)) >= 1
        assert Fraction(bound(program, L2)) ** 2 >= Fraction(1, side)
    root = export(lambda x: torch.sqrt(functional.avg_pool1d(x**2, side)), (1, side))
    assert Fraction(bound(root, L1)) ** 2 >= Fraction(1, side)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.1, 0.3, 0.7])
def test_an_eps_that_may_be_rounded_to_the_type_of_the_data(eps: float, export: Any, bound: Any) -> None:
    program = export(_norm2d(eps, 0.0), (2, 2, 2))
    least = min(Fraction(eps), Fraction(float(torch.tensor(eps))))
    for norm in NORMS:
        assert Fraction(bound(program, norm)) ** 2 * least >= 4


_ROUNDED: dict[str, Function] = {
    "leaky_relu": lambda x: functional.leaky_relu(x, 1.1),
    "falling": lambda x: functional.leaky_relu(x, -1.1),
    "rrelu": lambda x: functional.rrelu(x, 1.1, 1.1),
    "elu": lambda x: functional.elu(x, 1.1),
    "scale_of_elu": lambda x: torch.ops.aten.elu(x, 1.0, 1.1, 1.0),
    "inner_scale_of_elu": lambda x: torch.ops.aten.elu(x, 1.0, 1.0, 1.1),
    "product_and_sum": lambda x: torch.addmm(torch.zeros(1), x, torch.tensor([[1.0], [0.0]]), alpha=1.1),
}


@pytest.mark.parametrize("name", sorted(_ROUNDED))
def test_a_number_that_may_be_rounded_to_the_type_of_the_data(name: str, export: Any, bound: Any) -> None:
    rounded = Fraction(float(torch.tensor(1.1)))
    assert rounded > Fraction(1.1)
    program = export(_ROUNDED[name], (2,))
    for norm in NORMS:
        assert rounded <= Fraction(bound(program, norm)) <= rounded * (1 + Fraction(1, 10**6))


@pytest.mark.parametrize("divisor", [3.0, 7.0, 49.0])
def test_a_quotient_is_rounded_up_from_the_exact_number(divisor: float, export: Any, bound: Any) -> None:
    for function in (lambda x: x / divisor, lambda x: x / torch.tensor([divisor, 2 * divisor])):
        program = export(function, (2,))
        for norm in NORMS:
            assert Fraction(bound(program, norm)) >= 1 / Fraction(divisor)


def test_a_factor_without_a_side_to_vary_along(export: Any, bound: Any) -> None:
    program = export(lambda x: (x[:, 0] * 0.1).unsqueeze(1), (3,))
    for norm in NORMS:
        assert Fraction(bound(program, norm)) >= Fraction(float(torch.tensor(0.1)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(nn.AdaptiveMaxPool1d(3), SQRT2), (nn.MaxPool1d(2, 1), SQRT2)],
    ids=str,
)
def test_rules_of_decomposed_programs(layer: nn.Module, expected: float, export: Any, bound: Any) -> None:
    assert bound(_decomposed(export(layer, (3, 4))), L2) == pytest.approx(expected, rel=1e-9)


def test_statistics_of_the_batch_itself_are_refused(export: Any) -> None:
    program = export(
        lambda x: functional.batch_norm(x, torch.zeros(2), torch.ones(2), training=True, momentum=0.0), (2, 3)
    )
    with pytest.raises(UnsuitableProgram):
        prove(program, input_norm=L2, output_norm=L2)


def test_roots_of_squares_are_bounded_in_three_norms_only(export: Any) -> None:
    program = export(lambda x: torch.sqrt((x**2).sum(1, True)), (3,))
    with pytest.raises(NoGlobalConstant):
        prove(program, input_norm=Norm(Fraction(3)), output_norm=Norm(Fraction(3)))


def test_interpolation_is_bounded_with_its_rounding(export: Any) -> None:
    program = export(lambda x: functional.interpolate(x, size=7, mode="linear"), (1, 3))
    assert prove(program, input_norm=LINF, output_norm=LINF).bound >= 1 + ENTRY_ERROR


@pytest.mark.parametrize(
    ("source", "target"),
    [(torch.bfloat16, torch.float16), (torch.float16, torch.bfloat16), (torch.float64, torch.float32)],
    ids=str,
)
def test_a_cast_that_rounds_is_refused_even_if_nothing_follows(
    source: torch.dtype, target: torch.dtype, export: Any
) -> None:
    program = export(lambda x: x.to(target), (3,), dtype=source)
    with pytest.raises(NoGlobalConstant):
        prove(program, input_norm=L2, output_norm=L2)


def test_a_difference_of_two_linear_maps_is_one_of_its_own_sign(
    export: Any, bound: Any, matrix: Any, dense_norm: Any
) -> None:
    torch.manual_seed(0)
    one, two = torch.randn(4, 4), torch.randn(4, 4)
    program = export(lambda x: torch.rsub(x @ one, x @ two, alpha=2.0), (4,))
    full = matrix(program)
    for norm in NORMS:
        assert bound(program, norm) == pytest.approx(dense_norm(full, norm), rel=1e-6)


@pytest.mark.parametrize("branches", [(torch.tanh, torch.sin), (torch.neg, torch.neg)], ids=["bent", "linear"])
def test_a_factor_that_may_be_rounded_to_the_type_of_the_data(
    branches: tuple[Function, Function], export: Any
) -> None:
    one, two = branches
    program = export(lambda x: torch.add(one(x), two(x), alpha=0.1), (3,))
    rounded = Fraction(float(torch.tensor(0.1)))
    assert rounded > Fraction(0.1)
    for norm in NORMS:
        proved = Fraction(prove(program, input_norm=norm, output_norm=norm).bound)
        assert 1 + rounded <= proved < 1 + rounded + Fraction(1, 10**6)


def test_a_residual_block_behind_another_map_and_in_other_norms(export: Any, bound: Any) -> None:
    """x - 2 W' relu(W x) is 1-Lipschitz in l2 alone: with one unit active it is a reflection."""
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(5, 5))[0]

    def block(x: torch.Tensor) -> torch.Tensor:
        return x - 2 * torch.relu(x @ weight.T) @ weight

    def swapped(x: torch.Tensor) -> torch.Tensor:
        return torch.rsub(2 * torch.relu(x @ weight.T) @ weight, x)

    for function in (block, swapped):
        assert bound(export(lambda x, f=function: f((3 * x).tanh()), (5,)), L2) == pytest.approx(3.0, rel=1e-4)
        program = export(function, (5,))
        for norm in (L1, LINF):
            rows = (torch.eye(5) - 2 * torch.outer(w, w) for w in weight)
            steepest = max(float(row.abs().sum(0).max()) for row in rows)
            assert bound(program, norm) >= steepest > 1.1


def test_centring_between_the_norms_and_its_name(export: Any) -> None:
    program = export(lambda x: x - x.mean(-1, keepdim=True), (3,))
    for norm, value in ((Norm(Fraction(3, 2)), (4 / 3) ** (1 / 3)), (Norm(Fraction(3)), (4 / 3) ** (1 / 3))):
        found = prove(program, input_norm=norm, output_norm=norm)
        assert found.bound == pytest.approx(value, rel=1e-9)
        assert "centring" in [row.rule for row in found.rows]


def test_the_batch_moves_along_where_data_is_broadcast(export: Any) -> None:
    """After adding a constant of a higher rank the images are in dimension 1, where nothing may be summed."""
    with pytest.raises(MixedBatch):
        prove(export(lambda x: (x + torch.zeros(2, 1, 3)).sum(1, keepdim=True), (3,)), input_norm=L2, output_norm=L2)


def test_pooling_of_a_decomposed_program(export: Any, bound: Any) -> None:
    program = _decomposed(export(nn.AdaptiveAvgPool2d((2, 2)), (2, 4, 4)))
    assert any("_adaptive_avg_pool2d" in str(node.target) for node in program.graph.nodes)
    assert bound(program, LINF) == pytest.approx(1.0, rel=1e-6)
    assert bound(program, L2) == pytest.approx(0.5, rel=1e-6)
