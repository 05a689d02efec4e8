"""Certified torchmetrics of classifiers: logits [B, K], labels [B]."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from robspec.torchmetrics import CertifiedAccuracy, CertifiedIoU, CertifiedRadius, CertifiedWorstCase
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument

F = Fraction
LOGITS = torch.tensor([[3.0, 0.0, 1.0, -4.0], [0.0, 0.5, 0.25, -1.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, -1.0, -1.0]])
LABELS = torch.tensor([0, 1, 0, 0])


def test_accuracy_is_the_share_of_images_that_no_flip_within_reach_changes() -> None:
    """Margins 2, 1/4, wrong, and 0: the distances are these over sqrt 2."""
    for eps, expected in (("0", F(1, 2)), ("0.1", F(1, 2)), ("0.2", F(1, 4)), ("1.4", F(1, 4)), ("1.5", F(0))):
        metric = CertifiedAccuracy(eps, 1)
        metric.update(LOGITS[:3], LABELS[:3])
        metric.update(LOGITS[3:], LABELS[3:])
        assert metric.exact().value == expected, eps


def test_a_tie_is_lost_to_any_attack() -> None:
    """Without a budget the first of the largest classes is predicted; the closed ball of radius 0 holds the tie."""
    metric = CertifiedAccuracy(0, 1)
    metric.update(LOGITS[3:], LABELS[3:])
    assert metric.exact().value == 0


def test_among_the_two_largest() -> None:
    """Gaps of the first image are 2 and 3: with t the level, min t^2 + (2 - t)^2 + (3 - t)^2 is 14/3 at 5/3."""
    for eps, expected in (("2.16", F(1)), ("2.17", F(0))):
        metric = CertifiedAccuracy(eps, 1, top_k=2)
        metric.update(LOGITS[:1], LABELS[:1])
        assert metric.exact().value == expected


def test_radii_and_rates_of_a_class_are_of_images() -> None:
    radius = CertifiedRadius("h < 1", 1, aggregate="share", threshold="1.4")
    radius.update(LOGITS, LABELS)
    assert radius.exact().value == F(1, 4)
    recall = CertifiedWorstCase("recall[c0]", "0.1", 1)
    recall.update(LOGITS, LABELS)
    assert (recall.exact().value, recall.exact().evaluated) == (F(1, 3), 3)


def test_what_has_no_value_for_an_image_is_refused() -> None:
    with pytest.raises(BadBatch, match="data set"):
        CertifiedIoU("0.1", 1, classes=1).update(LOGITS, LABELS)
    with pytest.raises(BadMetricArgument, match="top_k"):
        CertifiedAccuracy("0.1", 1, top_k=0)
    with pytest.raises(BadMetricArgument, match="E0150"):
        CertifiedAccuracy("0.1", 1, top_k=4).update(LOGITS, LABELS)
    with pytest.raises(BadBatch, match=r"labels of shape \[4, 1\]"):
        CertifiedAccuracy("0.1", 1).update(LOGITS, LABELS[:, None])
