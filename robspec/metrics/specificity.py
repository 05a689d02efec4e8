"""Specificity: the share of the pixels annotated as something else that are not predicted as a class."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "specificity",
    summary="the share of the pixels annotated as something else that are not predicted as the class",
    formula="TN[k] / (FP[k] + TN[k])",
    source="Yerushalmy 1947; MATH.md section 3.A",
    undefined="images in which every annotated pixel belongs to the class",
)
