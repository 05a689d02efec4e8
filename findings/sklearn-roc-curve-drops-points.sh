#!/usr/bin/env bash
# scikit-learn 1.9.1. Expected: the false positive rate at 50 % true positives, read off `roc_curve` as the first point that
# reaches it, is that of the largest threshold that does. Seen: points in line with their neighbours are left out by default, so
# that where scores tie across classes the first point left may lie far to the right: 1 instead of 2/3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1
"$folder/env/bin/python" - <<'PYTHON'
import sklearn
from sklearn.metrics import roc_curve

truth, score = [1, 1, 1, 0, 0, 0], [3, 2, 1, 3, 2, 1]
found = {}
for drop in (True, False):
    false, true, _ = roc_curve(truth, score, drop_intermediate=drop)
    found[drop] = round(float(next(f for f, t in zip(false, true) if t >= 0.5)), 6)
print(f"scikit-learn {sklearn.__version__}: false positive rate at 50 % true positives, by drop_intermediate: {found}")
assert found == {True: 1.0, False: 0.666667}
PYTHON
