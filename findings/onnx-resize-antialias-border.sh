#!/usr/bin/env bash
# torch 2.13.0, onnxruntime 1.32.0. Expected: what torch exports as Resize with antialias=1 computes what torch computes.
# Seen: near the border onnxruntime repeats pixels where torch (and Pillow) leave out what is outside; cubic differs everywhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

x = np.random.default_rng(5).normal(size=(1, 1, 8, 8)).astype(np.float32)
for mode, kind, more in (("linear", "bilinear", {}), ("cubic", "bicubic", {"cubic_coeff_a": -0.5})):
    node = helper.make_node("Resize", ["x", "", "", "n"], ["y"], mode=mode, antialias=1, **more)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 8])
    sizes = numpy_helper.from_array(np.array([1, 1, 4, 8]), "n")
    graph = helper.make_graph([node], "g", [image], [result], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime = session.run(None, {"x": x})[0]
    theirs = torch.nn.functional.interpolate(torch.from_numpy(x), size=(4, 8), mode=kind, antialias=True).numpy()
    rows = np.abs(runtime - theirs).max(axis=(0, 1, 3))
    print(f"{mode}: largest difference by row {rows.round(4)}")
    assert rows.max() > 0.05
PYTHON
