"""Tversky index: overlap with separate weights for false positives (a) and false negatives (b)."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "tversky",
    summary="overlap with the weights a for false positives and b for false negatives",
    formula="TP[k] / (TP[k] + a * FP[k] + b * FN[k])",
    source="Tversky 1977; Salehi, Erdogmus and Gholipour 2017; MATH.md section 3.C",
    arguments=("a", "b"),
)
