"""False positive rate: the share of the pixels annotated as something else that are predicted as a class."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "fpr",
    summary="the share of the pixels annotated as something else that are predicted as the class",
    formula="FP[k] / (FP[k] + TN[k])",
    source="1 - specificity; MATH.md section 3.A",
    undefined="images in which every annotated pixel belongs to the class",
    lower_is_better=True,
)
