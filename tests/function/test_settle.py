"""The settled program is the file's function, bit by bit, what does not depend on the image being folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn import functional

from robspec.function.errors import NotFinite, UnsuitableProgram
from robspec.function.nodes import operation
from robspec.function.running import Runner
from robspec.function.settle import folded, settle

CPU = torch.device("cpu")


def run(program: ExportedProgram, images: torch.Tensor, *, own: torch.dtype = torch.float32) -> torch.Tensor:
    """Run a program in the type of the images."""
    with torch.no_grad():
        return Runner(program, own, images.dtype, CPU).images_to_logits(images)


def operations(program: ExportedProgram) -> list[str]:
    """Names of all calls."""
    return [operation(node) for node in program.graph.nodes if node.op == "call_function"]


class Rounded(nn.Module):
    """Weights rounded inside the graph: w / step is 2.5 in float32, which rounds to 2, and above 2.5 in float64."""

    def __init__(self) -> None:
        super().__init__()
        for j in range(1, 200):
            step = torch.tensor(0.1 + j / 1000.0)
            weight = step * 2.5
            if weight / step == 2.5 and weight.double() / step.double() > 2.5:
                break
        self.weight = nn.Parameter(weight.reshape(1, 1, 1, 1).repeat(2, 2, 1, 1))
        self.register_buffer("step", step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, torch.round(self.weight / self.step) * self.step)


def scratch(x: torch.Tensor) -> torch.Tensor:
    """A constant that is overwritten after data has read it."""
    c = torch.zeros(2, 1, 1)
    y = x + c
    c.add_(1.0)
    return y * 2.0 + c


def filled(x: torch.Tensor) -> torch.Tensor:
    """A constant into which data is added in place."""
    return torch.ones(1, 2, 4, 4).expand(x.shape[0], -1, -1, -1).clone().add_(x)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "integers": lambda x: x * torch.tensor(16777219) + torch.tensor([[3], [16777217]]).unsqueeze(-1),
    "half": lambda x: x * torch.tensor(0.1, dtype=torch.float16) + torch.tensor(1.3, dtype=torch.bfloat16),
    "double scalar": lambda x: x * torch.tensor(0.1, dtype=torch.float64),
    "numbers": lambda x: torch.add(x, x, alpha=0.3) * 0.7 / 3 + 16777219,
    "booleans": lambda x: x * (torch.arange(4) > 1),
    "computed": lambda x: x * (torch.tensor([0.1, 0.7]).half().float().sum() / 3),
    "concatenation": lambda x: torch.cat([x, torch.full((1, 1, 1, 1), 16777219).expand(x.shape[0], 1, 4, 4)], 1),
    "like": lambda x: torch.cat([x, torch.full_like(x, 0.1)], 1),
    "clamped": lambda x: torch.clamp(x, 0.1, 0.7) ** 2,
    "limits": lambda x: torch.minimum(x, torch.tensor(0.3, dtype=torch.float64)),
    "chosen": lambda x: torch.where(torch.arange(4) < 2, x, torch.tensor(0.1, dtype=torch.float64)),
    "scratch": scratch,
    "filled": filled,
    "split": lambda x: x * torch.arange(4.0).split(2)[1].sum(),
    "channels last": lambda x: functional.conv2d(
        x, (torch.arange(36.0).view(2, 2, 3, 3) / 7).contiguous(memory_format=torch.channels_last)
    ),
    "slopes": lambda x: functional.leaky_relu(functional.elu(x - 0.5, alpha=1.1), 0.3),
    "normalised": lambda x: functional.batch_norm(
        x, torch.tensor([0.1, 0.2]), torch.tensor([0.3, 1e-8]), torch.tensor([2.0, 0.1]), torch.ones(2), eps=1e-3
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_settled_program_is_the_files_bit_by_bit(export: Any, name: str) -> None:
    program = export(FUNCTIONS[name])
    settled = settle(program)
    for size in (1, 2, 3, 5, 8):
        images = torch.rand(size, 2, 4, 4, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            expected = program.module()(images)
        for _ in range(2):
            assert torch.equal(run(settled, images), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_float64_the_same_constants_are_meant(export: Any, name: str) -> None:
    """Images of few bits make every product and sum exact in float64: what remains are the constants themselves."""
    program = export(FUNCTIONS[name])
    images = torch.randint(0, 3, (3, 2, 4, 4), generator=torch.Generator().manual_seed(1)).float()
    own, wide = run(program, images), run(program, images.double())
    scale = float(wide.abs().max())
    assert torch.allclose(own.double(), wide, rtol=1e-6, atol=1e-6 * scale)
    # A constant read in float64 would be off by 2^-25 of itself, where the arithmetic of float64 is off by 2^-50.
    settled = settle(program)
    constants = [t for t in settled.constants.values() if t.is_floating_point()]
    assert all(t.dtype in (torch.float32, torch.float16, torch.bfloat16) for t in constants)


def test_constants_are_folded_in_the_files_own_types(export: Any) -> None:
    net = Rounded().eval()
    program = export(net)
    settled = settle(program)
    assert operations(settled) == ["conv2d"]
    assert folded(settled) >= 3
    images = torch.rand(2, 2, 4, 4)
    with torch.no_grad():
        assert torch.equal(run(program, images), net(images))
        assert torch.allclose(run(program, images.double()), net(images).double(), rtol=1e-5)


def test_numbers_are_those_the_file_computes_with(export: Any) -> None:
    program = export(lambda x: x * 0.1)
    one = torch.ones(1, 2, 4, 4, dtype=torch.float64)
    assert torch.equal(run(program, one), torch.full_like(one, float(torch.tensor(0.1))))


def test_a_softplus_is_one_in_float64_too(export: Any) -> None:
    """Its switch at 20 is below the rounding of float32, and a jump of 2e-9 in float64."""
    program = export(lambda x: torch.nn.functional.softplus(x * 20, beta=0.5))
    ones = torch.full((1, 2, 4, 4), 2.0, dtype=torch.float64)
    below, above = (run(program, ones + by) for by in (0.0, 1e-13))
    assert float((above - below).abs().max()) <= 20 * 1e-12


def test_a_filling_in_the_shape_of_data_is_one_of_the_file(export: Any) -> None:
    program = export(lambda x: x + x.new_full((x.shape[0], 1, 1, 1), 0.1))
    zero = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    assert torch.equal(run(program, zero), torch.full_like(zero, float(torch.tensor(0.1))))


def test_settling_twice_changes_nothing(export: Any) -> None:
    settled = settle(export(scratch))
    assert settle(settled) is settled


def test_the_given_program_is_not_changed(export: Any) -> None:
    program = export(scratch)
    before = str(program.graph)
    settle(program)
    assert str(program.graph) == before


def test_a_name_that_python_uses_is_kept(export: Any) -> None:
    class Named(nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
            return input

    settled = settle(export(Named()))
    assert [node.name for node in settled.graph.nodes if node.op == "placeholder"] == ["input"]


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: x.mul_(2.0) + 0, "changes its input"),
        (lambda x: x * torch.rand(2, 1, 1), "drawn at random"),
        (lambda x: torch.ones(x.shape[0], 2, 4, 4), "does not depend on the image"),
    ],
)
def test_what_is_no_function_of_the_image_is_refused(export: Any, function: Any, what: str) -> None:
    with pytest.raises(UnsuitableProgram, match=what):
        settle(export(function))


def test_a_constant_that_is_read_while_data_overwrites_it(export: Any) -> None:
    def misread(x: torch.Tensor) -> torch.Tensor:
        c = torch.zeros(1, 2, 4, 4)
        c[:, :1].copy_(x[:, :1])
        return x + c

    with pytest.raises(UnsuitableProgram):
        settle(export(misread, images=1))


def test_weights_must_be_finite(export: Any) -> None:
    net = nn.Conv2d(2, 2, 1)
    nn.init.constant_(net.weight, float("nan"))
    with pytest.raises(NotFinite):
        settle(export(net))
