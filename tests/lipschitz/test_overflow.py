"""Numbers that leave their type's range inside a network: found wherever they may, and not where they cannot."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from robspec.function.errors import NotFinite
from robspec.lipschitz import overflow
from robspec.lipschitz.prove import prove
from robspec.recheck.inrange import afresh
from robspec.semantics.norm import L1, L2, LINF, Norm

HALF = torch.tensor([0.5], dtype=torch.float64)
Function = Callable[[torch.Tensor], torch.Tensor]
HIDDEN: dict[str, tuple[Function, str]] = {
    "factors": (lambda x: torch.clamp(x * 1e30 * 1e30 * 1e-60, max=2000.0), "mul_1"),
    "a root of squares": (lambda x: torch.sqrt((x * 1e20) ** 2 + 1) * 1e-20, "pow_1"),
    "a norm": (lambda x: torch.linalg.vector_norm(x * 1e20, dim=1, keepdim=True) * 1e-20, "linalg_vector_norm"),
    "a sum": (lambda x: torch.sigmoid((x * 1e37).sum((2, 3), keepdim=True) * 1e-37), "sum_1"),
    "two branches": (lambda x: torch.tanh((x * 2e38 + x.flip(3) * 2e38) * 1e-38), "mul"),
}
IN_RANGE: dict[str, Function] = {
    "factors": lambda x: torch.relu(x * 1e10) * 1e-10,
    "a root of squares": lambda x: torch.sqrt((x * 1e15) ** 2 + 1) * 1e-15,
    "a norm": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "a residual block": lambda x: x + torch.relu(x) + torch.cat([x[:, :1].tanh(), x[:, 1:]], 1),
    "a softmax": lambda x: torch.log_softmax(100 * x, 1),
    "the extremes": lambda x: torch.cat([torch.maximum(x[:, :1], x[:, 1:]), x.amax(1, True)], 1),
    "pooling": lambda x: nn.functional.adaptive_avg_pool2d(nn.functional.max_pool2d(x, 2), 1),
}


def found(program: Any, norm: Norm, *, wide: bool) -> str | None:
    return overflow.overflowing(program, prove(program, input_norm=norm, output_norm=norm), HALF, HALF, wide=wide)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_may_overflow_is_named(name: str, export: Any) -> None:
    function, node = HIDDEN[name]
    program = export(function, (2, 4, 4))
    assert found(program, L2, wide=False) == node
    assert found(program, L2, wide=True) is None


@pytest.mark.parametrize("name", IN_RANGE)
def test_what_stays_in_range_is_left_alone(name: str, export: Any) -> None:
    program = export(IN_RANGE[name], (2, 4, 4))
    for norm in (L1, L2, LINF):
        assert found(program, norm, wide=False) is None, norm


def test_the_middle_counts_and_not_only_how_far_images_are_from_it(export: Any) -> None:
    program = export(lambda x: torch.relu(x + 3e38) * 1e-38, (2, 4, 4))
    assert found(program, L2, wide=False) == "add"


def test_a_deep_network_is_bounded_by_its_proof_where_single_nodes_multiply(export: Any) -> None:
    """Forty orthogonal maps: 1 in l2; in the largest entry by 8 each time, 8^40 in all."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(40):
        layer = nn.Linear(64, 64, bias=False)
        nn.init.orthogonal_(layer.weight)
        layers += [layer, nn.ReLU()]
    program = export(nn.Sequential(*layers, nn.Unflatten(1, (64, 1, 1))), (1, 8, 8))
    assert found(program, L2, wide=False) is None


def test_the_answer_is_kept(export: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = export(HIDDEN["factors"][0], (2, 4, 4))
    proof = prove(program, input_norm=L2, output_norm=L2)
    first = [overflow.cached(program, proof, HALF, HALF, wide=w, directory=tmp_path) for w in (False, True)]
    monkeypatch.setattr(overflow, "overflowing", lambda *_, **__: pytest.fail("computed again"))
    assert [overflow.cached(program, proof, HALF, HALF, wide=w, directory=tmp_path) for w in (False, True)] == first
    assert first == ["mul_1", None]


@pytest.mark.parametrize("name", HIDDEN)
def test_no_certificate_is_confirmed_of_what_may_overflow(name: str, export: Any) -> None:
    """A check refuses such a model; whoever writes a certificate by hand must be refused as well."""
    model = SimpleNamespace(low=Fraction(0), high=Fraction(1), normalize=None, input_shape=(2, 4, 4))
    program = export(HIDDEN[name][0], (2, 4, 4))
    with pytest.raises(NotFinite, match=HIDDEN[name][1]):
        afresh(SimpleNamespace(model=model), wide=False)(program, L2, L2)
    assert afresh(SimpleNamespace(model=model), wide=True)(program, L2, L2).bound > 0
