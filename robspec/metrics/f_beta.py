"""F-beta: the harmonic mean of precision and recall, recall counting beta squared times as much."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "f_beta",
    summary="harmonic mean of precision and recall, recall counting beta squared times as much",
    formula="(1 + beta * beta) * TP[k] / ((1 + beta * beta) * TP[k] + FP[k] + beta * beta * FN[k])",
    source="van Rijsbergen 1979; MATH.md section 3.C",
    arguments=("beta",),
)
