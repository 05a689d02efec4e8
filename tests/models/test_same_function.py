"""What a file means to torch is what is read of it: sizes it was exported for, names in two tables, arguments."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.function.settle import lost_parameters, settle
from robspec.models.errors import InconsistentArchive, ModelInterface, UnsafeArchive
from robspec.models.loading import LoadedModel, load
from robspec.models.rebuild import rebuild
from robspec.models.sanitise import check_archive
from tests.models import archives

MODEL = "models/model.json"


class Tailed(nn.Module):
    """One convolution, and something after it."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


def exported(module: nn.Module) -> bytes:
    return archives.exported(module.eval(), shape=(2, 4, 4))


def read(tmp_path: Path, blob: bytes) -> LoadedModel:
    path = tmp_path / "model.pt2"
    path.write_bytes(blob)
    return load(path, input_shape=(2, 4, 4))


def by_torch(blob: bytes) -> nn.Module:
    return torch.export.load(io.BytesIO(blob)).module()


def with_argument(blob: bytes, operator: str, name: str, value: dict[str, Any], kind: int = 1) -> bytes:
    """Give one argument in another way."""

    def change(program: Any) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            if operator in node["target"]:
                node["inputs"] = [i for i in node["inputs"] if i["name"] != name]
                node["inputs"].append({"name": name, "arg": value, "kind": kind})

    return archives.changed(blob, MODEL, change)


@pytest.mark.parametrize(
    ("guard", "error"),
    [
        ("L['x'].size()[2] != L['x'].size()[3]", ModelInterface),
        ("(L['x'].size()[0] % 2) != 1", ModelInterface),
        ("not L['x'].size()[1] * 2 == 3 + 1", ModelInterface),
        ("L['x'].size()[2] == 4 and L['x'].size()[0] <= 64", None),
        ("L['x'].size()[0] // 1 - 1 >= 0 or L['x'].size()[3] < 0", None),
        ("L['x'].size()[0] > 1", ModelInterface),
        ("L['x'].stride()[1] == 16", UnsafeArchive),
        ("L['x'].size()[7] == 1", UnsafeArchive),
        ("__import__('os').system('true')", UnsafeArchive),
        ("L['x'].size()[2] // 0 == 1", UnsafeArchive),
        ("4", UnsafeArchive),
        ("1 <", UnsafeArchive),
        (f"2 == {'-' * 900}1", (ModelInterface, UnsafeArchive)),
    ],
)
def test_sizes_that_it_was_exported_for(
    guard: str, error: type[RobspecError] | tuple[type[RobspecError], ...] | None, tmp_path: Path
) -> None:
    blob = archives.changed(exported(Tailed(torch.relu)), MODEL, lambda p: p.update(guards_code=[guard]))
    if error is None:
        assert read(tmp_path, blob).batch.high == 64
        return
    with pytest.raises(error):
        read(tmp_path, blob)


def test_sizes_of_an_image_that_is_not_described(tmp_path: Path) -> None:
    def change(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        del graph["tensor_values"][graph["inputs"][-1]["as_tensor"]["name"]]
        program["guards_code"] = ["L['x'].size()[0] > 1"]

    with pytest.raises(RobspecError):
        read(tmp_path, archives.changed(exported(Tailed(torch.relu)), MODEL, change))


def test_a_model_that_asks_for_its_size(tmp_path: Path) -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return -self.first(x) if x.shape[2] == x.shape[3] else self.first(x)

    auto = torch.export.Dim.AUTO
    batch = {0: torch.export.Dim("b", min=1, max=64), 2: auto, 3: auto}
    stream = io.BytesIO()
    torch.export.save(
        torch.export.export(Asking().eval(), (torch.rand(2, 2, 4, 6),), dynamic_shapes=(batch,)), stream
    )
    with pytest.raises(ModelInterface, match="exported where"):
        read(tmp_path, stream.getvalue())


class Scaled(nn.Module):
    """Its folded constant would be kept under a name that a stored tensor has."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1)
        self.folded = nn.Module()
        stored = torch.eye(2).reshape(2, 2, 1, 1) * 0.01
        if how == "parameter":
            self.folded.folded_0_mul = nn.Parameter(stored)
        elif how == "constant":
            self.folded.folded_0_mul = stored
        else:
            self.folded.register_buffer("folded_0_mul", stored, persistent=how == "buffer")

    def forward(self, x: Tensor) -> Tensor:
        wide: Tensor = functional.conv2d(x, self.first.weight * 100)
        return functional.conv2d(wide, self.folded.folded_0_mul)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["parameter", "buffer", "passing", "constant"])
def test_a_folded_constant_takes_no_stored_name(how: str, tmp_path: Path) -> None:
    blob, images = exported(Scaled(how)), torch.rand(2, 2, 4, 4)
    assert torch.equal(read(tmp_path, blob).logits(images), by_torch(blob)(images))


def test_a_name_in_both_tables_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 2, 1)
            self.c = torch.eye(2).reshape(2, 2, 1, 1) * 100

        def forward(self, x: Tensor) -> Tensor:
            return self.first(functional.conv2d(x, self.c))

    def change(config: Any) -> None:
        config["config"]["c"] = json.loads(json.dumps(config["config"]["first.weight"])) | {"is_param": False}

    blob = archives.changed(exported(Constant()), "model_weights_config.json", change)
    images = torch.rand(2, 2, 4, 4)
    assert torch.equal(read(tmp_path, blob).logits(images), by_torch(blob)(images))


def enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(
    ("last", "operator", "name", "value"),
    [
        (enlarged, "upsample_bilinear2d", "align_corners", {"as_int": 1}),
        (lambda x: functional.avg_pool2d(x, 3, 1, 1), "avg_pool2d", "count_include_pad", {"as_int": 0}),
        (lambda x: x.to(torch.float64).to(torch.float32), ".to.dtype", "dtype", {"as_int": 6}),
        (lambda x: functional.rrelu(x), "rrelu", "generator", {"as_int": 1}),
        (lambda x: functional.rrelu(x), "rrelu", "generator", {"as_none": True}),
        (torch.relu, ".relu.", "other", {"as_int": 1}),
    ],
    ids=["flag", "flag of a pool", "type", "generator", "place", "unknown"],
)
def test_arguments_of_another_kind_are_refused(
    last: Callable[[Tensor], Tensor], operator: str, name: str, value: dict[str, Any], tmp_path: Path
) -> None:
    blob = exported(Tailed(last))
    read(tmp_path, blob)

    def without(program: Any) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            node["inputs"] = [i for i in node["inputs"] if i["name"] != "training"]

    with pytest.raises(InconsistentArchive, match="cannot be rebuilt"):
        read(tmp_path, with_argument(archives.changed(blob, MODEL, without), operator, name, value))


def test_infinity_is_a_number(tmp_path: Path) -> None:
    blob = exported(Tailed(lambda x: torch.clamp(x, min=-math.inf, max=0.7)))
    images = torch.rand(2, 2, 4, 4)
    assert torch.equal(read(tmp_path, blob).logits(images), by_torch(blob)(images))


def test_parameters_that_are_folded_are_named() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.scale = nn.Conv2d(2, 2, 1), nn.Parameter(torch.ones(2, 2, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return functional.conv2d(x, self.first.weight * self.scale, self.first.bias)

    program = rebuild(check_archive(exported(Product()), "m"))
    assert lost_parameters(settle(program)) == ("first.weight", "scale")
    assert lost_parameters(settle(rebuild(check_archive(exported(Tailed(torch.relu)), "m")))) == ()
