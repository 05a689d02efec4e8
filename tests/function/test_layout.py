"""What is read off an exported program: its image, its weights by name, where each node came from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

from robspec.function import layout
from robspec.function.errors import NotFinite, UnsuitableProgram

SHAPE = (2, 3, 4, 4)
BATCH = Dim("batch", min=1, max=64)


class Net(nn.Module):
    """A weight, a buffer, a constant, two modules deep."""

    offset: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
        self.register_buffer("offset", torch.full((2, 1, 1), 0.5))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body(image) + self.offset * 2.0  # type: ignore[no-any-return]


def exported(network: nn.Module, example: torch.Tensor | None = None, *, free: bool = True) -> ExportedProgram:
    given = torch.zeros(SHAPE) if example is None else example
    return export(network.eval(), (given,), dynamic_shapes=({0: BATCH},) if free else None)


def test_a_network_is_read() -> None:
    network = Net()
    found = layout.read(exported(network))
    assert (found.shape, found.axis, found.batches, found.dtype) == ((1, 3, 4, 4), 0, (2, 3), torch.float32)
    assert found.image.op == "placeholder"
    assert found.image.name == "image"
    assert "add" in str(found.output.target)
    by_name = {owner: found.constants[name] for name, owner in found.owners.items()}
    assert set(by_name) == {"body.0.weight", "body.0.bias", "offset"}
    for name, tensor in by_name.items():
        stored = network.get_parameter(name) if "body" in name else network.offset
        assert isinstance(tensor, torch.Tensor)
        assert torch.equal(tensor, stored)
        assert not tensor.requires_grad


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (torch.zeros(4, 3, 5, 6), ((1, 3, 5, 6), 0, (4, 4))),
        (torch.zeros(1, 3, 5, 6), ((1, 3, 5, 6), None, (1, 1))),
        (torch.zeros(3, 5, 6), ((3, 5, 6), None, (1, 1))),
        (torch.zeros(2, 3, 5, 6, dtype=torch.float64), ((1, 3, 5, 6), 0, (2, 2))),
        (torch.zeros(7), ((7,), None, (1, 1))),
    ],
)
def test_a_fixed_batch_is_its_own(example: torch.Tensor, expected: tuple[object, ...]) -> None:
    found = layout.read(exported(nn.ReLU(), example, free=False))
    assert (found.shape, found.axis, found.batches) == expected
    assert found.dtype == example.dtype


class Plain(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: torch.Tensor) -> object:
        return self.function(*given)


class Counts(nn.Module):
    """Changes a buffer as it runs."""

    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.add_(1)
        return image + self.seen


X = torch.zeros(2, 1, 2, 2)


@pytest.mark.parametrize(
    ("network", "examples", "said"),
    [
        (Plain(lambda x, y: x + y), (X, X), "exactly one image input"),
        (Plain(lambda x: (x, x + 1)), (X,), "returns 2 values"),
        (Plain(lambda x: (x + 1, 3)), (X,), "returns 2 values"),
        (Plain(lambda x: x + 1), (X.long(),), "the image input has element type torch.int64"),
        (Plain(lambda x: x + 1), (torch.tensor(1.0),), "not a tensor of known shape"),
    ],
)
def test_what_is_no_function_of_one_image(network: nn.Module, examples: tuple[torch.Tensor, ...], said: str) -> None:
    with pytest.raises(UnsuitableProgram) as raised:
        layout.read(export(network.eval(), examples))
    assert said in str(raised.value)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_state_that_changes() -> None:
    """Decomposed programs say so in their signature; others have operations in place, which are refused elsewhere."""
    program = export(Counts().eval(), (X,)).run_decompositions({})
    with pytest.raises(UnsuitableProgram) as raised:
        layout.read(program)
    assert "changes state (buffer_mutation seen)" in str(raised.value)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_only_the_batch_may_be_free(axis: int) -> None:
    program = export(nn.ReLU(), (torch.zeros(SHAPE),), dynamic_shapes=({axis: Dim("side", min=2, max=9)},))
    with pytest.raises(UnsuitableProgram) as raised:
        layout.read(program)
    assert f"dimension {axis} of the image is dynamic" in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number(value: float) -> None:
    network = Net()
    with torch.no_grad():
        network.get_parameter("body.0.bias")[1] = value
    with pytest.raises(NotFinite) as raised:
        layout.read(exported(network))
    assert raised.value.where == "body.0.bias"


def test_a_weight_that_is_missing() -> None:
    program = exported(Net())
    del program.state_dict["offset"]
    with pytest.raises(UnsuitableProgram) as raised:
        layout.read(program)
    assert raised.value.where == "offset"
    assert "does not hold this tensor" in str(raised.value)


def test_the_image_is_found_among_the_weights() -> None:
    assert layout.image_node(exported(Net())).name == "image"


def test_where_a_node_came_from() -> None:
    program = exported(Net())
    facts = layout.read(program)
    (convolution,) = [n for n in program.graph.nodes if "conv2d" in str(n.target)]
    assert layout.module_path(convolution, facts.owners) == "body.0"
    assert layout.module_path(facts.output, facts.owners) == ""
    line = layout.source_line(facts.output)
    assert "test_layout.py" in line
    assert ": return self.body(image) + self.offset * 2.0" in line
    said = layout.where(facts.output, facts)
    assert said.startswith("node add (aten.add.Tensor), module (top), ")
    # Without what the exporter records, the owner of a weight says it.
    convolution.meta.pop("nn_module_stack")
    assert layout.module_path(convolution, facts.owners) == "body.0"
    convolution.meta["stack_trace"] = ""
    assert layout.source_line(convolution) == "source line not recorded in the archive"


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ('File "/x/net.py", line 7, in forward\n  y = f(x) \n', "/x/net.py:7: y = f(x)"),
        ('File "/x/torch/nn/a.py", line 7, in forward\n  y = f(x)\n', "in torch's own code"),
        ('File "/a.py", line 1, in f\n  one\nFile "modules/conv.py", line 2, in g\n  two\n', "/a.py:1: one"),
        ('File "modules/mine.py", line 2, in g\n  two\n', "modules/mine.py:2: two"),
        ('File "C:\\\\torch\\\\x.py", line 2, in g\n  two\n', "in torch's own code"),
        ('File "/torch.py", line 2, in g\n  two\n', "/torch.py:2: two"),
        ("nothing", "source line not recorded in the archive"),
    ],
)
def test_lines_of_the_model_not_of_torch(trace: str, said: str) -> None:
    node = next(iter(exported(nn.ReLU()).graph.nodes))
    node.meta["stack_trace"] = trace
    assert layout.source_line(node) == said
