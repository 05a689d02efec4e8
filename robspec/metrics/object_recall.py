"""Recall of objects: connected parts of the annotated mask that are found (lesion-wise sensitivity)."""

from robspec.metrics._info import MetricInfo, Takes

METRIC = MetricInfo(
    name="object_recall",
    summary="the share of the connected parts of class k in the mask of which enough is predicted as k",
    formula="connected parts of k with at least the share (and a pixel) predicted as k / connected parts of k",
    lower_is_better=False,
    undefined="images with no pixel annotated as the class",
    source="lesion-wise sensitivity; MATH.md section 3.I",
    classes=Takes.ALWAYS,
    arguments=("share",),
    parameters=("k",),
    items="components",
)
