"""Area under the ROC curve: how often an anomalous image scores above a normal one, ties counting half."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="auroc",
    summary="how often an anomalous image scores above a normal one, a tie counting one half",
    formula="(pairs won + pairs tied / 2) / pairs of an anomalous and a normal image",
    lower_is_better=False,
    undefined="data sets without a normal or without an anomalous image",
    items="auroc",
    scores=True,
    source="Hanley and McNeil 1982; MATH.md section 3.H",
)
