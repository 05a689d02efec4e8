"""What every test here needs, made beforehand for `make mutants`: each change is tested in a process of its own."""

from __future__ import annotations

import os

from tests.bounds.language import metric

if os.environ.get("ROBSPEC_HYPOTHESIS") == "mutants":
    # Loads the grammar, sympy and numba.
    from robspec.kernels.knapsack import _classes  # noqa: F401

    metric("iou[c1]")
    metric("odd[c1]", 3, "metric odd(k) = TP[k] / (TP[k] + FN[k]) * (TN[k] + 1) / (FP[k] + TN[k] + 1)")
