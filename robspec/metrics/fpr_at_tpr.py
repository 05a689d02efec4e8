"""False positive rate at the threshold that finds a given share of the anomalous images."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="fpr_at_tpr",
    summary="the share of normal images at or above the threshold that finds the given share of anomalous ones",
    formula="fpr_at(T), T the largest score with tpr_at(T) >= level",
    lower_is_better=True,
    undefined="data sets without a normal or without an anomalous image",
    arguments=("level",),
    items="fpr_at_tpr",
    scores=True,
    source="Hendrycks and Gimpel 2017 (at 0.95); MATH.md section 3.H",
)
