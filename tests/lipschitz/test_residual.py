"""MATH.md 5: residual blocks "are bounded together": the matrix inequality holds for every activation
pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L2
from tests.examples import examples


class _Block(nn.Module):
    def __init__(
        self, inner: nn.Module, activation: nn.Module, back: nn.Module, skip: nn.Module, factor: float
    ) -> None:
        super().__init__()
        self.inner, self.activation, self.back, self.skip = inner, activation, back, skip
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) - self.factor * self.back(self.activation(self.inner(x)))


def _worst_pattern(inner: np.ndarray, back: np.ndarray, skip: np.ndarray, factor: float, seed: int) -> float:
    """The largest norm of A + B D C over random 0/1 (and fractional) slope patterns D: attained by slopes in
    [0, 1].
    """
    rng = np.random.default_rng(seed)
    worst = 0.0
    for kind in range(40):
        slopes = rng.random(inner.shape[0]) if kind % 2 else (rng.random(inner.shape[0]) < 0.5) * 1.0
        worst = max(
            worst, float(np.linalg.svd(skip - factor * back @ (slopes[:, None] * inner), compute_uv=False)[0])
        )
    return worst


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_blocks(data: st.DataObject, export: Any, matrix: Any) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    size, width, hidden = 4, 2, data.draw(st.integers(1, 4))
    mode = data.draw(st.sampled_from(["zeros", "circular"]))
    stride = data.draw(st.integers(1, 2))
    inner = nn.Conv2d(width, hidden, 3, padding=1, padding_mode=mode)
    back = nn.Conv2d(hidden, width, 3, padding=1, padding_mode=mode, stride=stride)
    skip = nn.Identity() if stride == 1 else nn.Conv2d(width, width, 1, stride=2, bias=False)
    factor = data.draw(st.sampled_from([1.0, -0.5, 2.0]))
    shape = (width, size, size)
    activation = data.draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.3), nn.Softplus()]))
    proved = prove(export(_Block(inner, activation, back, skip, factor), shape), input_norm=L2, output_norm=L2).bound
    parts = [matrix(export(part, s)) for part, s in ((inner, shape), (back, (hidden, size, size)), (skip, shape))]
    assert proved >= _worst_pattern(parts[0], parts[1], parts[2], factor, 0) * (1 - 1e-12)
    assert proved <= _triangle(parts, factor) * (1 + 1e-6) + 0.2


def _triangle(parts: list[np.ndarray], factor: float) -> float:
    tops = [float(np.linalg.svd(part, compute_uv=False)[0]) for part in parts]
    return tops[2] + abs(factor) * tops[0] * tops[1]


@pytest.mark.parametrize(
    ("activation", "tight"),
    [(nn.ReLU(), True), (nn.Tanh(), True), (nn.GELU(), False), (nn.PReLU(init=1.5), False)],
)
def test_only_slopes_in_zero_one_are_joined(activation: nn.Module, tight: bool, export: Any) -> None:
    """x - 2 W' D s(W x) with W' W <= 1 is 1-Lipschitz for slopes in [0, 1], and for nothing steeper."""
    torch.manual_seed(0)
    inner, back = nn.Linear(6, 6), nn.Linear(6, 6)
    nn.init.orthogonal_(inner.weight)
    back.weight.data = inner.weight.data.T.clone()
    program = export(_Block(inner, activation, back, nn.Identity(), 2.0), (6,))
    proved = prove(program, input_norm=L2, output_norm=L2).bound
    assert (proved <= 1.00001) == tight
    assert proved >= 1.0


def test_a_hidden_map_read_by_another_activation_is_not_joined(export: Any) -> None:
    """The skip branch passes an activation of its own: no block, only the triangle inequality."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 5)
    nn.init.orthogonal_(layer.weight)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(self.layer(x))
            return torch.tanh(x) - 2 * hidden @ self.layer.weight

    assert prove(export(Model(), (5,)), input_norm=L2, output_norm=L2).bound == pytest.approx(3.0, rel=1e-5)
