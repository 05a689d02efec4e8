#!/usr/bin/env bash
# edt 3.1.2. Expected: the distances of a label image do not depend on the byte order in which numpy holds its labels, or a
# byte order that is not supported is refused. Seen: for big-endian labels of any type all distances are 0, without a warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check edt==3.1.2 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import edt
import numpy as np

assert sys.byteorder == "little"
labels = np.zeros((5, 7), int)
labels[:, 1:6] = 1
for kind in ("u2", "i2", "u4", "i4", "u8", "f4", "f8"):
    native, swapped = labels.astype(f"<{kind}"), labels.astype(f">{kind}")
    assert (native == swapped).all()
    expected, seen = edt.edt(native), edt.edt(swapped)
    assert expected[2].tolist() == [0, 1, 2, 3, 2, 1, 0], "changed: native labels"
    assert not seen.any(), f"changed: {swapped.dtype.str}"
print(f"edt {version('edt')}: middle row of native labels {expected[2].tolist()}, of big-endian ones {seen[2].tolist()}")
PYTHON
