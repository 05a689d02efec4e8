"""What `robspec metrics` prints, to the letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robspec.checks import example
from robspec.lower import catalogue
from robspec.metrics import built_in

NARROW = """metric                   better  family      formula
auroc                    higher  scores      (pairs won + pairs tied / 2) /
                                             pairs of an anomalous and a
                                             normal image
average_precision        higher  scores      sum over thresholds of (recall
                                             gained) * precision
dice[k]                  higher  ratio       2 * TP[k] / (2 * TP[k] + FP[k] +
                                             FN[k])
f_beta(beta)[k]          higher  ratio       (1 + beta * beta) * TP[k] / ((1
                                             + beta * beta) * TP[k] + FP[k] +
                                             beta * beta * FN[k])
fnr[k]                   lower   counting    FN[k] / (TP[k] + FN[k])
fpr[k]                   lower   counting    FP[k] / (FP[k] + TN[k])
fpr_at(threshold)        lower   scores      normal images with score >=
                                             threshold / normal images
fpr_at_tpr(level)        lower   scores      fpr_at(T), T the largest score
                                             with tpr_at(T) >= level
frequency_weighted_iou   higher  macro       mean of iou[k] over the
                                             annotated classes k, weighted
                                             with the share of pixels
                                             annotated as k
iou[k]                   higher  ratio       TP[k] / (TP[k] + FP[k] + FN[k])
mean_accuracy            higher  weighted    mean of recall[k] over the
                                             annotated classes k
mean_dice                higher  macro       mean of dice[k] over the
                                             annotated classes k
mean_iou                 higher  macro       mean of iou[k] over the
                                             annotated classes k
object_recall(share)[k]  higher  components  connected parts of k with at
                                             least the share (and a pixel)
                                             predicted as k / connected parts
                                             of k
pixel_accuracy           higher  counting    correct pixels / annotated
                                             pixels
precision[k]             higher  ratio       TP[k] / (TP[k] + FP[k])
recall[k]                higher  counting    TP[k] / (TP[k] + FN[k])
specificity[k]           higher  counting    TN[k] / (FP[k] + TN[k])
stability                higher  counting    pixels predicted as on the clean
                                             image / pixels
top_k(n)                 higher  counting    pixels whose class is among the
                                             n largest logits / annotated
                                             pixels
tpr_at(threshold)        higher  scores      anomalous images with score >=
                                             threshold / anomalous images
tversky(a, b)[k]         higher  ratio       TP[k] / (TP[k] + a * FP[k] + b *
                                             FN[k])
"""

F_BETA = """f_beta(beta)[k]: harmonic mean of precision and recall,
    recall counting beta squared times as much
  formula: (1 + beta * beta) * TP[k] / ((1 + beta * beta) *
    TP[k] + FP[k] + beta * beta * FN[k])
  better: higher
  values: from 0 to 1
  undefined: images with no pixel annotated as the class
  family: ratio (MATH.md section 3.C)
  also: pooled f_beta(beta)[k]
  source: van Rijsbergen 1979; MATH.md section 3.C
"""


def test_the_table_keeps_its_columns_where_there_is_no_room() -> None:
    assert catalogue.table(10) == NARROW
    # Columns before the formula take 43; it gets at least 32, and more where there is room.
    assert max(map(len, catalogue.table(79).splitlines())) in range(76, 80)
    wide = catalogue.table(200).splitlines()
    assert wide[0] == NARROW.splitlines()[0]
    assert len(wide) == len(catalogue.entries()) + 1


def test_a_metric_is_wrapped_below_itself() -> None:
    assert catalogue.text(built_in()["f_beta"], 60) == F_BETA
    # Words and formulas are broken at blanks alone, however narrow.
    narrow = catalogue.text(built_in()["iou"], 12)
    assert narrow.split() == catalogue.text(built_in()["iou"], 200).split()


def test_every_value_of_a_metric() -> None:
    assert catalogue.to_json(built_in()["accuracy"]) == {
        "name": "pixel_accuracy",
        "use": "pixel_accuracy",
        "aliases": ["accuracy"],
        "summary": "the share of annotated pixels that are given their annotated class",
        "formula": "correct pixels / annotated pixels",
        "better": "higher",
        "family": "counting",
        "section": "3.A",
        "values": ["0", "1"],
        "undefined": "images with no annotated pixel (every label is the ignore label)",
        "worst_when_undefined": False,
        "needs_masks": True,
        "weighted": True,
        "pooled": False,
        "classes": "none",
        "source": "MATH.md section 3.A",
    }
    assert catalogue.use(built_in()["tversky"]) == "tversky(a, b)[k]"


@pytest.mark.parametrize("end", ["low", "high"])
def test_a_metric_without_proved_values_is_not_listed(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    metric = example(built_in()["iou"])
    assert metric is not None
    monkeypatch.setattr(catalogue, "example", lambda *_: replace(metric, **{end: None}))
    with pytest.raises(RuntimeError, match="nothing is proved of the built-in metric iou"):
        catalogue.to_json(built_in()["iou"])
