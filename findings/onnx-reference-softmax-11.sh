#!/usr/bin/env bash
# onnx 1.23.2. Expected: below operator set 13 Softmax takes all dimensions from the axis on as one: each image sums to 1.
# Seen: ReferenceEvaluator takes the axis alone, as from set 13 on, so each image sums to 4; onnxruntime 1.32.0 is right.
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


x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
sums = {}
for opset in (11, 13):
    runtime, reference = both(helper.make_node("Softmax", ["x"], ["y"], axis=1), x, opset)
    sums[opset] = [float(part.sum() / 2) for part in (runtime, reference)]
print(f"onnx {onnx.__version__}: sums of an image, onnxruntime and reference: {sums}")
assert np.allclose(sums[11], [1.0, 4.0])
assert np.allclose(sums[13], [4.0, 4.0])
PYTHON
