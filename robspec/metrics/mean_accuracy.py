"""Mean accuracy: the mean recall of the classes found in the annotation."""

from robspec.metrics._info import mean

METRIC = mean(
    "mean_accuracy",
    summary="the mean recall of the classes found in the annotation",
    of="recall",
    source="Long, Shelhamer and Darrell 2015; MATH.md section 3.B",
    aliases=("balanced_accuracy",),
)
