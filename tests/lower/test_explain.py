"""`robspec compile --explain`: formula, proof, family and algorithm of every metric of every property."""

# ruff: noqa: E501 - whole lines of output

from __future__ import annotations

import pytest

from robspec.lower import compile_text
from robspec.lower.explain import explain

SPEC = """language 1
metric miss_rate(k) lower_is_better = FN[k] / (TP[k] + FN[k])
metric worse(k) lower_is_better = (FN[k] + FP[k]) / (TP[k] + FN[k])
metric mine = 0.5 * iou[sky] + 0.5 * recall[road]
model {
  input image [3, 8, 8] in [0, 1]
  output logits [3, 8, 8]
  classes sky, road, grass
}
data d {
  images "i"
  masks "m"
  weights "w"
}
property q {
  metric precision[road]
  norm l2
  budget 0.1
  require worst_case >= 0.1 for all images
}
property r {
  norm linf
  degraded when miss_rate[road] >= 0.5 and (mean_iou[sky, road] <= 0.3 or mine <= 0.2)
  require radius >= 0.1 for all images
}
property s {
  metric weighted stability in [grass, sky]
  norm l(1.5)
  budget 0.1
  require worst_case >= 0.1 for all images
}
property u {
  norm l2
  degraded when worse[road, sky] >= 0.7 or frequency_weighted_iou <= 0.2
  require radius >= 0.1 for all images
}
property t {
  metric pooled mean_iou
  norm l1
  degraded when h <= 0.3
  require radius >= 0.1
}
"""

EXPLAINED = """property q
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric precision[road], higher is better
    formula: TP / (TP + FP)
    a hit that is lost (TP to FN): the slope has the sign of -FP, never positive: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
    defined: where TP + FN > 0, which no attack changes
    an attack can make the divisor 0: that counts as the worst value
    values: from 0 to 1, by the coefficients
    family: ratio (section 3.C)
    algorithm: for each number of lost hits, the most false alarms the rest of the budget pays; exact over the logits within reach
property r
  degraded: miss_rate[road] >= 0.5 and (mean_iou[sky, road] <= 0.3 or mine <= 0.2)
  radius: the largest of those joined by `and`, a sound bound (section 3.F)
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2, and L goes from linf to l2 (section 2)
  metric miss_rate[road], lower is better
    formula: FN / (TP + FN)
    a hit that is lost (TP to FN): the slope has the sign of 1, never negative: no coefficient has the other sign
    a false alarm (TN to FP): changes nothing
    counts: pixels of the class that are found, each leaving it (TP to FN)
    defined: where TP + FN > 0, which no attack changes
    values: from 0 to 1, by the coefficients
    family: counting (section 3.A)
    algorithm: as many of the cheapest flips as the budget pays; exact over the logits within reach
  metric mean_iou[sky, road], higher is better
    formula: the mean over the classes in the annotation of an image (sky, road), all alike, of
      TP / (TP + FP + FN)
    a hit that is lost (TP to FN): the slope has the sign of -1, never positive: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
    defined: where one of the classes is annotated
    values: from 0 to 1, by the coefficients
    family: macro (section 3.D)
    algorithm: the classes share the budget through a Lagrange multiplier; a sound bound, not always attained
  metric mine, higher is better
    formula: 0.5 * iou[sky] + 0.5 * recall[road]
    part: 0.5 times TP[road] / (TP[road] + FN[road])
      a hit that is lost (TP to FN): the slope has the sign of -1, never positive: no coefficient has the other sign
      a false alarm (TN to FP): changes nothing
      defined: where TP + FN > 0, which no attack changes
    part: 0.5 times TP[sky] / (TP[sky] + FP[sky] + FN[sky])
      a hit that is lost (TP to FN): the slope has the sign of -1, never positive: no coefficient has the other sign
      a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
      defined: where TP + FN > 0, which no attack changes
    defined: where every part is
    values: from 0 to 1, by the coefficients
    family: macro (section 3.D)
    algorithm: the classes share the budget through a Lagrange multiplier; a sound bound, not always attained
property s
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2, and L goes from l(1.5) to l2 (section 2)
  metric weighted stability in [sky, grass], higher is better
    formula: pixels predicted as on the clean image / pixels
    counts: pixels, each lost by the class predicted on the clean image
    pixels: those annotated as sky, grass
    pixels: each counts with its weight
    defined: on every image with a pixel of the region
    values: from 0 to 1, by the coefficients
    family: weighted (section 3.B)
    algorithm: the dual bound of the knapsack: which pixels to flip when they count differently; a sound bound, not always attained
property u
  degraded: worse[sky, road] >= 0.7 or frequency_weighted_iou <= 0.2
  radius: the smallest of those joined by `or`, a sound bound (section 3.F)
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric worse[sky, road], lower is better
    formula: (FP + FN) / (TP + FN)
    a hit that is lost (TP to FN): the slope has the sign of 1, never negative: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of 1, never negative: no coefficient has the other sign
    defined: where TP + FN > 0, which no attack changes
    family: ratio (section 3.C)
    algorithm: for each number of lost hits, the most false alarms the rest of the budget pays; exact over the logits within reach
  metric frequency_weighted_iou, higher is better
    formula: the mean over the classes in the annotation of an image (every class), each with its share of the annotated pixels, of
      TP / (TP + FP + FN)
    a hit that is lost (TP to FN): the slope has the sign of -1, never positive: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
    defined: where one of the classes is annotated
    values: from 0 to 1, by the coefficients
    family: macro (section 3.D)
    algorithm: the classes share the budget through a Lagrange multiplier; a sound bound, not always attained
property t
  degraded: pooled mean_iou <= 0.3
  radius: that of the one comparison (section 3.G)
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2, and L goes from l1 to l2 (section 2)
  metric pooled mean_iou, higher is better
    formula: the mean over the classes in the data (every class), all alike, of
      TP / (TP + FP + FN)
    a hit that is lost (TP to FN): the slope has the sign of -1, never positive: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
    defined: for the data set as a whole; no image is left out
    values: from 0 to 1, by the coefficients
    family: pooled (section 3.E)
    algorithm: the mean of the pooled worst cases of the classes; a sound bound, not always attained
"""

