#!/usr/bin/env bash
# onnx 1.23.2. Expected: shape inference says what a runtime returns, for a padded MaxPool or AveragePool with ceil_mode.
# Seen: up to operator set 21 it says 3 x 3 where a last window would lie in the padding alone; onnxruntime 1.32.0 and
# ReferenceEvaluator return 2 x 2, as shape inference says from set 22 on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def both(node, x, opset):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * x.ndim)
    graph = helper.make_graph([node], "g", [image], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0], ReferenceEvaluator(model).run(None, {"x": x})[0]


x = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)
found = {}
for operator in ("MaxPool", "AveragePool"):
    options = {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    node = helper.make_node(operator, ["x"], ["y"], **options)
    for opset in (11, 21, 22):
        runtime, reference = both(node, x, opset)
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
        graph = helper.make_graph([node], "g", [image], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        dims = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
        found[operator, opset] = dims[2].dim_value, runtime.shape[2], reference.shape[2]
print(f"onnx {onnx.__version__}: sides inferred, of onnxruntime, of the reference: {found}")
for operator in ("MaxPool", "AveragePool"):
    assert found[operator, 11] == found[operator, 21] == (3, 2, 2)
    assert found[operator, 22] == (2, 2, 2)
PYTHON
