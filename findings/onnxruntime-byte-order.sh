#!/usr/bin/env bash
# onnxruntime 1.32.0. Expected: an input of dtype '>f4', as FITS, NetCDF and big-endian TIFF files give it, counts as the numbers
# it holds, as everywhere in numpy, or is refused, as float64 is. Seen: it is taken for float32 and its bytes are read as if they
# were little-endian: 1 becomes 4.6e-41. onnx 1.23.2 refuses the same array with an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

assert sys.byteorder == "little"
image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [image], [result])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

native = np.array([0.0, 1.0, 2.0, 255.0], np.float32)
swapped = native.astype(">f4")
assert (native == swapped).all() and native.dtype != swapped.dtype
seen = session.run(None, {"x": swapped})[0]
held = onnxruntime.OrtValue.ortvalue_from_numpy(swapped).numpy()
print(f"onnxruntime {onnxruntime.__version__}: of {native.tolist()} as {swapped.dtype.str} it makes {seen.tolist()}")
assert (session.run(None, {"x": native})[0] == native).all()
assert (seen == swapped.view("<f4")).all() and not (seen == native).all()
assert (held == swapped.view("<f4")).all()
try:
    session.run(None, {"x": native.astype(np.float64)})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
    pass
else:
    raise SystemExit("changed: float64 is taken for float32")
try:
    numpy_helper.from_array(swapped)
except ValueError:
    pass
else:
    raise SystemExit("changed: onnx takes the array")
PYTHON
