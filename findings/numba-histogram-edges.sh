#!/usr/bin/env bash
# numba 0.68.1, numpy 2.4.6. Expected: a compiled np.histogram counts as numpy's does, all but the last bin being half-open between
# the edges that it returns. Seen: for bins of equal width it multiplies and rounds down without looking at the edges, so that
# values on or next to one land in the wrong bin: with 10 bins a grey level of the 256 k / 255, with 7 an edge itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import numba
import numpy as np


@numba.njit
def compiled(values, bins):
    return np.histogram(values, bins, (0.0, 1.0))


def between(values, edges):
    """Numbers of values in [edge, next edge), the last bin closed."""
    last = len(edges) - 2
    return [int(np.sum((values >= edges[b]) & ((values < edges[b + 1]) | (b == last)))) for b in range(last + 1)]


grey = np.arange(256) / 255.0
for values, bins in ((grey, 10), (np.linspace(0.0, 1.0, 8), 7)):
    counts, edges = compiled(values, bins)
    expected, same = np.histogram(values, bins, (0.0, 1.0))
    assert (edges == same).all() and expected.tolist() == between(values, edges)
    print(f"numba {numba.__version__}, {bins} bins: {counts.tolist()}; numpy, and by the edges: {expected.tolist()}")
    assert counts.sum() == expected.sum() and counts.tolist() != expected.tolist(), "changed"
PYTHON
