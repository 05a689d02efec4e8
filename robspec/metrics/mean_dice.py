"""Mean Dice coefficient of the classes found in the annotation."""

from robspec.metrics._info import mean

METRIC = mean(
    "mean_dice",
    summary="the mean Dice coefficient of the classes found in the annotation",
    of="dice",
    source="Dice 1945; MATH.md section 3.D",
)
