"""Dice coefficient, the harmonic mean of precision and recall."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "dice",
    summary="harmonic mean of precision and recall, also called F1",
    formula="2 * TP[k] / (2 * TP[k] + FP[k] + FN[k])",
    source="Dice 1945; MATH.md section 3.C",
)
