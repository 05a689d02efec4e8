"""The base of the certified torchmetrics: state, update, reduction over processes, aggregate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from robspec.bounds.context import LEFT_OUT, Context
from robspec.ir.types import WorstCaseQuery
from robspec.torchmetrics import _record
from robspec.torchmetrics._question import Question, rounded_up
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument, MixedStates
from robspec.verify.backend import choose
from robspec.verify.decide import decide
from robspec.verify.evaluate import BatchEvaluator, metrics_of
from robspec.verify.result import ImageResult
from robspec.verify.run import refuse_non_finite

try:
    from torchmetrics import Metric
except ModuleNotFoundError as missing:
    if missing.name != "torchmetrics":
        raise
    raise ModuleNotFoundError(
        "robspec.torchmetrics needs torchmetrics: pip install 'robspec[torchmetrics]'", name="torchmetrics"
    ) from missing


@dataclass(frozen=True, slots=True)
class Answer:
    """What all images together come to.

    Args:
        value: the aggregate of the certified values, exact; None when no image is defined.
        evaluated: images the metric is defined on.
        undefined: images it is not defined on, left out.
    """

    value: Fraction | float | None
    evaluated: int
    undefined: int


class Certified(Metric):
    """A certified value of each image, aggregated over all images of all processes.

    The state is exact: integers that are concatenated over batches and processes, so neither order nor grouping of
    the images changes the result.

    Args:
        question: what is asked of every image.
        lipschitz: constant of the model, image to logits, from the attack's norm to l2, rounded up. It is taken as
            given: pass what `robspec lipschitz` proves for the weights at hand, and renew it when they change.
        ignore_index: label left out, or None.
        backend: a kernel backend of `robspec check`.
        options: of torchmetrics.Metric.

    Raises:
        BadMetricArgument: E0711.
    """

    full_state_update = False
    is_differentiable = False
    values: list[torch.Tensor]
    asked: torch.Tensor

    def __init__(
        self,
        question: Question,
        lipschitz: float | str | Fraction,
        ignore_index: int | None,
        backend: str,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if question.aggregate not in ("mean", "min", "share"):
            what = f"there is no aggregate {question.aggregate!r:.40}"
            raise BadMetricArgument("aggregate", what, 'choose "mean", "min" or "share"')
        self.question = question
        self.lipschitz = rounded_up(lipschitz)
        self.ignore_index = ignore_index
        self.backend = backend
        self._channels: int | None = None
        self._probe = question.compiled(question.classes)
        print_of = question.fingerprint(self.lipschitz, ignore_index)
        self.add_state("values", [], dist_reduce_fx="cat")
        # Also keeps a MetricCollection from taking two questions with equal first answers for one compute group.
        self.add_state("asked", torch.tensor(print_of), dist_reduce_fx="max")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether a larger aggregate is better: of a share or a radius always."""
        query = self._probe.query
        worst_case = isinstance(query, WorstCaseQuery) and query.metric.lower_is_better
        return self.question.aggregate == "share" or not worst_case

    def update(self, preds: torch.Tensor, target: torch.Tensor | None = None) -> None:
        """Certify a batch.

        Args:
            preds: logits, [B, K, H, W], or [B, 1, H, W] or [B, H, W] of a single logit; floating point.
            target: integer labels [B, H, W]; may be left out where no annotation enters, as for stability.

        Raises:
            BadBatch: E0712, shapes or labels do not fit.
            NonFiniteLogitsError: E0401, an image's logits are not finite.
        """
        logits = _logits(preds)
        channels = int(logits.shape[1])
        if self._channels not in (None, channels):
            raise BadBatch("preds", f"{channels} logits for each pixel, after {self._channels}", "use one model")
        prop = self.question.compiled(channels)
        if target is None and any(metric.needs_masks for metric in metrics_of(prop.query)):
            raise BadBatch("target", "this metric compares with an annotation", "pass the labels")
        labels = None if target is None else _labels(target, logits, self.ignore_index)
        context = Context(choose(self.backend), logits, labels, LEFT_OUT)
        names = [f"image {i} of the batch" for i in range(len(logits))]
        refuse_non_finite(context, names)
        answers = BatchEvaluator(context, names).answer(prop, self.question.constant(self.lipschitz))
        self._channels = channels
        self.values.append(_record.encode([answer.certified[0] for answer in answers]).to(self.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Exchange states with the other processes; one without any batch contributes nothing."""
        if isinstance(self.values, list) and not self.values:
            # Left empty, torchmetrics would send floats where the others send integers.
            self.values = [torch.zeros(0, dtype=torch.int64, device=self.device)]
        super().sync(*args, **kwargs)

    def compute(self) -> torch.Tensor:
        """Aggregate the certified values of all images.

        Returns:
            float64 scalar, rounded so that it claims no more than the exact value; NaN when no image is defined.

        Raises:
            InfiniteMeanError: E0404, a mean of radii contains infinity.
            MixedStates: E0713, the states merged belong to different questions.
        """
        value = self.exact().value
        return torch.tensor(_shown(value, upward=self.higher_is_better), dtype=torch.float64, device=self.device)

    def exact(self) -> Answer:
        """Give the aggregate of the images seen so far as an exact rational, and how many are left out.

        Only inside `compute` does it cover all processes.
        """
        if self.asked.tolist() != self.question.fingerprint(self.lipschitz, self.ignore_index):
            raise MixedStates(type(self).__name__, "states of different questions were merged", "use equal arguments")
        found = _record.decode(_joined(self.values))
        images = [ImageResult(f"image {i}", None, (v,), (v,)) for i, v in enumerate(found)]
        decided = decide(self._probe, self._probe.requirements[-1], images, 0, 1, complete=True)
        undefined = sum(v is None for v in found)
        return Answer(decided.certified, len(found) - undefined, undefined)


def _joined(values: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    if not values:
        return torch.zeros(0, dtype=torch.int64)
    return torch.cat(list(values))


def _shown(value: Fraction | float | None, *, upward: bool) -> float:
    """A double no better than the value."""
    if value is None:
        return math.nan
    shown = float(value)
    if value != math.inf and (Fraction(shown) > value if upward else Fraction(shown) < value):
        shown = math.nextafter(shown, -math.inf if upward else math.inf)
    return shown


def _logits(preds: torch.Tensor) -> torch.Tensor:
    """Detached logits [B, K, H, W] in float32 or float64, on the host."""
    logits = preds.detach().unsqueeze(1) if preds.dim() == 3 else preds.detach()
    if logits.dim() != 4 or not logits.is_floating_point() or 0 in logits.shape[1:]:
        what = f"logits of shape {list(preds.shape)} and type {preds.dtype}"
        raise BadBatch("preds", what, "pass floating-point logits [B, K, H, W] or [B, H, W]")
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()  # exact: every value of a shorter type is one of float32
    return logits.cpu().contiguous()


def _labels(target: torch.Tensor, logits: torch.Tensor, ignore: int | None) -> torch.Tensor:
    """Labels [B, H, W], LEFT_OUT where they are ignored."""
    shape = (logits.shape[0], *logits.shape[2:])
    labels = target.detach().squeeze(1) if target.dim() == 4 and target.shape[1] == 1 else target.detach()
    if tuple(labels.shape) != shape or labels.is_floating_point() or labels.is_complex():
        what = f"labels of shape {list(target.shape)} and type {target.dtype} for logits {list(logits.shape)}"
        raise BadBatch("target", what, "pass integer labels [B, H, W]")
    labels = labels.cpu().to(torch.int64)
    kept = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    classes = max(int(logits.shape[1]), 2)
    if bool((kept & ((labels < 0) | (labels >= classes))).any()):
        found = sorted({int(y) for y in labels[kept].flatten().tolist()} - set(range(classes)))[:3]
        raise BadBatch("target", f"labels {found} of {classes} classes", "map them, or pass `ignore_index`")
    return torch.where(kept, labels, LEFT_OUT)
