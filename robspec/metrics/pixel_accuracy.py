"""Pixel accuracy: the share of annotated pixels whose predicted class is the annotated one."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="pixel_accuracy",
    summary="the share of annotated pixels that are given their annotated class",
    formula="correct pixels / annotated pixels",
    lower_is_better=False,
    undefined="images with no annotated pixel (every label is the ignore label)",
    items="correct",
    source="MATH.md section 3.A",
    aliases=("accuracy",),
)
