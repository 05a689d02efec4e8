"""Top-k accuracy: the share of annotated pixels whose class has one of the n largest logits."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="top_k",
    summary="the share of annotated pixels whose annotated class has one of the n largest logits",
    formula="pixels whose class is among the n largest logits / annotated pixels",
    lower_is_better=False,
    undefined="images with no annotated pixel (every label is the ignore label)",
    arguments=("n",),
    items="ranked",
    source="Russakovsky et al. 2015; MATH.md sections 2 and 3.A",
)
