#!/usr/bin/env bash
# torch 2.13.0. Expected: take_along_dim, documented to broadcast its index, exports with a free batch size as gather does.
# Seen: it is refused, "your code specialized it to be a constant"; gather with the index written out is exported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import torch

warnings.simplefilter("ignore")


class Along(torch.nn.Module):
    def forward(self, x):
        return torch.take_along_dim(x, torch.zeros(1, 1, dtype=torch.int64), 1)


class Gather(torch.nn.Module):
    def forward(self, x):
        return x.gather(1, torch.zeros(x.shape[0], 1, dtype=torch.int64))


def outcome(module):
    batch = torch.export.Dim("batch", min=1, max=8)
    try:
        torch.export.export(module, (torch.ones(3, 2),), dynamic_shapes=({0: batch},))
    except Exception as error:
        return "specialized" if "specialized it to be a constant" in str(error) else type(error).__name__
    return "exported"


found = outcome(Along()), outcome(Gather())
print(f"torch {torch.__version__}: take_along_dim {found[0]}, gather {found[1]}")
assert found == ("specialized", "exported")
PYTHON
