"""The base of the certified torchmetrics: state, update, reduction over processes, aggregate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import index
from typing import Any, TypeVar

import torch

from robspec.bounds.context import LEFT_OUT, Context
from robspec.ir.plans import Accuracy, Rate, Stability
from robspec.ir.types import WorstCaseQuery
from robspec.torchmetrics import _record, _tensors
from robspec.torchmetrics._question import Number, Question, rounded_up, rounding_of
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument, MixedStates, UnreadableState
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


_T = TypeVar("_T")
_R = TypeVar("_R")
_WHILE_FORWARD = ("_update_count", "_to_sync", "_should_unsync", "_enable_grad", "compute_on_cpu")
"""What torchmetrics changes while `forward` runs."""


class Certified(Metric):
    """A certified value of each image, aggregated over all images of all processes.

    The state is exact: numbers that are concatenated over batches and processes, so neither order nor grouping of
    the images changes the result.

    Args:
        question: what is asked of every image.
        lipschitz: constant of the model, image to logits, from the attack's norm to l2, rounded up. It is taken as
            given: pass what `robspec lipschitz` proves for the weights at hand, and renew it when they change.
        ignore_index: label left out, or None.
        backend: a kernel backend of `robspec check`.
        check_logits: whether to refuse what is plainly the output of a sigmoid or softmax.
        arithmetic: "exact" takes logits as they come for the network's own; or a bound of the l2 norm of the error of
            one image's logits, as `robspec lipschitz --rounding` proves it, rounded up: what is certified is then of
            the function over the reals.
        options: of torchmetrics.Metric.

    Raises:
        BadMetricArgument: E0711.
    """

    full_state_update = False
    is_differentiable = False
    values: list[torch.Tensor] | torch.Tensor
    asked: torch.Tensor

    def __init__(
        self,
        question: Question,
        lipschitz: float | str | Fraction,
        ignore_index: int | None,
        backend: str,
        *,
        check_logits: bool = True,
        arithmetic: Number = "exact",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if question.aggregate not in ("mean", "min", "share"):
            what = f"there is no aggregate {question.aggregate!r:.40}"
            raise BadMetricArgument("aggregate", what, 'choose "mean", "min" or "share"')
        self.question = question
        self.lipschitz = rounded_up(lipschitz)
        self.rounding = rounding_of(arithmetic)
        self.ignore_index = _label(ignore_index)
        self.backend = backend
        self.check_logits = check_logits
        self._probe = question.compiled(question.classes)
        print_of = question.fingerprint(self.lipschitz, self.ignore_index, self.rounding)
        self.add_state("values", [], dist_reduce_fx="cat")
        # Also keeps a MetricCollection from taking two questions with equal first answers for one compute group.
        self.add_state("asked", torch.tensor(print_of, dtype=self.dtype), dist_reduce_fx="max")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether a larger aggregate is better: of a share or a radius always."""
        query = self._probe.query
        worst_case = isinstance(query, WorstCaseQuery) and query.metric.lower_is_better
        return self.question.aggregate == "share" or not worst_case

    def update(self, preds: torch.Tensor, target: torch.Tensor | None = None) -> None:
        """Certify a batch.

        Args:
            preds: logits, [B, K, H, W], or [B, 1, H, W] or [B, H, W] of a single logit, or [B, K] of whole images;
                floating point.
            target: integer labels [B, H, W], or [B] of whole images; may be left out where no annotation enters,
                as for stability.

        Raises:
            BadBatch: E0712, shapes or labels do not fit, or there is no image.
            NonFiniteLogitsError: E0401, an image's logits are not finite.
        """
        logits = _tensors.logits_of(preds)
        channels = int(logits.shape[1])
        self._same_model(channels, listed(self.values))
        prop = self.question.compiled(channels)
        if target is None and any(metric.needs_masks for metric in metrics_of(prop.query)):
            raise BadBatch("target", "this metric compares with an annotation", "pass the labels")
        if preds.dim() == 2 and not all(
            isinstance(metric.plan, Accuracy | Stability | Rate) for metric in metrics_of(prop.query)
        ):
            what = "of whole images this metric has one value for the data set, and none for each image"
            mend = (
                "ask for accuracy, top_k, stability, or for recall or fnr of a class; `robspec check` has the others"
            )
            raise BadBatch("preds", what, mend)
        labels = None if target is None else _tensors.labels_of(target, logits, self.ignore_index)
        context = Context(choose(self.backend), logits, labels, LEFT_OUT)
        names = [f"image {i} of the batch" for i in range(len(logits))]
        refuse_non_finite(context, names)
        answers = BatchEvaluator(context, names).answer(prop, self.question.constant(self.lipschitz, self.rounding))
        kind = _tensors.kind_of(logits, preds.dtype)
        batch = _record.Batch(channels, kind, tuple(answer.certified[0] for answer in answers))
        self.values = listed(self.values)
        self.values.append(_record.encode(batch, self.dtype).to(self.device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Certify a batch, and give the value of it alone.

        Where that raises, the metric is as it was before: torchmetrics alone would forget the batches before it.
        """
        state = self._copy_state_dict()
        kept = {name: getattr(self, name) for name in _WHILE_FORWARD}
        try:
            value = super().forward(*args, **kwargs)
            records = listed(self.values)
            self._same_model(self._read(_record.channels_of, records[-1:]), records[:1])
            return value
        except BaseException:
            for name, value in {**state, **kept}.items():
                setattr(self, name, value)
            self._computed = None
            raise

    def reset(self) -> None:
        """Forget all images; a wrapper that holds on to the list of their values keeps it."""
        self.values = []
        super().reset()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Exchange states with the other processes; one without any batch contributes nothing."""
        if isinstance(self.values, list) and not self.values:
            # Left empty, older versions of torchmetrics would not take part in the exchange.
            self.values = [torch.zeros(0, dtype=self.dtype, device=self.device)]
        super().sync(*args, **kwargs)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take over the images of another metric, or of its `metric_state`.

        Raises:
            MixedStates: E0713, it is of another kind; other arguments are found out by `compute`.
        """
        state = incoming_state.metric_state if isinstance(incoming_state, Certified) else incoming_state
        if not isinstance(state, dict) or not set(self._defaults) <= set(state):
            what = f"a {type(incoming_state).__name__} is no state of it"
            raise MixedStates(type(self).__name__, what, "merge metrics made with equal arguments")
        self._computed = None
        self._reduce_states(state)

    def compute(self) -> torch.Tensor:
        """Aggregate the certified values of all images.

        Returns:
            float64 scalar, whatever the metric's dtype, rounded so that it claims no more than the exact value; NaN
            when no image is defined.

        Raises:
            InfiniteMeanError: E0404, a mean of radii contains infinity.
            MixedStates: E0713, the states merged belong to different questions or models.
            NoLogits: E0714, what was passed are plainly probabilities.
            UnreadableState: E0715.
        """
        value = self.exact().value
        return torch.tensor(_shown(value, upward=self.higher_is_better), dtype=torch.float64, device=self.device)

    def exact(self) -> Answer:
        """Give the aggregate of the images seen so far as an exact rational, and how many are left out.

        Only inside `compute` does it cover all processes.
        """
        name = type(self).__name__
        if self.asked.tolist() != self.question.fingerprint(self.lipschitz, self.ignore_index, self.rounding):
            raise MixedStates(name, "states of different questions were merged", "use equal arguments")
        batches = self._read(_record.decode, joined(self.values))
        channels = sorted({batch.channels for batch in batches})
        if len(channels) > 1:
            listed = " and ".join(map(str, channels))
            raise MixedStates(
                name, f"states of models with {listed} logits for each pixel were merged", "use one model"
            )
        if self.check_logits and channels:
            _tensors.refuse_probabilities((batch.kind for batch in batches), channels[0])
        found = [value for batch in batches for value in batch.values]
        images = [ImageResult(f"image {i}", None, (v,), (v,)) for i, v in enumerate(found)]
        decided = decide(self._probe, self._probe.requirements[-1], images, 0, 1, complete=True)
        undefined = sum(v is None for v in found)
        return Answer(decided.certified, len(found) - undefined, undefined)

    def _same_model(self, channels: int | None, records: Sequence[torch.Tensor]) -> None:
        before = self._read(_record.channels_of, records)
        if before not in (None, channels):
            raise BadBatch("preds", f"{channels} logits for each pixel, after {before}", "use one model")

    def _read(self, how: Callable[[_T], _R], state: _T) -> _R:
        try:
            return how(state)
        except ValueError as error:
            raise UnreadableState(type(self).__name__, f"its state was altered: {error}", "`reset()` it") from error

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Add the images of another state; of those exchanged between processes, too, which are no lists any more."""
        self.values = listed(self.values)
        super()._reduce_states({**incoming_state, "values": listed(incoming_state["values"])})

    def _apply(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Move or convert the state; a value computed before is not converted, which might round it up."""
        shown, self._computed, self._forward_cache = self._forward_cache, None, None
        super()._apply(fn, *args, **kwargs)
        self._forward_cache = shown.to(self.device) if isinstance(shown, torch.Tensor) else shown
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._computed = None
        super()._load_from_state_dict(*args, **kwargs)


def _label(given: Any) -> int | None:
    try:
        return None if given is None else index(given)
    except TypeError:
        what = f"{given!r:.60} is no label"
        raise BadMetricArgument("ignore_index", what, "give a whole number, such as 255, or None") from None


def listed(values: Sequence[torch.Tensor] | torch.Tensor) -> list[torch.Tensor]:
    if isinstance(values, list):
        return values
    return [values] if isinstance(values, torch.Tensor) else list(values)


def joined(values: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    return torch.cat(list(values)) if values else torch.zeros(0)


def _shown(value: Fraction | float | None, *, upward: bool) -> float:
    """A double no better than the value."""
    if value is None:
        return math.nan
    shown = float(value)
    if value != math.inf and (Fraction(shown) > value if upward else Fraction(shown) < value):
        shown = math.nextafter(shown, -math.inf if upward else math.inf)
    return shown
