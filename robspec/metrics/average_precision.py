"""Average precision: the precision at every threshold, weighted with the recall it adds."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="average_precision",
    summary="the precision at every threshold, weighted with the recall that the threshold adds",
    formula="sum over thresholds of (recall gained) * precision",
    lower_is_better=False,
    undefined="data sets without a normal or without an anomalous image",
    items="average_precision",
    scores=True,
    source="Zhu 2004; MATH.md section 3.H",
)
