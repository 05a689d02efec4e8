#!/usr/bin/env bash
# torch 2.13.0, CPU. Expected: computing shapes with tensors on the meta device, which hold no data, costs next to nothing.
# Seen: the first torch.relu of a meta tensor in a process imports torch._dynamo, some 400 modules; the first conv2d of one
# imports as many others, sympy among them. Together about as long as `import torch` itself, for one small tensor.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import sys
import time

import torch
from torch.nn import functional

image = torch.empty(1, 3, 8, 8, device="meta")
weight = torch.empty(2, 3, 3, 3, device="meta")
steps = {"conv2d": lambda: functional.conv2d(image, weight), "relu": lambda: torch.relu(image)}
seen = []
for name, step in steps.items():
    modules, began = len(sys.modules), time.process_time()
    step()
    seen.append(("sympy" in sys.modules, "torch._dynamo" in sys.modules))
    print(f"torch {torch.__version__}: {name}: {len(sys.modules) - modules} modules, {time.process_time() - began:.1f} s")
assert seen == [(True, False), (True, True)], seen
PYTHON
