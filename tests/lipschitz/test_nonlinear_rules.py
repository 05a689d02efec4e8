"""Every non-linear rule: random pairs never exceed the bound, and where it is attained they come close."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.semantics.norm import L1, L2, LINF

NORMS = (L1, L2, LINF)

_ENTRYWISE: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "relu": (functional.relu, 1.0),
    "relu6": (functional.relu6, 1.0),
    "relu_in_place": (lambda x: functional.relu(x * 1.0, inplace=True), 1.0),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.2), 1.0),
    "leaky_relu_steep": (lambda x: functional.leaky_relu(x, -3.0), 3.0),
    "prelu": (nn.PReLU(3, init=-1.5), 1.5),
    "abs": (torch.abs, 1.0),
    "tanh": (torch.tanh, 1.0),
    "sigmoid": (torch.sigmoid, 0.25),
    "hardsigmoid": (functional.hardsigmoid, 1 / 6),
    "logsigmoid": (functional.logsigmoid, 1.0),
    "softplus": (functional.softplus, 1.0),
    "softplus_beta": (lambda x: functional.softplus(x, beta=3.0), 1.0),
    "elu": (functional.elu, 1.0),
    "elu_steep": (lambda x: functional.elu(x, alpha=2.5), 2.5),
    "celu": (lambda x: functional.celu(x, alpha=2.5), 1.0),
    "selu": (functional.selu, 1.7580993408473768),
    "gelu": (functional.gelu, 1.128905),
    "gelu_tanh": (lambda x: functional.gelu(x, approximate="tanh"), 1.128995),
    "silu": (functional.silu, 1.099840),
    "mish": (functional.mish, 1.0885),
    "hardswish": (functional.hardswish, 1.5),
    "hardtanh": (functional.hardtanh, 1.0),
    "clamp": (lambda x: x.clamp(-0.5, 0.25), 1.0),
    "clamp_min": (lambda x: x.clamp_min(0.1), 1.0),
    "softshrink": (functional.softshrink, 1.0),
    "threshold": (lambda x: functional.threshold(x, 0.3, 0.3), 1.0),
    "sine": (torch.sin, 1.0),
    "cosine": (torch.cos, 1.0),
    "atan": (torch.atan, 1.0),
    "erf": (torch.erf, 2 / math.sqrt(math.pi)),
    "soft_huber": (lambda x: 0.05 * (torch.sqrt(1 + (x / 0.05) ** 2) - 1), 1.0),
    "maximum_with_constant": (lambda x: torch.maximum(x, torch.tensor(0.2)), 1.0),
}


@pytest.mark.parametrize("name", sorted(_ENTRYWISE))
def test_entrywise_slopes(name: str, export: Any, bound: Any) -> None:
    """The bound is the largest slope: no finite difference over a fine grid exceeds it, and some come within
    0.1 %.
    """
    function, slope = _ENTRYWISE[name]
    program = export(function, (3, 1, 1))
    grid = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    replayed = _evaluate(program, grid)
    step = grid[1] - grid[0]
    steepest = float(((replayed[1:] - replayed[:-1]) / step).abs().max())
    for norm in NORMS:
        proved = bound(program, norm)
        assert proved >= steepest * (1 - 1e-9)
        assert proved == pytest.approx(slope, rel=1e-5)
    assert steepest == pytest.approx(slope, rel=1e-3)


def _evaluate(program: Any, grid: torch.Tensor) -> torch.Tensor:
    from robspec.lipschitz.replay import Replay

    images = grid.reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1).clone()
    with torch.no_grad():
        return Replay(program)(images)[:, 0, 0, 0]


_JOINT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda x: functional.softmax(x, 1),
    "log_softmax": lambda x: functional.log_softmax(x, 1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "max_pool": lambda x: functional.max_pool2d(x, 3, stride=1, padding=1),
    "max_pool_dilated": lambda x: functional.max_pool2d(x, 3, stride=2, dilation=2, padding=1),
    "max_pool_disjoint": lambda x: functional.max_pool2d(x, 2),
    "max_pool_ceil": lambda x: functional.max_pool2d(x, 3, stride=2, ceil_mode=True),
    "max_pool1d": lambda x: functional.max_pool1d(x[:, :, 0], 2, 1),
    "adaptive_max_pool": lambda x: functional.adaptive_max_pool2d(x, (4, 3)),
    "amax": lambda x: x.amax((2, 3)),
    "max_dim": lambda x: x.max(1).values,
    "sort": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2, 1).values,
    "group_sort": lambda x: x.reshape(-1, 2, 2, 6, 6).sort(2).values.reshape(x.shape),
    "group_sort_of_four": lambda x: x.reshape(-1, 1, 4, 6, 6).sort(2).values.reshape(x.shape),
    "maxmin_split": lambda x: torch.cat([torch.max(*x.split(2, 1)), torch.min(*x.split(2, 1))], 1),
    "maxmin_chunk": lambda x: torch.cat([torch.minimum(*x.chunk(2, 1)), torch.maximum(*x.chunk(2, 1))], 1),
    "maxmin_slices": lambda x: torch.stack(
        [torch.max(x[:, ::2], x[:, 1::2]), torch.min(x[:, ::2], x[:, 1::2])], 2
    ).flatten(1, 2),
    "maxmin_view": lambda x: torch.cat([x.reshape(-1, 2, 2, 6, 6).amax(2), x.reshape(-1, 2, 2, 6, 6).amin(2)], 1),
    "two_maxima_conspire": lambda x: torch.cat([torch.max(*x.split(2, 1)), torch.max(*x.split(2, 1))], 1),
    "max_of_shifted": lambda x: torch.cat([torch.max(x[:, :2], x[:, 1:3]), torch.min(x[:, :2], x[:, 1:3])], 1),
    "crelu": lambda x: torch.cat([functional.relu(x), functional.relu(-x)], 1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
    "vector_norm_one": lambda x: torch.linalg.vector_norm(x, ord=1, dim=1),
    "lp_pool": lambda x: functional.lp_pool2d(x, 2.0, 2),
    "lp_pool_overlapping": lambda x: functional.lp_pool2d(x, 2.0, 3, 1),
    "root_of_two_squares": lambda x: torch.sqrt(0.5 * x**2 + 0.5 * functional.relu(x) ** 2 + 1e-6),
    "root_of_a_sum": lambda x: torch.sqrt((x**2).sum(1) + 1e-6),
    "root_of_a_mean": lambda x: torch.sqrt((x * x.new_tensor(2.0)).pow(2).mean((2, 3)) + 1e-6),
    "choice_by_mask": lambda x: torch.where(torch.eye(6, dtype=torch.bool), functional.relu(x), -x),
    "disjoint_branches": lambda x: torch.cat([x[:, :2], 3 * torch.tanh(x[:, 2:])], 1),
    "shared_branches": lambda x: torch.cat([torch.tanh(x), torch.sin(x)], 1),
    "residual": lambda x: x + functional.relu(x.flip(1)),
}


@pytest.mark.parametrize("name", sorted(_JOINT))
def test_random_pairs_never_exceed_the_bound(name: str, export: Any, bound: Any, stretch: Any) -> None:
    program = export(_JOINT[name], (4, 6, 6))
    for norm in NORMS:
        assert stretch(program, norm, pairs=24) <= bound(program, norm) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", 0.5),
        ("maxmin_split", 1.0),
        ("maxmin_chunk", 1.0),
        ("maxmin_slices", 1.0),
        ("maxmin_view", 1.0),
        ("group_sort", 1.0),
        ("group_sort_of_four", 1.0),
        ("two_maxima_conspire", math.sqrt(2)),
        ("max_of_shifted", math.sqrt(2)),
        ("shared_branches", math.sqrt(2)),
        ("disjoint_branches", 3.0),
        ("max_pool", 3.0),
        ("max_pool_dilated", 3.0),
        ("max_pool_disjoint", 1.0),
        ("lp_pool", 1.0),
        ("vector_norm", 1.0),
        ("root_of_two_squares", 1.0),
    ],
)
def test_bounds_in_l2(name: str, expected: float, export: Any, bound: Any) -> None:
    assert bound(export(_JOINT[name], (4, 6, 6)), L2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("slope", ["exact", "tanh"])
def test_gelu_constants_are_above_the_supremum(slope: str) -> None:
    """The stored decimals exceed the true largest slope, located on a fine grid around the maximum."""
    from robspec.lipschitz.rules import gelu, mish, silu

    x = torch.linspace(0.5, 3.0, 2_000_001, dtype=torch.float64, requires_grad=True)
    approximate = "none" if slope == "exact" else "tanh"
    stored = gelu.EXACT if slope == "exact" else gelu.TANH
    top = torch.autograd.grad(functional.gelu(x, approximate=approximate).sum(), x)[0].max()
    assert stored - 1e-5 < float(top) < stored
    for function, gain in ((functional.silu, silu.GAIN), (functional.mish, mish.GAIN)):
        top = torch.autograd.grad(function(x).sum(), x)[0].max()
        assert gain - 1e-4 < float(top) < gain
