"""Every operator that is read computes what onnxruntime computes, in every operator set that changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

from robspec.models.onnx import operators
from robspec.models.onnx.errors import UnknownOnnxOperator
from robspec.models.onnx.network import Network
from robspec.models.onnx.reading import read

from .onnx_files import model, node, weights

ints = lambda *numbers: np.array(numbers, dtype=np.int64)  # noqa: E731
floats = lambda *numbers: np.array(numbers, dtype=np.float32)  # noqa: E731
ENTRYWISE = [
    "Abs", "Atan", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Floor", "HardSigmoid", "LeakyRelu", "Neg", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh",
    "ThresholdedRelu", "Identity", "Exp",
]  # fmt: skip
CASES: dict[str, tuple[list[Any], dict[str, np.ndarray], dict[str, Any]]] = {
    **{name: ([node(name, "x")], {}, {"opset": 11}) for name in ENTRYWISE},
    **{name: ([node(name, "x")], {}, {"opset": 18}) for name in ("HardSwish", "Mish", "Celu")},
    **{
        f"{name} of |x|": ([node("Abs", "x", to="a"), node(name, "a")], {}, {"opset": 13})
        for name in ("Sqrt", "Reciprocal", "Log")
    },
    "Gelu": ([node("Gelu", "x")], {}, {}),
    "Gelu tanh": ([node("Gelu", "x", approximate="tanh")], {}, {}),
    "HardSigmoid as hardswish has it": ([node("HardSigmoid", "x", alpha=1 / 6, beta=0.5)], {}, {"opset": 11}),
    "Shrink soft": ([node("Shrink", "x", lambd=0.3, bias=0.3)], {}, {}),
    "Shrink hard": ([node("Shrink", "x", lambd=0.3)], {}, {}),
    "PRelu per channel": ([node("PRelu", "x", "s")], {"s": weights(3, 1, 1)}, {}),
    "PRelu per column": ([node("PRelu", "x", "s")], {"s": weights(8)}, {}),
    "Clip": ([node("Clip", "x", "l", "h")], {"l": np.float32(-0.5), "h": np.float32(0.7)}, {"opset": 11}),
    "Clip from above": ([node("Clip", "x", "", "h")], {"h": np.float32(0.2)}, {}),
    "Add Sub Mul Div": (
        [
            node("Add", "x", "c", to="a"),
            node("Sub", "a", "x", to="b"),
            node("Mul", "b", "x", to="d"),
            node("Div", "d", "c"),
        ],
        {"c": weights(3, 1, 1)},
        {"opset": 11},
    ),
    "Pow": ([node("Pow", "x", "p")], {"p": floats(2.0)}, {}),
    "Max Min Sum Mean": (
        [
            node("Max", "x", "c", to="a"),
            node("Min", "a", "d", to="b"),
            node("Sum", "b", "x", "c", to="e"),
            node("Mean", "e", "x", "d"),
        ],
        {"c": weights(3, 1, 1), "d": weights(1, 1, 8)},
        {"opset": 11},
    ),
    "Where Greater": (
        [node("Greater", "x", "c", to="m"), node("Where", "m", "x", "d")],
        {"c": floats(0.1), "d": weights(8)},
        {"opset": 11},
    ),
    "truths": (
        [
            node("Less", "x", "c", to="l"),
            node("GreaterOrEqual", "x", "c", to="g"),
            node("LessOrEqual", "x", "d", to="e"),
            node("And", "l", "e", to="a"),
            node("Or", "a", "g", to="o"),
            node("Xor", "o", "l", to="n"),
            node("Not", "n", to="t"),
            node("Equal", "x", "c", to="q"),
            node("And", "t", "q", to="z"),
            node("Or", "z", "l", to="f"),
            node("Cast", "f", to="y"),
        ],
        {"c": floats(0.1), "d": weights(8)},
        {"opset": 13},
    ),
    "Conv": (
        [node("Conv", "x", "w", "b", pads=[1, 2, 1, 2], strides=[2, 1], dilations=[1, 2])],
        {"w": weights(4, 3, 3, 3), "b": weights(4)},
        {"opset": 11},
    ),
    "Conv uneven pads": ([node("Conv", "x", "w", pads=[0, 1, 2, 3])], {"w": weights(4, 3, 3, 3)}, {}),
    "Conv SAME_UPPER": (
        [node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 3])],
        {"w": weights(4, 3, 4, 4)},
        {},
    ),
    "Conv SAME_LOWER": (
        [node("Conv", "x", "w", auto_pad="SAME_LOWER", strides=[2, 3])],
        {"w": weights(4, 3, 4, 4)},
        {},
    ),
    "Conv VALID, groups": ([node("Conv", "x", "w", auto_pad="VALID", group=3)], {"w": weights(6, 1, 3, 3)}, {}),
    "ConvTranspose": (
        [node("ConvTranspose", "x", "w", "b", strides=[2, 2], pads=[1, 0, 1, 0], output_padding=[1, 1])],
        {"w": weights(3, 4, 3, 3), "b": weights(4)},
        {"opset": 11},
    ),
    "ConvTranspose uneven pads": (
        [node("ConvTranspose", "x", "w", strides=[2, 2], pads=[0, 1, 1, 0])],
        {"w": weights(3, 4, 3, 3)},
        {},
    ),
    "ConvTranspose SAME_UPPER": (
        [node("ConvTranspose", "x", "w", strides=[2, 2], auto_pad="SAME_UPPER")],
        {"w": weights(3, 4, 3, 3)},
        {},
    ),
    "ConvTranspose output_shape": (
        [node("ConvTranspose", "x", "w", strides=[2, 2], output_shape=[16, 16])],
        {"w": weights(3, 4, 3, 3)},
        {},
    ),
    "MaxPool": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}, {"opset": 11}),
    "MaxPool uneven": ([node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 1])], {}, {}),
    "MaxPool ceil": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, {}),
    "AveragePool": (
        [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
        {},
        {"opset": 11},
    ),
    "AveragePool counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[0, 1, 1, 1], count_include_pad=1)],
        {},
        {"opset": 19},
    ),
    "GlobalAveragePool": ([node("GlobalAveragePool", "x")], {}, {}),
    "GlobalMaxPool": ([node("GlobalMaxPool", "x")], {}, {}),
    "Flatten Gemm": (
        [node("Flatten", "x", to="f"), node("Gemm", "f", "w", "b", transB=1)],
        {"w": weights(5, 192), "b": weights(5)},
        {"opset": 11},
    ),
    "Gemm scaled": (
        [node("Flatten", "x", to="f"), node("Gemm", "f", "w", "b", alpha=0.5, beta=2.0)],
        {"w": weights(192, 5), "b": weights(1, 5)},
        {},
    ),
    "MatMul": ([node("MatMul", "x", "w")], {"w": weights(8, 5)}, {}),
    "Einsum": ([node("Einsum", "x", "w", equation="bchw,cd->bdhw")], {"w": weights(3, 5)}, {}),
    "BatchNormalization": (
        [node("BatchNormalization", "x", "s", "b", "m", "v")],
        {"s": weights(3), "b": weights(3), "m": weights(3), "v": abs(weights(3))},
        {"opset": 11},
    ),
    "InstanceNormalization": ([node("InstanceNormalization", "x", "s", "b")], {"s": weights(3), "b": weights(3)}, {}),
    "LayerNormalization": ([node("LayerNormalization", "x", "s", "b")], {"s": weights(8), "b": weights(8)}, {}),
    "GroupNormalization": (
        [node("GroupNormalization", "x", "s", "b", num_groups=3)],
        {"s": weights(3), "b": weights(3)},
        {"opset": 21},
    ),
    "LpNormalization": ([node("LpNormalization", "x", axis=1, p=2)], {}, {}),
    "Softmax of old": ([node("Softmax", "x", axis=2)], {}, {"opset": 11}),
    "Softmax": ([node("Softmax", "x", axis=1)], {}, {"opset": 13}),
    "LogSoftmax": ([node("LogSoftmax", "x", axis=1)], {}, {}),
    "ReduceMean of old": ([node("ReduceMean", "x", axes=[2, 3])], {}, {"opset": 11}),
    "ReduceMean": ([node("ReduceMean", "x", "a", keepdims=0)], {"a": ints(-1, 2)}, {"opset": 18}),
    "ReduceSum": ([node("ReduceSum", "x", "a")], {"a": ints(1)}, {"opset": 13}),
    **{
        name: ([node(name, "x", axes=[1])], {}, {"opset": 11})
        for name in (
            "ReduceL1",
            "ReduceL2",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceSumSquare",
            "ReduceLogSumExp",
        )
    },
    "ArgMax": ([node("ArgMax", "x", to="i", axis=1), node("Cast", "i")], {}, {}),
    "ArgMin": ([node("ArgMin", "x", to="i", axis=1, keepdims=0), node("Cast", "i")], {}, {}),
    "Concat": ([node("Concat", "x", "x", axis=1)], {}, {}),
    "Split of old": (
        [node("Split", "x", to=("a", "b"), axis=1, split=[1, 2]), node("Add", "a", "b")],
        {},
        {"opset": 11},
    ),
    "Split": (
        [node("Split", "x", "s", to=("a", "b"), axis=1), node("Add", "a", "b")],
        {"s": ints(1, 2)},
        {"opset": 13},
    ),
    "Split num_outputs": (
        [node("Split", "x", to=("a", "b", "c"), axis=3, num_outputs=3), node("Concat", "c", "a", axis=3)],
        {},
        {"opset": 18},
    ),
    "Slice": (
        [node("Slice", "x", "s", "e", "a", "t")],
        {"s": ints(1, -1), "e": ints(2**62, -9), "a": ints(2, 3), "t": ints(2, -3)},
        {},
    ),
    "Gather": ([node("Gather", "x", "i", axis=1)], {"i": ints(2, 0, -1)}, {}),
    "Gather a plane": ([node("Gather", "x", "i", axis=1)], {"i": np.int64(-2)}, {}),
    "Gather in two dimensions": ([node("Gather", "x", "i", axis=2)], {"i": ints(2, 0, 1, 1).reshape(2, 2)}, {}),
    "Squeeze Unsqueeze of old": (
        [
            node("Slice", "x", "z", "o", "o", to="s"),
            node("Squeeze", "s", to="q", axes=[1]),
            node("Unsqueeze", "q", axes=[1, 4]),
        ],
        {"z": ints(0), "o": ints(1)},
        {"opset": 11},
    ),
    "Squeeze Unsqueeze": (
        [node("Slice", "x", "z", "o", "o", to="s"), node("Squeeze", "s", "o", to="q"), node("Unsqueeze", "q", "n")],
        {"z": ints(0), "o": ints(1), "n": ints(-1)},
        {"opset": 13},
    ),
    "Transpose": ([node("Transpose", "x", perm=[0, 2, 3, 1])], {}, {}),
    "Reshape": ([node("Reshape", "x", "s")], {"s": ints(0, -1, 4, 2)}, {}),
    "Expand": (
        [node("Gather", "x", "i", to="g", axis=1), node("Expand", "g", "s")],
        {"i": ints(0), "s": ints(1, 4, 1, 1)},
        {},
    ),
    "Tile": ([node("Tile", "x", "n")], {"n": ints(1, 2, 1, 3)}, {}),
    **{
        f"Pad {mode}": ([node("Pad", "x", "p", mode=mode)], {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}, {"opset": opset})
        for mode, opset in (("constant", 11), ("reflect", 11), ("edge", 13), ("wrap", 19))
    },
    "Pad axes": (
        [node("Pad", "x", "p", "c", "a")],
        {"p": ints(1, 2, 0, 1), "c": np.float32(0.5), "a": ints(3, 1)},
        {"opset": 18},
    ),
    "DepthToSpace": (
        [node("Concat", "x", "x", "x", "x", to="c", axis=1), node("DepthToSpace", "c", blocksize=2)],
        {},
        {"opset": 11},
    ),
    "DepthToSpace CRD": (
        [node("Concat", "x", "x", "x", "x", to="c", axis=1), node("DepthToSpace", "c", blocksize=2, mode="CRD")],
        {},
        {},
    ),
    "SpaceToDepth": ([node("SpaceToDepth", "x", blocksize=2)], {}, {}),
    "OneHot": (
        [node("ArgMax", "x", to="i", axis=1, keepdims=0), node("OneHot", "i", "d", "v", axis=1)],
        {"d": np.int64(3), "v": floats(-1.0, 2.0)},
        {},
    ),
    "Dropout": ([node("Dropout", "x")], {}, {"opset": 11}),
    "sizes": (
        [
            node("Shape", "x", to="s"),
            node("Gather", "s", "i", to="b"),
            node("Unsqueeze", "b", "z", to="u"),
            node("Mul", "u", "n", to="m"),
            node("Sub", "m", "u", to="q"),
            node("Concat", "q", "rest", to="c", axis=0),
            node("Reshape", "x", "c"),
        ],
        {"i": np.int64(0), "z": ints(0), "n": ints(2), "rest": ints(-1, 4)},
        {"opset": 13},
    ),
    "constants": (
        [
            node("Constant", to="k", value_floats=[1.0, 2.0]),
            node("Constant", to="n", value_ints=[1, 3, 1, 1]),
            node("ConstantOfShape", "n", to="z"),
            node("ReduceSum", "k", to="s", keepdims=0),
            node("Add", "z", "s", to="t"),
            node("Mul", "x", "t"),
        ],
        {},
        {"opset": 13},
    ),
}
for _nodes, _, _ in CASES.values():
    for _node in _nodes:
        if _node.op_type == "Cast":
            _node.attribute.append(helper.make_attribute("to", 1))
RESIZES = [
    ("nearest", "asymmetric", "floor", floats(1, 1, 2, 3), 11),
    ("nearest", "half_pixel", "round_prefer_floor", floats(1, 1, 0.5, 2), 13),
    ("nearest", "half_pixel", "round_prefer_ceil", floats(1, 1, 0.5, 1.5), 13),
    ("nearest", "align_corners", "ceil", floats(1, 1, 1.5, 2), 11),
    ("linear", "half_pixel", "", floats(1, 1, 2, 2), 11),
    ("linear", "half_pixel", "", floats(1, 1, 1.3, 0.6), 11),
    ("linear", "align_corners", "", ints(2, 3, 13, 5), 18),
    ("linear", "pytorch_half_pixel", "", ints(2, 3, 16, 5), 19),
    ("cubic", "half_pixel", "", floats(1, 1, 2, 2), 13),
]
WAYS = ("half_pixel", "align_corners")
SMOOTHED = [(mode, way, side) for mode in ("linear", "cubic") for way in WAYS for side in (8, 13)]


def both(case: Any, shape: tuple[int, ...] = (2, 3, 8, 8)) -> tuple[np.ndarray, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    images = 3.0 * weights(*shape, seed=5)
    content = case.SerializeToString()
    expected = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(
        None, {"x": images}
    )
    graph = read(content, Path("model.onnx")).graph.cut(None, "model.onnx")
    network = Network(graph, "x", "model.onnx", {})
    assert network.settle(shape) == expected[0].shape
    with torch.no_grad():
        found = network(torch.from_numpy(images))
    return found.numpy(), expected[0]


@pytest.mark.parametrize("name", CASES)
def test_computes_what_onnxruntime_does(name: str) -> None:
    nodes, stored, options = CASES[name]
    found, expected = both(model(nodes, stored, **options))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "way", "rounding", "amount", "opset"), RESIZES)
def test_resizes_as_onnxruntime_does(mode: str, way: str, rounding: str, amount: np.ndarray, opset: int) -> None:
    sized = amount.dtype == np.int64
    names = ("", "", "n") if sized else ("", "n") if opset > 11 else ("r", "n")
    stored = {"n": amount, **({} if opset > 11 else {"r": floats()})}
    options = {"nearest_mode": rounding} if rounding else {}
    case = node("Resize", "x", *names, mode=mode, coordinate_transformation_mode=way, **options)
    found, expected = both(model([case], stored, opset=opset))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "way", "side"), SMOOTHED)
def test_smoothing_is_read_where_it_does_nothing(mode: str, way: str, side: int) -> None:
    options = {"mode": mode, "coordinate_transformation_mode": way, "antialias": 1}
    found, expected = both(model([node("Resize", "x", "", "", "n", **options)], {"n": ints(2, 3, side, 9)}, opset=18))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sides", [(4, 8), (8, 5), (13, 7)])
def test_smoothing_while_shrinking_is_refused(mode: str, sides: tuple[int, int]) -> None:
    """Near the border ONNX weighs pixels otherwise than torch does, by up to a half of their values."""
    case = model([node("Resize", "x", "", "", "n", mode=mode, antialias=1)], {"n": ints(2, 3, *sides)}, opset=18)
    with pytest.raises(UnknownOnnxOperator, match="smooths while it shrinks") as refused:
        both(case)
    assert refused.value.code == "E0222"


def test_every_operator_that_is_read_has_a_case() -> None:
    tested = {n.op_type for nodes, _, _ in CASES.values() for n in nodes} | {"Resize", "Upsample"}
    assert set(operators.known()) - tested == {"Range", "Size", "Swish", "Squeeze"} - tested


@pytest.mark.parametrize(
    "case",
    [
        node("NonZero", "x"),
        node("FusedConv", "x", domain="com.microsoft"),
        node("RandomNormalLike", "x"),
        node("Dropout", "x", "", "training"),
        node("BatchNormalization", "x", *"abcd", to=("y", "m", "v"), training_mode=1),
        node("Resize", "x", "", "n", mode="linear", coordinate_transformation_mode="tf_crop_and_resize"),
        node("Relu", "x", surprise=3),
        node("MaxPool", "x", to=("y", "places"), kernel_shape=[2, 2]),
    ],
    ids=lambda n: n.op_type,
)
def test_refuses_what_it_cannot_read(case: Any) -> None:
    stored = {"training": np.array(True), "n": floats(1, 1, 2, 2), **{c: abs(weights(3)) for c in "abcd"}}
    graph = read(model([case], stored).SerializeToString(), Path("model.onnx")).graph.cut("y", "model.onnx")
    with pytest.raises(UnknownOnnxOperator) as refused:
        Network(graph, "x", "model.onnx", {}).settle((2, 3, 8, 8))
    assert case.op_type in refused.value.what
