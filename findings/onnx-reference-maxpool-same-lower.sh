#!/usr/bin/env bash
# onnx 1.23.2. Expected: MaxPool with auto_pad SAME_LOWER makes ceil(5 / 2) = 3 rows of 5 by strides of 2, as its specification
# and shape inference say. Seen: ReferenceEvaluator makes 2, and of 6 rows takes the maxima of other windows; its SAME_UPPER and
# its AveragePool are right, as is onnxruntime 1.32.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import math

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator


def pooled(operator, side, where, kernel=3, stride=2):
    """What the runtime, the reference and the specification return for the numbers 0 to side^2 - 1."""
    x = np.arange(side * side, dtype=np.float32).reshape(1, 1, side, side)
    node = helper.make_node(operator, ["x"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, auto_pad=where)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph([node], "g", [image], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime, reference = session.run(None, {"x": x})[0], ReferenceEvaluator(model).run(None, {"x": x})[0]
    inferred = shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    rows = math.ceil(side / stride)
    assert runtime.shape[2:] == (rows, rows) and [d.dim_value for d in inferred][2:] == [rows, rows]
    padding = (rows - 1) * stride + kernel - side
    before = padding - padding // 2 if where == "SAME_LOWER" else padding // 2
    spans = [range(max(0, i * stride - before), min(side, i * stride - before + kernel)) for i in range(rows)]
    choose = np.max if operator == "MaxPool" else np.mean
    formula = np.array([[choose(x[0, 0][np.ix_(a, b)]) for b in spans] for a in spans])
    assert np.allclose(runtime[0, 0], formula)
    return runtime[0, 0], reference[0, 0]


for operator in ("MaxPool", "AveragePool"):
    for where in ("SAME_UPPER", "SAME_LOWER"):
        for side in (5, 6):
            runtime, reference = pooled(operator, side, where)
            same = runtime.shape == reference.shape and np.allclose(runtime, reference)
            if not same:
                print(f"onnx {onnx.__version__}, {operator}, {where}, side {side}: {reference.tolist()}, not {runtime.tolist()}")
            assert same == ((operator, where) != ("MaxPool", "SAME_LOWER")), f"changed: {operator} {where}"
            assert same or reference.shape == ((2, 2) if side == 5 else (3, 3))
PYTHON
