"""Mean IoU: the mean intersection over union of the classes found in the annotation."""

from robspec.metrics._info import mean

METRIC = mean(
    "mean_iou",
    summary="the mean intersection over union of the classes found in the annotation",
    of="iou",
    source="Long, Shelhamer and Darrell 2015; MATH.md section 3.D",
)
