#!/usr/bin/env bash
# captum 0.9.0 on torch 2.13.0. Expected: integrated gradients of float64 images are right to float64's precision, as 32
# Gauss-Legendre points integrate a cubic exactly. Seen: they are of dtype float64 and right to float32's, as the weights of
# the points are rounded to float32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check captum==0.9.0 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import captum
import torch
from captum.attr import IntegratedGradients


def quartic(x):
    return (x**4).sum(dim=1)


x = torch.linspace(0.1, 1, 7, dtype=torch.float64)[None].requires_grad_()
found = IntegratedGradients(quartic).attribute(x, baselines=torch.zeros_like(x), n_steps=32)
error = float((found - x**4).abs().max().detach())
print(f"captum {captum.__version__}: {found.dtype}, largest error {error:.1e}; torch {torch.__version__}")
assert found.dtype == torch.float64
assert 1e-10 < error < 1e-7
PYTHON
