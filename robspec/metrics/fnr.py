"""False negative rate: the share of the pixels annotated as a class that are missed."""

from robspec.metrics._info import one_class

METRIC = one_class(
    "fnr",
    summary="the share of the pixels annotated as the class that are missed",
    formula="FN[k] / (TP[k] + FN[k])",
    source="1 - recall; MATH.md section 3.A",
    lower_is_better=True,
)
