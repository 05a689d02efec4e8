"""Whole random networks: the measured lower bound never exceeds the proved upper bound."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from robspec.lipschitz.measure import evaluate, measure
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF
from tests.examples import examples


class _Branches(nn.Module):
    """Two branches over one input, joined one of several ways."""

    def __init__(self, left: nn.Module, right: nn.Module, how: str) -> None:
        super().__init__()
        self.left, self.right, self.how = left, right, how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.left(x), self.right(x)
        if self.how == "add":
            return a + 0.5 * b
        if self.how == "sub":
            return torch.sub(a, b, alpha=2.0)
        if self.how == "cat":
            return torch.cat([a, b], 1)[:, ::2]
        return torch.maximum(a, b)


class _MaxMin(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([torch.max(a, b), torch.min(a, b)], 1)


@st.composite
def layers(draw: st.DrawFn, depth: int = 2) -> nn.Module:
    """Draw a layer that keeps four channels of 6 x 6."""
    kind = draw(st.integers(0, 9 if depth else 7))
    if kind in (0, 1):
        dilation = draw(st.integers(1, 2))
        mode = draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
        groups = draw(st.sampled_from([1, 2, 4]))
        return nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation, padding_mode=mode, groups=groups)
    if kind == 2:
        return draw(
            st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU(), nn.ELU(1.5), nn.Softmax(1), nn.LeakyReLU(-1.2)])
        )
    if kind == 3:
        return _MaxMin()
    if kind == 4:
        norm = nn.BatchNorm2d(4)
        norm.running_var.uniform_(0.05, 2.0)
        norm.weight.data.uniform_(-2, 2)
        return norm
    if kind == 5:
        return draw(st.sampled_from([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]))
    if kind == 6:
        return nn.Sequential(nn.Conv2d(4, 4, 2, stride=2), nn.ConvTranspose2d(4, 4, 2, stride=2))
    if kind == 7:
        return nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"))
    if kind == 8:
        how = draw(st.sampled_from(["add", "sub", "cat", "max"]))
        return _Branches(draw(layers(depth - 1)), draw(layers(depth - 1)), how)
    return nn.Sequential(draw(layers(depth - 1)), draw(layers(depth - 1)))


@settings(
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_measured_never_exceeds_proved(data: st.DataObject, export: Any) -> None:
    torch.manual_seed(data.draw(st.integers(0, 999)))
    body = [data.draw(layers()) for _ in range(data.draw(st.integers(1, 3)))]
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *body, nn.Flatten(), nn.Linear(144, 3))
    program = export(model, (3, 6, 6))
    for norm in (L2, LINF, L1):
        proved = prove(program, input_norm=norm, output_norm=norm)
        pair = measure(program, input_norm=norm, output_norm=norm, seconds=0.05, seed=1)
        assert pair.lower <= proved.bound


def test_a_linear_network_is_measured_and_proved_alike(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one linear map the power iteration finds the norm, and both bounds meet."""
    # A clock that counts how often it is asked, so that the search is as long on any machine.
    clock = itertools.count()
    monkeypatch.setattr("robspec.lipschitz.measure.time.perf_counter", lambda: next(clock) / 1000)
    torch.manual_seed(0)
    program = export(nn.Linear(12, 7), (12,))
    for norm in (L1, L2, LINF):
        proved = prove(program, input_norm=norm, output_norm=norm)
        pair = measure(program, input_norm=norm, output_norm=norm, seconds=1.0)
        assert pair.lower <= proved.bound <= pair.lower * (1 + 1e-4)


def test_the_stored_pair_gives_the_same_ratio_again(export: Any) -> None:
    torch.manual_seed(0)
    program = export(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh()), (1, 6, 6))
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.2)
    again = evaluate(program, pair.first, pair.second, input_norm=L2, output_norm=L2)
    assert pair.first.dtype == np.float32
    assert (again.ratio, again.lower) == (pair.ratio, pair.lower)
    assert pair.lower < pair.ratio


def test_norms_that_differ_pay_for_the_conversion(export: Any) -> None:
    """MATH.md 5: "l_inf to l_2 on 3x256x256: 443"; printed, and never smaller than what random pairs show."""
    program = export(nn.Flatten(), (3, 8, 8))
    found = prove(program, input_norm=LINF, output_norm=L2)
    assert found.bound == pytest.approx(192**0.5, rel=1e-12)
    assert "192^(1/2)" in found.conversion_text
    assert prove(program, input_norm=L2, output_norm=LINF).bound == 1.0
    assert prove(program, input_norm=L2, output_norm=L1).bound == pytest.approx(192**0.5, rel=1e-12)
    pair = measure(program, input_norm=LINF, output_norm=L2, seconds=0.2)
    assert pair.lower == pytest.approx(192**0.5, rel=1e-5)


def test_two_conspiring_branches(export: Any) -> None:
    """Branches with one input each of norm 1 reach sqrt 2 together; the bound may not be the larger of the
    two.
    """
    program = export(lambda x: torch.cat([functional.relu(x), functional.relu(x) + 1], 1), (3,))
    proved = prove(program, input_norm=L2, output_norm=L2).bound
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.5)
    assert pair.lower == pytest.approx(2**0.5, rel=1e-6)
    assert pair.lower <= proved <= 2**0.5 * (1 + 1e-12)


def test_a_jacobian_at_a_kink_is_only_a_hint(export: Any) -> None:
    """autograd gives 2 for clamp(x, min=0) + clamp(x, max=0) at 0, where the map is the identity."""
    program = export(lambda x: x.clamp(min=0) + x.clamp(max=0), (4,))
    pair = measure(program, input_norm=L2, output_norm=L2, images=[np.zeros(4)], input_range=(-1.0, 1.0), seconds=0.3)
    assert pair.lower <= 1.0
