#!/usr/bin/env bash
# onnx 1.23.2. Expected: ReferenceEvaluator sums LRN's squares over the channels c - 1 to c + 1, as its own specification says.
# Seen: only channel 0 is right; onnxruntime 1.32.0 agrees with the formula everywhere.
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


x = (3 * np.random.default_rng(0).normal(size=(1, 6, 2, 2))).astype(np.float32)
runtime, reference = both(helper.make_node("LRN", ["x"], ["y"], size=3, alpha=1.0, beta=0.75, bias=1.0), x, 13)
squares = x.astype(float) ** 2
near = np.stack([squares[:, max(0, c - 1) : c + 2].sum(1) for c in range(6)], axis=1)
formula = x / (1.0 + near / 3.0) ** 0.75
errors = np.abs(reference - formula).max(axis=(0, 2, 3))
print(f"onnx {onnx.__version__}: errors of the channels {errors.round(3)}; onnxruntime {np.abs(runtime - formula).max():.1g}")
assert np.abs(runtime - formula).max() < 1e-5
assert errors[0] < 1e-5 and errors[1:].min() > 1.0
PYTHON
