"""Precision: the share of the pixels predicted as a class that are annotated as it."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "precision",
    summary="the share of the pixels predicted as the class that are annotated as it",
    formula="TP[k] / (TP[k] + FP[k])",
    source="Kent et al. 1955; MATH.md section 3.C",
)
