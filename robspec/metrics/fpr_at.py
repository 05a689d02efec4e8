"""False positive rate at a threshold: the share of normal images that score at least so much."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="fpr_at",
    summary="the share of normal images that score at least the threshold",
    formula="normal images with score >= threshold / normal images",
    lower_is_better=True,
    undefined="data sets without a normal or without an anomalous image",
    arguments=("threshold",),
    items="fpr_at",
    scores=True,
    source="Yerushalmy 1947 (as 1 - specificity); MATH.md section 3.H",
)
