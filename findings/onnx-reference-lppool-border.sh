#!/usr/bin/env bash
# onnx 1.23.2. Expected: with ceil_mode a window of LpPool that reaches over the border is the norm of what lies inside.
# Seen: ReferenceEvaluator makes it sqrt(2) and 2 times as large at side and corner; onnxruntime 1.32.0 does not.
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
node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], p=2, ceil_mode=1)
runtime, reference = both(node, x, 18)
windows = [[np.linalg.norm(x[0, 0, i : i + 2, j : j + 2]) for j in (0, 2, 4)] for i in (0, 2, 4)]
ratio = reference[0, 0] / np.array(windows)
print(f"onnx {onnx.__version__}: too large by {ratio.round(3).tolist()}")
assert np.allclose(runtime[0, 0], windows)
assert np.allclose(ratio[:2, :2], 1.0)
assert np.allclose(ratio[:2, 2], 2**0.5) and np.allclose(ratio[2, 2], 2.0)
PYTHON
