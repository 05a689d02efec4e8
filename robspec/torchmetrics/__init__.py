"""Certified metrics as torchmetrics: what `robspec check` certifies, batch by batch, in anyone's loop.

Each takes logits and labels in `update` and gives, in `compute`, the aggregate of the certified values of all images
seen by all processes. They answer through the same queries as `robspec check`, and keep its exact values.
"""

from __future__ import annotations

from robspec.torchmetrics.detection import CertifiedMeanAveragePrecision
from robspec.torchmetrics.radius import CertifiedRadius
from robspec.torchmetrics.worst_case import (
    CertifiedAccuracy,
    CertifiedFNR,
    CertifiedIoU,
    CertifiedPixelAccuracy,
    CertifiedStability,
    CertifiedWorstCase,
)

__all__ = [
    "CertifiedAccuracy",
    "CertifiedFNR",
    "CertifiedIoU",
    "CertifiedMeanAveragePrecision",
    "CertifiedPixelAccuracy",
    "CertifiedRadius",
    "CertifiedStability",
    "CertifiedWorstCase",
]
