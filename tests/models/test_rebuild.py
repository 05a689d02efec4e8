"""Programs rebuilt from checked parts are, node for node, what torch's own loader builds."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from robspec.function.program import GraphProgram, Size, declared
from robspec.models.errors import UnsafeArchive
from robspec.models.rebuild import rebuild
from robspec.models.sanitise import check_archive
from tests.models import archives
from tests.property import random_graphs


class Several(nn.Module):
    """Results in parts, sizes in arithmetic, shared weights, views of one storage, casts, integers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 1)
        self.third = nn.Conv2d(4, 4, 1)
        self.third.weight = self.second.weight
        self.table: Tensor
        whole = torch.arange(16.0).reshape(4, 4)
        self.register_buffer("table", whole.t()[1:3])
        self.register_buffer("order", torch.tensor([1, 0, 3, 2]))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """One sum of many kinds of node."""
        batch, _, height, width = input.shape
        a, b = self.first(input).to(memory_format=torch.channels_last).split(2, 1)
        c = torch.cat([b, a], 1)[:, self.order]
        pooled, _ = nn.functional.max_pool2d(c, 2, return_indices=True)
        up = nn.functional.interpolate(pooled, size=(height, width), mode="nearest")
        flat = self.third(self.second(up)).reshape(batch, 2, 2 * height * width)
        mixed = torch.einsum("ij,bjk->bik", self.table[:, :2], flat.double().float())
        mixed = mixed + torch.zeros(batch + 1, 1, 1)[:batch]
        lows, _ = torch.max(mixed, dim=2, keepdim=True)
        return (mixed + lows * 0.5).reshape(batch, 4, height, width) + torch.zeros((4, 1, 1), device="cpu")


def both(blob: bytes) -> tuple[GraphProgram, torch.export.ExportedProgram]:
    checked = check_archive(blob, "m")
    return rebuild(checked), torch.export.load(io.BytesIO(checked.written()))


def plain(value: Any) -> Any:
    """Nodes by name; sides of tensors as numbers, at a batch of 7 where they follow it."""
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return value


def numbers(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [numbers(part) for part in value]
    if isinstance(value, torch.SymInt):
        expression = value.node.expr
        return int(expression.subs(dict.fromkeys(expression.free_symbols, 7)))
    if isinstance(value, Size):
        return value.at(7)
    stated = declared(value)
    return value if stated is None else (stated.dtype, numbers(stated.shape))


def assert_equal(mine: GraphProgram, other: torch.export.ExportedProgram) -> None:
    ours, theirs = list(mine.graph.nodes), list(other.graph.nodes)
    assert [n.name for n in ours] == [n.name for n in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert (a.op, a.target, plain(a.args), plain(a.kwargs)) == (b.op, b.target, plain(b.args), plain(b.kwargs))
        assert list(a.kwargs) == list(b.kwargs)
        assert numbers(a.meta.get("val")) == numbers(b.meta.get("val")), a.name
        for key in ("nn_module_stack", "stack_trace", "torch_fn"):
            assert a.meta.get(key) == b.meta.get(key), (a.name, key)
    assert mine.graph_signature == other.graph_signature
    assert [mine.batch] == [(int(b.lower), int(b.upper)) for b in other.range_constraints.values()]
    for table, expected in ((mine.state_dict, other.state_dict), (mine.constants, other.constants)):
        assert list(table) == list(expected)
        for name, tensor in expected.items():
            found = table[name]
            assert (type(found), found.dtype, found.stride()) == (type(tensor), tensor.dtype, tensor.stride())
            assert torch.equal(found, tensor), name


def test_every_kind_of_node() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mine, other = both(archives.exported(Several().eval()))
    assert_equal(mine, other)
    weights = mine.state_dict
    assert weights["second.weight"].data_ptr() == weights["third.weight"].data_ptr()


@pytest.mark.parametrize("file", ["runway/strong", "detector/lipschitz"])
def test_shipped_models(file: str) -> None:
    blob = (archives.ROOT / "specs" / f"{file}.pt2").read_bytes()
    if file.startswith("detector"):
        from robspec.models.choice import Choice

        checked = check_archive(blob, "m", Choice(output="0"))
        assert_equal(rebuild(checked), torch.export.load(io.BytesIO(checked.written())))
    else:
        assert_equal(*both(blob))


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(seed: int) -> None:
    net = random_graphs.Drawn(seed).eval()
    program = random_graphs.export(net, torch.float32)
    if program is None:
        pytest.skip("torch does not export it")
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    try:
        mine, other = both(buffer.getvalue())
    except UnsafeArchive:
        pytest.skip("robspec does not read its sizes")
    assert_equal(mine, other)
