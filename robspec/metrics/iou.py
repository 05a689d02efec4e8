"""Intersection over union of the pixels predicted and annotated as a class."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "iou",
    summary="intersection over union of the pixels predicted and annotated as the class",
    formula="TP[k] / (TP[k] + FP[k] + FN[k])",
    source="Jaccard 1901; MATH.md section 3.C",
)