OTHER = """language 1
metric loss(k, j) lower_is_better = 0.5 * fnr[k, j] + 0.5 * fpr[j]
metric both(k) = TP[k] / (TP[k] + FN[k]) * TN[k] / (FP[k] + TN[k])
model {
  input image [3, 8, 8] in [0, 1]
  output logits [3, 8, 8]
  classes sky, road, grass
}
data d {
  images "i"
  masks "m"
  region "r"
}
property a {
  metric loss[sky, road]
  norm l2
  budget 0.1
  require worst_case <= 0.9 for all images
}
property b {
  metric both[road]
  norm l2
  budget 0.1
  require worst_case >= 0.1 for all images
}
property c {
  metric pixel_accuracy in region
  norm l2
  budget 0.1
  require worst_case >= 0.1 for all images
}
property d {
  metric stability in region
  norm l2
  budget 0.1
  require worst_case >= 0.1 for all images
}
property e {
  metric stability
  norm l2
  budget 0.1
  require worst_case >= 0.1 for all images
}
property f {
  metric fpr[road]
  norm l2
  budget 0.1
  require worst_case <= 0.1 for all images
}
"""

OTHER_EXPLAINED = """property a
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric loss[sky, road], lower is better
    formula: 0.5 * fnr[k, j] + 0.5 * fpr[j]
    part: 0.5 times FP[road] / (FP[road] + TN[road])
      a hit that is lost (TP to FN): changes nothing
      a false alarm (TN to FP): the slope has the sign of 1, never negative: no coefficient has the other sign
      defined: where FP + TN > 0, which no attack changes
    part: 0.5 times FN[sky, road] / (TP[sky, road] + FN[sky, road])
      a hit that is lost (TP to FN): the slope has the sign of 1, never negative: no coefficient has the other sign
      a false alarm (TN to FP): changes nothing
      defined: where TP + FN > 0, which no attack changes
    defined: where every part is
    values: from 0 to 1, by the coefficients
    family: macro (section 3.D)
    algorithm: the classes share the budget through a Lagrange multiplier; a sound bound, not always attained
property b
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric both[road], higher is better
    formula: TP * TN / (TP * FP + TP * TN + FP * FN + FN * TN)
    a hit that is lost (TP to FN): the slope has the sign of -TN, never positive: no coefficient has the other sign
    a false alarm (TN to FP): the slope has the sign of -TP, never positive: no coefficient has the other sign
    defined: where TP + FN > 0 and FP + TN > 0, which no attack changes
    values: from 0 to 1, by the coefficients
    family: ratio (section 3.C)
    algorithm: for each number of lost hits, the most false alarms the rest of the budget pays; exact over the logits within reach
property c
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric pixel_accuracy in region, higher is better
    formula: correct pixels / annotated pixels
    counts: correct pixels, each lost to its nearest other class
    pixels: those that are not 0 in the region file
    defined: where a pixel is annotated, which no attack changes
    values: from 0 to 1, by the coefficients
    family: counting (section 3.A)
    algorithm: as many of the cheapest flips as the budget pays; exact over the logits within reach
property d
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric stability in region, higher is better
    formula: pixels predicted as on the clean image / pixels
    counts: pixels, each lost by the class predicted on the clean image
    pixels: those that are not 0 in the region file
    defined: on every image with a pixel of the region
    values: from 0 to 1, by the coefficients
    family: counting (section 3.A)
    algorithm: as many of the cheapest flips as the budget pays; exact over the logits within reach
property e
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric stability, higher is better
    formula: pixels predicted as on the clean image / pixels
    counts: pixels, each lost by the class predicted on the clean image
    defined: on every image
    values: from 0 to 1, by the coefficients
    family: counting (section 3.A)
    algorithm: as many of the cheapest flips as the budget pays; exact over the logits within reach
property f
  costs: squared l2 distances of logits, of each pixel exact; all pixels of an image share (L * eps)^2 (section 2)
  metric fpr[road], lower is better
    formula: FP / (FP + TN)
    a hit that is lost (TP to FN): changes nothing
    a false alarm (TN to FP): the slope has the sign of 1, never negative: no coefficient has the other sign
    counts: pixels of other classes, each entering the class (TN to FP)
    defined: where FP + TN > 0, which no attack changes
    values: from 0 to 1, by the coefficients
    family: counting (section 3.A)
    algorithm: as many of the cheapest flips as the budget pays; exact over the logits within reach
"""


@pytest.mark.parametrize(("text", "explained"), [(SPEC, EXPLAINED), (OTHER, OTHER_EXPLAINED)])
def test_every_step_is_explained(text: str, explained: str) -> None:
    program, diagnostics = compile_text(text)
    assert diagnostics == ()
    assert program is not None
    assert explain(program) == explained
