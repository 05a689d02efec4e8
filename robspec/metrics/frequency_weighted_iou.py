"""Frequency weighted IoU: each class counts with its share of the annotated pixels."""

from robspec.metrics._info import mean

METRIC = mean(
    "frequency_weighted_iou",
    summary="the IoU of the classes found in the annotation, each with its share of the annotated pixels",
    of="iou",
    source="Long, Shelhamer and Darrell 2015; MATH.md section 3.D",
    average="frequency",
)
