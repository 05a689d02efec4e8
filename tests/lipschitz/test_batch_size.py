"""What descends from the batch size may be a shape, and nothing else: followed through the graph, for every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx
from torch._dynamo.exc import UserError
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.function.errors import MixedBatch, UnsuitableProgram
from robspec.lipschitz import batch
from robspec.lipschitz.batch import Count, Opaque, Spread
from robspec.lipschitz.prove import prove
from robspec.lipschitz.replay import Replay
from robspec.semantics.norm import L1, L2, LINF

Function = Callable[[torch.Tensor], torch.Tensor]
SHAPE = (2, 4, 4)


def vanishing(b: int) -> int:
    """1 at every batch size that is traced or tried below, and another number beyond."""
    return 1 + (b - 1) * (b - 2) * (b - 3) * (b - 5)


def places(x: torch.Tensor) -> torch.Tensor:
    """0, 1, 2, ... along the batch."""
    return torch.arange(x.shape[0]).view(-1, 1, 1, 1)


NUMBERS: dict[str, Function] = {
    "factor": lambda x: x * x.shape[0],
    "agrees where it is traced": lambda x: x * (1 + (x.shape[0] - 2) * (x.shape[0] - 3)),
    "agrees at many sizes": lambda x: x * vanishing(x.shape[0]),
    "divisor": lambda x: x / x.shape[0],
    "addend": lambda x: x + x.shape[0],
    "scale of an addend": lambda x: torch.add(x, x, alpha=x.shape[0]),
    "limit": lambda x: torch.clamp(x, max=x.shape[0] * 0.1),
    "filling": lambda x: x * torch.full((1, 1, 1, 1), x.shape[0], dtype=x.dtype),
    "as a tensor": lambda x: x * torch.ones(x.shape[0]).sum(),
    "remainder": lambda x: x * (x.shape[0] % 7),
    "floor": lambda x: x * (x.shape[0] // 2),
    "power": lambda x: x * 2.0 ** x.shape[0],
    "entries": lambda x: x * (x.numel() - 32 * x.shape[0] + x.numel()),
    "leaky": lambda x: functional.leaky_relu(x, x.shape[0] * 0.5),
    "pad": lambda x: functional.pad(x, (0, x.shape[0]))[..., :4].sum(-1, keepdim=True),
    "repeat": lambda x: x.repeat(1, x.shape[0], 1, 1).sum(1, keepdim=True),
    "roll": lambda x: x.roll(x.shape[0], -1) + x,
    "index": lambda x: x.select(2, (x.shape[0] - 2) * 0 + x.shape[0] % 2) + 0.0 * x.sum(2),
    "slice": lambda x: x[:, :, : x.shape[0] % 3 + 1].sum(2),
    "mask": lambda x: torch.where(torch.arange(4) < x.shape[0], x, 3 * x),
    "choice": lambda x: torch.where(torch.full((1,), x.shape[0]) > 2, x, 3 * x),
    "interpolation": lambda x: functional.interpolate(x, size=(x.shape[0] * 0 + 4, 4)) * x.shape[0],
}
PLACES: dict[str, Function] = {
    "the first alone": lambda x: torch.where(places(x) == 0, x, 2 * x),
    "a ramp": lambda x: x * places(x),
    "even places": lambda x: x * (places(x) % 2),
    "running sum": lambda x: x * torch.ones(x.shape[0]).cumsum(0).view(-1, 1, 1, 1),
    "diagonal": lambda x: x * torch.eye(x.shape[0]).cumsum(0).sum(0).view(-1, 1, 1, 1),
    "triangle": lambda x: x * torch.ones(x.shape[0], x.shape[0]).tril().sum(1).view(-1, 1, 1, 1),
    "gathered": lambda x: x[torch.arange(x.shape[0])],
    "from behind": lambda x: x[torch.arange(x.shape[0] - 1, -1, -1)],
    "mean": lambda x: x - x.mean(0, keepdim=True),
    "flip": lambda x: x.flip(0),
    "first to all": lambda x: x + x[:1],
    "sorted": lambda x: x.sort(0)[0],
    "masked": lambda x: x.masked_fill(places(x) > 0, 0.0),
    "concatenated": lambda x: torch.cat([x, places(x).float().expand(-1, 1, 4, 4)], 1),
    "limits": lambda x: torch.maximum(x, places(x).float()),
}
SHAPES: dict[str, Function] = {
    "view": lambda x: x.view(x.shape[0], -1).view(x.shape[0], *SHAPE),
    "channels into the batch": lambda x: x.view(x.shape[0] * 2, 1, 4, 4).view(x.shape[0], *SHAPE),
    "flatten": lambda x: x.flatten(1).unflatten(1, SHAPE),
    "zeros beside": lambda x: torch.cat([x, torch.zeros(x.shape[0], 1, 4, 4)], 1),
    "coordinates beside": lambda x: torch.cat(
        [x, torch.linspace(-1, 1, 4).view(1, 1, 1, 4).expand(x.shape[0], 1, 4, 4)], 1
    ),
    "a repeated constant": lambda x: x * torch.tensor([[[[0.5]], [[0.25]]]]).repeat(x.shape[0], 1, 1, 1),
    "computed on": lambda x: x + (torch.ones(x.shape[0], 1, 1, 1) * 0.3 - 1).relu(),
    "like": lambda x: torch.cat([x, torch.zeros_like(x), torch.full_like(x, 0.1)], 1),
    "whole slice": lambda x: x[: x.shape[0]],
    "a quotient that cancels": lambda x: x * (3 * x.shape[0] // x.shape[0]) / 3,
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(x.shape[0], 2, 4, 4) + x,
    "stacked": lambda x: x + torch.stack([torch.zeros(x.shape[0], 4), torch.ones(x.shape[0], 4)], 1).unsqueeze(-1),
    "turned": lambda x: x * torch.ones(4, x.shape[0], 1, 1).transpose(0, 1)[:, :1],
}


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_but_a_shape(export: Any, name: str, norm: Any) -> None:
    """Where torch itself fixes the number when exporting, what is proved is the file's function, for all sizes."""
    try:
        program = export(NUMBERS[name], SHAPE)
    except UserError:
        pytest.skip("torch does not export it with a free batch")
    try:
        bound = prove(program, input_norm=norm, output_norm=norm).bound
    except (UnsuitableProgram, MixedBatch):
        return
    _check_every_size(program, bound, norm)


