"""ONNX files as a whole: hostile ones are refused, the others become archives that compute the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper

from robspec.errors import MissingExtra, RobspecError
from robspec.models.choice import Choice, read_choice
from robspec.models.errors import ModelChoice
from robspec.models.inspect import Kind, recognise
from robspec.models.loading import load
from robspec.models.onnx import compare
from robspec.models.onnx.errors import (
    OnnxDiffers,
    OnnxInterface,
    UnknownOnnxOperator,
    UnsafeOnnx,
)
from robspec.models.onnx.network import Network
from robspec.models.onnx.reading import read
from tests.models.onnx_files import model, network, node, weights


def saved(case: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(case.SerializeToString())
    return path


def looked_at(case: Any, folder: Path, output: str | None = None) -> Any:
    """As far as an import goes before anything is exported."""
    path = saved(case, folder)
    graph = read(path.read_bytes(), path).graph.cut(output, str(path))
    return Network(graph, "x", str(path), {}).settle((2, 3, 8, 8))


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert recognise(network().SerializeToString(), "model.pt2") is Kind.ONNX


def test_an_import_computes_what_the_file_does(tmp_path: Path) -> None:
    path = saved(network(), tmp_path)
    found = load(path)
    assert (found.input_shape, found.output_shape, str(found.batch)) == ((3, 8, 8), (2, 8, 8), "1 to 64")
    images = compare.examples((3, 8, 8), torch.float32)
    graph = read(path.read_bytes(), path).graph.cut(None, "f")
    expected = compare.Runtime(graph, "f", "x", torch.float32).run(images, {}, 8)
    np.testing.assert_allclose(found.logits(images).numpy(), expected, atol=1e-5)
    (remark,) = found.remarks
    assert "on 8 images" in remark
    names = {str(n.meta["nn_module_stack"]) for n in found.program.graph.nodes if "nn_module_stack" in n.meta}
    assert any("first_Conv" in name for name in names)


def test_a_fixed_batch_is_freed_and_a_channel_fixed(tmp_path: Path) -> None:
    path = saved(network(shape=(1, 3, 8, 8)), tmp_path)
    found = load(path, input_shape=(2, 8, 8), choice=Choice(output="h", fixed=(("1", 0.25),)))
    assert (found.input_shape, found.output_shape, str(found.batch)) == ((2, 8, 8), (4, 8, 8), "1 to 64")
    images = torch.rand(3, 2, 8, 8)
    filled = torch.cat([images[:, :1], torch.full((3, 1, 8, 8), 0.25), images[:, 1:]], dim=1)
    direct = torch.nn.functional.conv2d(
        filled, torch.from_numpy(weights(4, 3, 3, 3)), torch.from_numpy(weights(4)), padding=1
    )
    torch.testing.assert_close(found.logits(images), direct)
    assert found.choice.described() == ("model output: h", "model input fixed: 1 = 0.25")


def test_a_batch_that_cannot_be_freed_stays_one(tmp_path: Path) -> None:
    shape = np.array([1, 192], dtype=np.int64)
    case = model(
        [node("Reshape", "x", "s", to="f"), node("MatMul", "f", "w")],
        {"s": shape, "w": weights(192, 4)},
        (1, 3, 8, 8),
    )
    found = load(saved(case, tmp_path))
    assert str(found.batch) == "1"
    assert found.logits(torch.rand(2, 3, 8, 8)).shape == (2, 4, 1, 1)


def test_free_sides_are_given(tmp_path: Path) -> None:
    path = saved(network(shape=("B", 3, "H", "W")), tmp_path)
    with pytest.raises(OnnxInterface, match="free sides, 3,H,W"):
        load(path)
    assert load(path, input_shape=(3, 5, 7)).output_shape == (2, 5, 7)


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (Choice(output="nowhere"), "no node of the graph computes 'nowhere'"),
        (Choice(image="z"), "no input 'z'"),
        (Choice(fixed=(("z", 0.0),)), "no input 'z' to fix"),
        (Choice(fixed=(("3", 0.0),)), "no channel 3"),
        (Choice(shape=(3, 9, 8)), "takes images of 3,8,8, not 3,9,8"),
        (Choice(shape=(2, 8, 8)), "takes images of 3,8,8, not 2,8,8"),
    ],
)
def test_a_choice_that_does_not_fit(choice: Choice, what: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxInterface) as refused:
        load(saved(network(), tmp_path), choice=choice)
    assert what in refused.value.what
    if choice.shape == (2, 8, 8):
        assert "--fix 2=0" in refused.value.mend


def test_what_is_no_map_of_logits_says_where_to_cut(tmp_path: Path) -> None:
    case = model(
        [node("Conv", "x", "w", to="logits"), node("ReduceSum", "logits", keepdims=0)], {"w": weights(2, 3, 1, 1)}
    )
    with pytest.raises(OnnxInterface) as refused:
        load(saved(case, tmp_path))
    assert "values near the end: logits" in refused.value.mend


def hostile() -> dict[str, tuple[Any, type[RobspecError], str]]:
    cycle = model([node("Add", "x", "b", to="a"), node("Relu", "a", to="b"), node("Relu", "b")], {})
    twice = model([node("Relu", "x"), node("Relu", "x")], {})
    huge = model([node("ConstantOfShape", "n", to="c"), node("Add", "x", "c")], {"n": np.array([1 << 40])})
    wide = model([node("Tile", "x", "n")], {"n": np.array([1, 1 << 20, 1 << 20, 1])})
    short = network()
    short.graph.initializer[0].dims[0] = 1 << 20
    endless = network()
    endless.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    negative = network()
    negative.graph.initializer[0].dims[:] = [-4, -3, 3, 3]
    half = network()
    half.graph.initializer[0].data_type = TensorProto.FLOAT16
    domain = model([node("Relu", "x", domain="evil.example")], {})
    domain.opset_import.append(helper.make_opsetid("evil.example", 1))
    old = network(opset=9)
    future = network(opset=900)
    loop = model([node("Loop", "x", body=helper.make_graph([], "body", [], []))], {})
    copy = network()
    copy.graph.initializer.append(copy.graph.initializer[0])
    return {
        "cycle": (cycle, UnsafeOnnx, "a cycle?"),
        "computed twice": (twice, UnsafeOnnx, "there is already"),
        "huge constant": (huge, UnsafeOnnx, "would hold 1099511627776"),
        "huge value": (wide, UnsafeOnnx, "a value would hold"),
        "short weight": (short, UnsafeOnnx, "holds 432 bytes"),
        "endless weight": (endless, UnsafeOnnx, "would hold"),
        "negative side": (negative, UnsafeOnnx, "has the shape"),
        "half": (half, UnsafeOnnx, "FLOAT16"),
        "unknown domain": (domain, UnknownOnnxOperator, "of the domain 'evil.example'"),
        "old": (old, UnknownOnnxOperator, "its operator set is 9"),
        "future": (future, UnknownOnnxOperator, "its operator set is 900"),
        "loop": (loop, UnknownOnnxOperator, "Loop"),
        "two of a name": (copy, UnsafeOnnx, "two weights"),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_files_are_refused(name: str, tmp_path: Path) -> None:
    case, kind, what = hostile()[name]
    with pytest.raises(kind) as refused:
        looked_at(case, tmp_path)
    assert what in refused.value.what


def test_what_is_cut_away_may_be_anything(tmp_path: Path) -> None:
    case = model([node("Relu", "x", to="h"), node("Evil", "h", domain="evil.example")], {})
    assert looked_at(case, tmp_path, "h") == (2, 3, 8, 8)


def test_garbage_is_refused(tmp_path: Path) -> None:
    for blob in (b"\x08\x08\x12" + b"\xff" * 40, network().SerializeToString()[:-20]):
        path = tmp_path / "model.onnx"
        path.write_bytes(blob)
        with pytest.raises(RobspecError):
            read(blob, path)


def outside(location: str, length: int | None = None) -> Any:
    case = network()
    stored = case.graph.initializer[0]
    content = stored.raw_data
    external_data_helper.set_external_data(
        stored, location, offset=0, length=len(content) if length is None else length
    )
    stored.ClearField("raw_data")
    return case


def test_weights_beside_the_model(tmp_path: Path) -> None:
    content = network().graph.initializer[0].raw_data
    (tmp_path / "model.onnx.data").write_bytes(content)
    assert looked_at(outside("model.onnx.data"), tmp_path) == (2, 2, 8, 8)
    path = saved(outside("model.onnx.data"), tmp_path)
    before = read(path.read_bytes(), path).sha256
    (tmp_path / "model.onnx.data").write_bytes(b"\0\0\0\0" + content[4:])
    assert read(path.read_bytes(), path).sha256 != before


@pytest.mark.parametrize(
    "location", ["../w", "/etc/hostname", "link", "folder/w", "missing", "", "a\\b", "sub/../../w"]
)
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    content = network().graph.initializer[0].raw_data
    (tmp_path / "w").write_bytes(content)
    inner = tmp_path / "inner"
    (inner / "sub").mkdir(parents=True)
    (inner / "link").symlink_to(tmp_path / "w")
    (inner / "folder").symlink_to(tmp_path)
    with pytest.raises(UnsafeOnnx):
        looked_at(outside(location), inner)


def test_weights_that_are_too_short_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"\0" * 400)
    with pytest.raises(UnsafeOnnx, match="does not hold"):
        looked_at(outside("w"), tmp_path)
    with pytest.raises(UnsafeOnnx, match="does not hold"):
        looked_at(outside("w", length=400), tmp_path)


def test_a_difference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = compare.Runtime.run
    monkeypatch.setattr(compare.Runtime, "run", lambda *a: true(*a) + np.float32(0.01))
    with pytest.raises(OnnxDiffers, match=r"differ from those of onnxruntime .* by 0\.01"):
        load(saved(network(), tmp_path))


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(network(), tmp_path)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra) as refused:
        load(path)
    assert "robspec[onnx]" in refused.value.mend


def test_choices_are_read() -> None:
    assert read_choice("h", "x=3,8,8", ["3=0", "z=-1.5e2"]) == Choice(
        "h", "x", (3, 8, 8), (("3", 0.0), ("z", -150.0))
    )
    assert read_choice(None, "3,8,8") == Choice(shape=(3, 8, 8))
    assert read_choice(None, "images") == Choice(image="images")
    for given, fixed in (("3,0,8", []), (None, ["3"]), (None, ["3=x"]), (None, ["3=0", "3=1"])):
        with pytest.raises(ModelChoice):
            read_choice(None, given, fixed)
