"""True positive rate at a threshold: the share of anomalous images that score at least so much."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="tpr_at",
    summary="the share of anomalous images that score at least the threshold",
    formula="anomalous images with score >= threshold / anomalous images",
    lower_is_better=False,
    undefined="data sets without a normal or without an anomalous image",
    arguments=("threshold",),
    items="tpr_at",
    scores=True,
    source="Yerushalmy 1947 (as sensitivity); MATH.md section 3.H",
)
