#!/usr/bin/env bash
# torchmetrics 1.9.0. Expected: after merging another metric, compute gives the merged value. Seen: where compute was called
# before, the cached value is returned; update would have cleared it, merge_state does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/env/bin/python" - <<'PYTHON'
import torchmetrics
from torchmetrics import SumMetric

first, second = SumMetric(), SumMetric()
first.update(1.0)
before = float(first.compute())
second.update(2.0)
first.merge_state(second)
after, state = float(first.compute()), float(first.sum_value)
print(f"torchmetrics {torchmetrics.__version__}: before {before}, after merging 2.0: compute {after}, state {state}")
assert (before, after, state) == (1.0, 1.0, 3.0)
PYTHON
