"""A declared constant is a claim: proved, unknown, or refuted by a stored pair."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from robspec.errors import SoundnessAlarm
from robspec.lipschitz.measure import measure
from robspec.lipschitz.pair import ClaimStatus, decide_claim
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2

_STD = torch.tensor([0.25, 0.3, 0.26]).reshape(3, 1, 1)


class _TwiceNormalised(nn.Module):
    """PEERS.md 4: divides by std where it should multiply, so that the true constant is 1 / min(std)^2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.conv.weight.data = torch.eye(3).reshape(3, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv((x - 0.5) / _STD) / _STD


def test_a_normalisation_applied_twice_is_refuted(export: Any) -> None:
    program = export(_TwiceNormalised(), (3, 8, 8))
    proved = prove(program, input_norm=L2, output_norm=L2)
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=1.0)
    assert proved.bound == pytest.approx(16.0, rel=1e-6)
    assert pair.lower == pytest.approx(16.0, rel=1e-3)
    assert decide_claim(Fraction(1), proved, pair) is ClaimStatus.REFUTED
    assert decide_claim(Fraction(15), proved, pair) is ClaimStatus.REFUTED
    assert decide_claim(Fraction("16.0001"), proved, pair) is ClaimStatus.PROVED


def test_a_claim_between_the_bounds_is_unknown(export: Any) -> None:
    torch.manual_seed(0)
    program = export(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), (8,))
    proved = prove(program, input_norm=L2, output_norm=L2)
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.3)
    middle = (Fraction(pair.lower) + proved.value) / 2
    assert pair.lower < middle < proved.value
    assert decide_claim(middle, proved, pair) is ClaimStatus.UNKNOWN
    assert decide_claim(middle, proved, None) is ClaimStatus.UNKNOWN
    assert decide_claim(proved.value, proved, None) is ClaimStatus.PROVED
    below = proved.value - Fraction(1, 10**30)
    assert decide_claim(below, proved, None) is ClaimStatus.UNKNOWN


def test_one_is_never_provable_for_a_float32_orthogonal_layer(export: Any) -> None:
    """ "<= 1.0 is never provable for float32 weights": the proved number is above 1, by little."""
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    nn.init.orthogonal_(layer.weight)
    proved = prove(export(layer, (32,)), input_norm=L2, output_norm=L2)
    assert decide_claim(Fraction(1), proved, None) is ClaimStatus.UNKNOWN
    assert decide_claim(Fraction("1.00001"), proved, None) is ClaimStatus.PROVED


def test_a_pair_above_the_proved_bound_is_an_alarm(export: Any) -> None:
    program = export(nn.Linear(4, 4), (4,))
    proved = prove(program, input_norm=L2, output_norm=L2)
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.1)
    with pytest.raises(SoundnessAlarm):
        decide_claim(Fraction(1), replace(proved, bound=pair.lower * 0.99), pair)


def test_norms_must_agree(export: Any) -> None:
    program = export(nn.Linear(4, 4), (4,))
    proved = prove(program, input_norm=L2, output_norm=L2)
    pair = measure(program, input_norm=L1, output_norm=L1, seconds=0.1)
    with pytest.raises(ValueError, match="other norms"):
        decide_claim(Fraction(1), proved, pair)


def test_the_constant_is_read_from_the_weights_that_are_there(export: Any) -> None:
    """PEERS.md 5: the constant read before the weights were loaded; here new weights give a new constant."""
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.eye(3)
    assert prove(export(layer, (3,)), input_norm=L2, output_norm=L2).bound == 1.0
    layer.load_state_dict({"weight": 5 * torch.eye(3)})
    assert prove(export(layer, (3,)), input_norm=L2, output_norm=L2).bound == 5.0
