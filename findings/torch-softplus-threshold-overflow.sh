#!/usr/bin/env bash
# torch 2.13.0, CPU, onnxruntime 1.32.0. Expected: a softplus whose threshold is raised, so that it is smooth further out,
# returns about x for large x, as the formula and its documentation have it ("for numerical stability ... reverts to the
# linear function"): the threshold guards against overflow, and 1e6 would only revert later.
# Seen: up to the threshold exp is taken as it is, which overflows in float32 from x = 88.8 on: the result is infinite. The
# same module exported to ONNX, whose Softplus has no threshold, returns x there: two functions of one module.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/env/bin/python" - "$folder/m.onnx" <<'PYTHON'
import sys
import warnings

import onnxruntime
import torch
from torch.nn import functional


class Late(torch.nn.Module):
    def forward(self, x):
        return functional.softplus(x, threshold=1e6)


x = torch.tensor([20.0, 88.0, 89.0, 100.0])
warnings.simplefilter("ignore")
torch.onnx.export(Late(), (x,), sys.argv[1], dynamo=False, opset_version=17)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
found = {
    "float32": Late()(x).tolist(),
    "float64": Late()(x.double()).tolist(),
    "threshold 20": functional.softplus(x).tolist(),
    "onnx": session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].tolist(),
}
print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}: {found}")
assert found["float32"][2:] == [float("inf")] * 2
assert all(abs(b - a) < 1e-5 for k in ("float64", "threshold 20", "onnx") for a, b in zip(x.tolist(), found[k]))
PYTHON
