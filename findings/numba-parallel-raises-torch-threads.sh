#!/usr/bin/env bash
# numba 0.68.1 with torch 2.13.0, CPU. Expected: how many threads numba's loops use is no matter of torch's.
# Seen: with numba's OpenMP layer the first parallel loop sets torch back to all threads: torch.set_num_threads(1), or
# OMP_NUM_THREADS=1, no longer holds after it, and the last bits of a forward pass may change in the middle of a run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 numba==0.68.1
NUMBA_NUM_THREADS=2 NUMBA_THREADING_LAYER=omp "$folder/env/bin/python" - <<'PYTHON'
import numba
import numpy as np
import torch
from numba import njit, prange


@njit(parallel=True)
def total(values):
    found = 0.0
    for i in prange(values.size):
        found += values[i]
    return found


torch.set_num_threads(1)
before = torch.get_num_threads()
total(np.ones(8))
after = torch.get_num_threads()
print(f"numba {numba.__version__}, torch {torch.__version__}: torch has {before} thread, then {after}")
assert (before, after) == (1, 2), (before, after)
PYTHON
