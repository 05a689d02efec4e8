#!/usr/bin/env bash
# torch 2.13.0. Expected: `x * x[-2:].shape[0]`, exported with a batch of 1 to 8, multiplies a single image by 1, as the
# module does, or the export is refused. Seen: the graph says `x * 2` for all batch sizes, and the range still begins at 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import torch

warnings.simplefilter("ignore")


class Tail(torch.nn.Module):
    def forward(self, x):
        return x * x[-2:].shape[0]


batch = torch.export.Dim("batch", min=1, max=8)
program = torch.export.export(Tail(), (torch.ones(3, 2),), dynamic_shapes=({0: batch},))
(bounds,) = program.range_constraints.values()
one = torch.ones(1, 2)
exported, module = float(program.module()(one)[0, 0]), float(Tail()(one)[0, 0])
print(f"torch {torch.__version__}: batch sizes {bounds.lower} to {bounds.upper}; one image: exported {exported}, module {module}")
assert (int(bounds.lower), exported, module) == (1, 2.0, 1.0)
PYTHON
