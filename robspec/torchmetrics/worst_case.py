"""Worst-case performance within a budget, certified, as torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from robspec.torchmetrics._certified import Certified
from robspec.torchmetrics._question import Number, Question, exact, reached
from robspec.torchmetrics.errors import BadMetricArgument


class CertifiedWorstCase(Certified):
    """The certified worst case of any per-image metric of the language within a budget, averaged over the images.

    Args:
        metric: as the language writes it, classes being called c0, c1, ...: "dice[c1]", "f_beta(2)[c1]", "mean_iou".
        eps: radius of the attack's ball, in units of the image; a float counts as the decimal it prints as.
        lipschitz: constant of the model, image to logits, from `norm` to l2, rounded up.
        norm: the attack's norm: "l2", "l1", "linf", "l(1.5)".
        ignore_index: label left out, or None.
        aggregate: "mean"; "min", the worst image; or "share", the images that reach `threshold`.
        threshold: of a share; needed there, and refused elsewhere.
        backend: a kernel backend of `robspec check`.
        options: of torchmetrics.Metric.

    Raises:
        BadMetricArgument: E0711.

    Source: MATH.md section 1, Q1.
    """

    def __init__(
        self,
        metric: str,
        eps: Number,
        lipschitz: Number,
        norm: str = "l2",
        ignore_index: int | None = None,
        *,
        aggregate: str = "mean",
        threshold: Number | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        asked = f"  metric {metric}\n  norm {norm}\n  budget eps"
        question = Question(asked, "worst_case", exact("eps", eps), aggregate, reached(aggregate, threshold))
        super().__init__(question, lipschitz, ignore_index, backend, **options)


class CertifiedPixelAccuracy(CertifiedWorstCase):
    """The certified pixel accuracy within a budget; see `CertifiedWorstCase` for the arguments."""

    def __init__(
        self, eps: Number, lipschitz: Number, norm: str = "l2", ignore_index: int | None = None, **options: Any
    ) -> None:
        super().__init__("pixel_accuracy", eps, lipschitz, norm, ignore_index, **options)


class CertifiedAccuracy(CertifiedWorstCase):
    """The certified robust accuracy of a classifier within a budget; see `CertifiedWorstCase` for other arguments.

    Args:
        top_k: among how many of the largest logits the annotated class must be, whatever the attack.
    """

    def __init__(self, eps: Number, lipschitz: Number, norm: str = "l2", *, top_k: int = 1, **options: Any) -> None:
        if type(top_k) is not int or top_k < 1:
            what = f"{top_k!r:.60} is no number of classes"
            raise BadMetricArgument("top_k", what, "give a whole number of at least 1")
        super().__init__("pixel_accuracy" if top_k == 1 else f"top_k({top_k})", eps, lipschitz, norm, **options)


class CertifiedStability(CertifiedWorstCase):
    """The certified share of pixels that keep their prediction within a budget; needs no labels."""

    def __init__(self, eps: Number, lipschitz: Number, norm: str = "l2", **options: Any) -> None:
        super().__init__("stability", eps, lipschitz, norm, None, **options)


class CertifiedIoU(CertifiedWorstCase):
    """The certified IoU within a budget; see `CertifiedWorstCase` for the other arguments.

    Args:
        classes: one class, several that count as one merged class, or None for the mean IoU over those annotated.
    """

    def __init__(
        self,
        eps: Number,
        lipschitz: Number,
        norm: str = "l2",
        ignore_index: int | None = None,
        classes: int | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        metric = "mean_iou" if classes is None else f"iou[{_classes(classes)}]"
        super().__init__(metric, eps, lipschitz, norm, ignore_index, **options)


class CertifiedFNR(CertifiedWorstCase):
    """The certified false negative rate within a budget: lower is better, never below the true worst case.

    Args:
        classes: one class, or several that count as one merged class.
    """

    def __init__(
        self,
        eps: Number,
        lipschitz: Number,
        norm: str = "l2",
        ignore_index: int | None = None,
        classes: int | Sequence[int] = 1,
        **options: Any,
    ) -> None:
        super().__init__(f"fnr[{_classes(classes)}]", eps, lipschitz, norm, ignore_index, **options)


def _classes(classes: Any) -> str:
    """Name one class or several as the language does.

    Raises:
        BadMetricArgument: E0711, they are no whole numbers of at least 0.
    """
    try:
        numbers = [index(classes)]
    except TypeError:
        numbers = _each(classes)
    if not numbers or min(numbers) < 0:
        what = f"{classes!r:.60} is no class and no sequence of classes"
        raise BadMetricArgument("classes", what, "count the channels from 0, such as `classes=1` or `classes=[1, 2]`")
    return ", ".join(f"c{k}" for k in numbers)


def _each(classes: Any) -> list[int]:
    try:
        return [index(k) for k in classes]
    except TypeError:
        return []