@pytest.mark.parametrize("name", PLACES)
def test_no_place_in_the_batch(export: Any, name: str) -> None:
    with pytest.raises((UnsuitableProgram, MixedBatch)):
        prove(export(PLACES[name], SHAPE), input_norm=L2, output_norm=L2)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_not_refused(export: Any, name: str) -> None:
    program = export(SHAPES[name], SHAPE)
    for norm in (L1, L2, LINF):
        _check_every_size(program, prove(program, input_norm=norm, output_norm=norm).bound, norm)


def _check_every_size(program: Any, bound: float, norm: Any) -> None:
    """Slopes at several batch sizes, of every image, alone and in company."""
    replay = Replay(program)
    order = float("inf") if norm.p is None else float(norm.p)
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 5, 7, 8):
        x = torch.randn(size, *SHAPE, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            together = replay(x.clone())
            alone = torch.cat([replay(image.unsqueeze(0).clone()) for image in x])
            assert torch.allclose(together, alone, rtol=1e-12, atol=1e-12)
            for _ in range(8):
                step = torch.randn(x.shape, generator=generator, dtype=torch.float64)
                moved = (replay(x + step) - together).flatten(1)
                length = torch.linalg.vector_norm(step.flatten(1), ord=order, dim=1)
                assert bool((torch.linalg.vector_norm(moved, ord=order, dim=1) <= bound * length * (1 + 1e-9)).all())


def test_constants_of_a_fixed_batch_treat_all_images_alike(export: Any) -> None:
    """A batch of fixed size can hide a place in a plain constant."""

    def program(factor: torch.Tensor) -> Any:
        sample = torch.rand(2, *SHAPE)
        return torch.export.export(_Times(factor), (sample,))

    prove(program(torch.full((2, 1, 1, 1), 3.0)), input_norm=L2, output_norm=L2)
    with pytest.raises(MixedBatch, match="differs between the images"):
        prove(program(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)), input_norm=L2, output_norm=L2)


class _Times(torch.nn.Module):
    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


ARITHMETIC: dict[str, tuple[Callable[[Any], Any], object]] = {
    "multiple": (lambda b: b * 6, Count(6)),
    "multiple of a multiple": (lambda b: 2 * (b * 3), Count(6)),
    "sum": (lambda b: b + b * 2, Count(3)),
    "difference": (lambda b: b * 3 - b, Count(2)),
    "nothing left": (lambda b: b - b, 0),
    "part": (lambda b: (b * 6) // 3, Count(2)),
    "quotient": (lambda b: (b * 6) // (b * 4), 1),
    "remainder": (lambda b: (b * 6) % 3, 0),
    "nought": (lambda b: b * 0, 0),
    "one less": (lambda b: b - 1, None),
    "one more": (lambda b: b + 1, None),
    "square": (lambda b: b * b, None),
    "half": (lambda b: b // 2, None),
    "odd or even": (lambda b: b % 2, None),
    "negative": (lambda b: b * -1, None),
    "compared": (lambda b: b > 2, None),
    "remainder of two": (lambda b: (b * 3) % (b * 2), None),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_exact_for_every_size(name: str) -> None:
    """A Count is the number times B, whatever B; the arithmetic is compared with integers at many sizes."""
    function, expected = ARITHMETIC[name]
    graph = fx.Graph()
    found: dict[fx.Node, object] = {graph.placeholder("b"): Count(1)}
    traced = fx.Tracer().trace(_Lambda(function))
    nodes: dict[fx.Node, object] = {}
    result: object = None
    for node in traced.nodes:
        if node.op == "placeholder":
            nodes[node] = Count(1)
        elif node.op == "call_function":
            nodes[node] = batch.follow(node, nodes.__getitem__)
        elif node.op == "output":
            result = nodes[node.args[0]] if isinstance(node.args[0], fx.Node) else node.args[0]
    assert found
    if expected is None:
        assert isinstance(result, Opaque)
        return
    assert result == expected
    for size in range(1, 30):
        assert batch.traced(result, size) == function(size)


class _Lambda(torch.nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, b: Any) -> Any:
        return self.function(b)


def test_a_spread_says_the_same_of_every_image() -> None:
    spread = Spread(torch.tensor([[1.0, 2.0]]), 0, 3)
    assert spread.at(2).shape == (6, 2)
    assert spread.from_right == 2
    assert torch.equal(spread.at(4), torch.tensor([[1.0, 2.0]]).expand(12, 2))


def test_the_refusal_names_node_and_reason(export: Any) -> None:
    with pytest.raises(RobspecError) as caught:
        prove(export(NUMBERS["agrees where it is traced"], SHAPE), input_norm=L2, output_norm=L2)
    assert "no plain multiple of the batch size" in caught.value.what
    assert "shapes" in caught.value.mend
