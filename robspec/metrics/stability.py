"""Stability: the share of pixels that keep the class predicted on the clean image; no annotation enters."""

from robspec.metrics._info import MetricInfo

METRIC = MetricInfo(
    name="stability",
    summary="the share of all pixels that keep the class predicted on the clean image",
    formula="pixels predicted as on the clean image / pixels",
    lower_is_better=False,
    undefined="",
    items="predicted",
    needs_masks=False,
    source="MATH.md section 3.A",
)
