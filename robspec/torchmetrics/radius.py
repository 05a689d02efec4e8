"""Certified robustness radii as a torchmetric."""

from __future__ import annotations

from typing import Any

from robspec.torchmetrics._certified import Certified
from robspec.torchmetrics._question import Number, Question, reached


class CertifiedRadius(Certified):
    """The certified radius below which no attack degrades an image as described.

    Args:
        degraded: the condition as the language writes it: "h <= 0.5", "h <= 0.9 * h0".
        lipschitz: constant of the model, image to logits, from `norm` to l2, rounded up.
        metric: what `h` is, classes being called c0, c1, ...
        norm: the attack's norm.
        ignore_index: label left out, or None.
        aggregate: "mean", refused where a radius is infinite; "min"; or "share", the images that reach `threshold`.
        threshold: of a share, in units of the image; needed there, and refused elsewhere.
        backend: a kernel backend of `robspec check`.
        options: of torchmetrics.Metric.

    Raises:
        BadMetricArgument: E0711.

    Source: MATH.md section 1, Q2.
    """

    def __init__(
        self,
        degraded: str,
        lipschitz: Number,
        metric: str = "pixel_accuracy",
        norm: str = "l2",
        ignore_index: int | None = None,
        *,
        aggregate: str = "mean",
        threshold: Number | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        asked = f"  metric {metric}\n  norm {norm}\n  degraded when {degraded}"
        question = Question(asked, "radius", None, aggregate, reached(aggregate, threshold))
        super().__init__(question, lipschitz, ignore_index, backend, **options)
