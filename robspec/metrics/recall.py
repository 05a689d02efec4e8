"""Recall: the share of the pixels annotated as a class that are found."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "recall",
    summary="the share of the pixels annotated as the class that are predicted as it",
    formula="TP[k] / (TP[k] + FN[k])",
    source="Yerushalmy 1947 (as sensitivity); MATH.md section 3.A",
    aliases=("sensitivity",),
)
