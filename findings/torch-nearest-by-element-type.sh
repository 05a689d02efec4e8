#!/usr/bin/env bash
# torch 2.13.0, CPU. Expected: nearest resampling takes pixel floor(i in / out), as documented, whatever the element type.
# Seen: from 45 to 129 pixels float32 takes the neighbour below where i in / out is whole (14 for 43 * 45 / 129 = 15);
# float64 takes the documented one. The same network picks other pixels in another element type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import torch
from torch.nn import functional


def off(side, outputs, dtype):
    """Outputs that take another pixel than floor(i in / out): where, which, and which was due."""
    pixels = torch.arange(side).to(dtype).reshape(1, 1, side)
    taken = functional.interpolate(pixels, size=outputs, mode="nearest").flatten().long().tolist()
    due = [i * side // outputs for i in range(outputs)]
    return [(i, a, b) for i, (a, b) in enumerate(zip(taken, due)) if a != b]


found = {str(d): off(45, 129, d) for d in (torch.float32, torch.float64)}
print(f"torch {torch.__version__}: {found}")
assert found == {"torch.float32": [(43, 14, 15), (86, 29, 30)], "torch.float64": []}
PYTHON
