#!/usr/bin/env bash
# torchmetrics 1.9.0. Expected: Running over a metric that keeps its inputs (an exact AUROC) gives the same by update as by
# forward. Seen: by update it has no samples left; what it stored is the list that reset then clears.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import torch
import torchmetrics
from torchmetrics.classification import BinaryAUROC
from torchmetrics.wrappers import Running

warnings.simplefilter("ignore")
generator = torch.Generator().manual_seed(0)
batches = [(torch.rand(6, generator=generator), torch.tensor([0, 1, 0, 1, 1, 0])) for _ in range(4)]


def outcome(name):
    metric = Running(BinaryAUROC(), window=2)
    for scores, labels in batches:
        getattr(metric, name)(scores, labels)
    try:
        return round(float(metric.compute()), 4)
    except ValueError as error:
        return str(error)


plain = BinaryAUROC()
for scores, labels in batches[2:]:
    plain.update(scores, labels)
expected = round(float(plain.compute()), 4)
found = outcome("forward"), outcome("update")
print(f"torchmetrics {torchmetrics.__version__}: the last two batches give {expected}; forward {found[0]}, update: {found[1]}")
assert found == (expected, "No samples to concatenate")
PYTHON
