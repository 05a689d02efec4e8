"""What is asked of one image: when another image counts as a counterfactual, and how near the nearest can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import torch
from torch import Tensor

from robspec.arrays import tensor
from robspec.bounds import open_bound
from robspec.bounds.context import LEFT_OUT, Context
from robspec.bounds.search import meets
from robspec.explanations.errors import AlreadyViolated, NoQuestion
from robspec.ir.plans import Accuracy, Ranked, Stability, Weighted, unweighted
from robspec.ir.print import objective_text
from robspec.ir.types import AllOf, Degraded, Metric, Objective, Property, RadiusQuery, Requirement
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant
from robspec.semantics.norm import L2, LINF, Norm
from robspec.semantics.objective import Threshold
from robspec.verify.evaluate import BatchEvaluator, metrics_of
from robspec.verify.result import Value
from robspec.verify.run import refuse_non_finite

_MOST_WAYS = 64


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of one image beside its pixels.

    Args:
        labels: int64 [1, H, W], or None.
        ignore: the label left out, or None.
        region: bool [1, H, W], or None.
        weights: float64 [1, H, W], or None.
    """

    labels: Tensor | None
    ignore: int | None = None
    region: Tensor | None = None
    weights: Tensor | None = None

    def context(self, backend: Backend, logits: Tensor) -> Context:
        """Look at any number of logits, [B, K, H, W], each with this annotation."""
        count = len(logits)
        rest = [
            None if t is None else t.expand(count, -1, -1).contiguous()
            for t in (self.labels, self.region, self.weights)
        ]
        return Context(backend, logits.detach().contiguous(), rest[0], self.ignore, rest[1], rest[2])


@dataclass(frozen=True, slots=True)
class Condition:
    """One threshold on one metric, both fixed by the image that is explained.

    Args:
        metric: the metric; stability has become accuracy against the prediction on that image.
        gamma: met by values of at most this, of at least this where lower is better.
        strict: whether equality does not meet it.
        annotation: what the metric compares with.
    """

    metric: Metric
    gamma: Fraction
    strict: bool
    annotation: Annotation

    def values(self, backend: Backend, logits: Tensor, constant: Constant) -> list[Fraction | None]:
        """Evaluate the metric on logits [B, K, H, W], exactly; None where undefined."""
        return open_bound(self.metric, self.annotation.context(backend, logits), constant).clean()

    def met(self, value: Fraction | None) -> bool:
        """Decide whether a value meets the threshold."""
        return value is not None and meets(self.metric, value, self.gamma, strict=self.strict)


@dataclass(frozen=True, slots=True)
class Question:
    """When an image counts as a counterfactual of another.

    Args:
        ways: an image counts where it meets every condition of one of these.
        norm: in which distances are measured.
        constant: the Lipschitz constant from that norm to the l2 norm of the logits.
        lower: no image nearer than this counts, whatever it is; math.inf where none does. Rounded down.
        text: in words.
        backend: evaluates metrics.
    """

    ways: tuple[tuple[Condition, ...], ...]
    norm: Norm
    constant: Constant
    lower: Value
    text: str
    backend: Backend

    def met(self, logits: Tensor) -> list[bool]:
        """Decide for each of some images, by their logits [B, K, H, W] or [B, K], whether it counts.

        An image whose logits are not finite does not.
        """
        maps = as_maps(logits)
        usable = Context(self.backend, maps, None, None).finite()
        maps = torch.where(torch.tensor(usable)[:, None, None, None], maps, 0.0)
        found = [False] * len(maps)
        for way in self.ways:
            values = [c.values(self.backend, maps, self.constant) for c in way]
            for i, row in enumerate(zip(*values, strict=True)):
                found[i] |= usable[i] and all(c.met(v) for c, v in zip(way, row, strict=True))
        return found


def as_maps(logits: Tensor) -> Tensor:
    """View one row of scores per image, [B, K], as maps of one pixel, [B, K, 1, 1]; maps are left as they are."""
    return logits[:, :, None, None] if logits.ndim == 2 else logits


def objective_of(prop: Property, requirement: Requirement | None, point: int, where: str) -> Objective:
    """Say which condition an image has to meet to be a counterfactual to a property.

    Args:
        prop: the property.
        requirement: of a property with a budget, the one to be violated, read of one image; None: the first that
            speaks of single images, else the first.
        point: which swept threshold.
        where: for messages.

    Returns:
        What a property `degraded when` calls degraded; of a worst case, the opposite of what is required of it.

    Raises:
        NoQuestion: E0852, the metric is pooled or the norm is not searched.
    """
    query = prop.query
    if query.norm not in (L2, LINF):
        raise NoQuestion(
            where, f"counterfactuals are searched for in l2 and linf, not in {query.norm}", "ask in l2 or linf"
        )
    if any(isinstance(metric.plan, Ranked) for metric in metrics_of(query)):
        raise NoQuestion(
            where, "a metric of ranked scores is one number for all images together", "`robspec check` bounds it"
        )
    if any(metric.of_data_set for metric in metrics_of(query)):
        raise NoQuestion(
            where, "a pooled metric is one number for all images together", "ask of the metric without `pooled`"
        )
    if isinstance(query, RadiusQuery):
        return query.objectives[point]
    chosen = requirement or _first(prop.requirements)
    # Violated by what does not satisfy it: the opposite of `>=` is `<`, in the metric's own sense.
    return Degraded(query.metric, Threshold(chosen.bound), strict=not chosen.relation.strict)


def _first(requirements: Sequence[Requirement]) -> Requirement:
    alone = [r for r in requirements if r.aggregate.value in ("fraction", "min")]
    return (alone or list(requirements))[0]


def ask(
    objective: Objective,
    norm: Norm,
    constant: Constant,
    logits: Sequence[Tensor],
    annotation: Annotation,
    backend: Backend,
    classes: tuple[str, ...],
    where: str,
    text: str = "",
) -> Question:
    """Put a question about one image.

    Args:
        objective: what a counterfactual meets.
        norm: in which distances are measured.
        constant: Lipschitz constant from that norm to the logits, rounded up.
        logits: of the image, [1, K, H, W] or [1, K], once for each arithmetic the answer has to hold in; the first
            is the one it is asked in.
        annotation: of the image.
        backend: computes bounds.
        classes: their names.
        where: the image, for messages.
        text: the objective in words; by default as the compiler prints it.

    Returns:
        The question, with the smallest of the lower bounds that the logits give, by the bounds of `check`.

    Raises:
        AlreadyViolated: E0851, the image itself meets the objective.
        NoQuestion: E0852, the metric is undefined on the image.
        NonFiniteLogitsError: E0401.

    Source: MATH.md sections 2 and 3.
    """
    query = RadiusQuery(norm, (objective,))
    prop = Property("counterfactual", query, ())
    text = text or objective_text(objective, classes)
    radii = []
    for found in logits:
        context = annotation.context(backend, as_maps(found))
        refuse_non_finite(context, (where,))
        (answer,) = BatchEvaluator(context, (where,)).answer(prop, constant)
        radii.append(answer.certified[0])
        if answer.attained[0] == 0:
            raise AlreadyViolated(
                where,
                f"{text} holds for the image itself, where {_clean(objective, context, constant)}: the nearest is at "
                "distance 0 and q is undefined",
                "choose another image or another threshold",
            )
    known = [r for r in radii if r is not None]
    if len(known) < len(radii) or not known:
        raise NoQuestion(
            where, f"{text} is undefined on this image", "choose an image on which the metric is defined"
        )
    first = annotation.context(backend, as_maps(logits[0]))
    ways = tuple(_ways(objective, first, annotation, constant))[:_MOST_WAYS]
    return Question(ways, norm, constant, min(known), text, backend)


def _clean(objective: Objective, context: Context, constant: Constant) -> str:
    metrics = dict.fromkeys(metrics_of(RadiusQuery(L2, (objective,))))
    (values,) = zip(*(open_bound(m, context, constant).clean() for m in metrics), strict=True)
    return ", ".join(
        f"{m.name} = {'undefined' if v is None else f'{float(v):.6g}'}" for m, v in zip(metrics, values, strict=True)
    )


def _ways(
    objective: Objective, context: Context, annotation: Annotation, constant: Constant
) -> list[tuple[Condition, ...]]:
    """The alternatives of a combination, each a conjunction; what is undefined on the image cannot be met."""
    if isinstance(objective, Degraded):
        found = _fixed(objective, context, annotation, constant)
        return [] if found is None else [(found,)]
    parts = [_ways(part, context, annotation, constant) for part in objective.parts]
    if isinstance(objective, AllOf):
        return [tuple(c for way in ways for c in way) for ways in product(*parts)]
    return [way for ways in parts for way in ways]


def _fixed(objective: Degraded, context: Context, annotation: Annotation, constant: Constant) -> Condition | None:
    """Put the clean value, and where it is compared with it the clean prediction, into a condition."""
    metric = objective.metric
    (clean,) = open_bound(metric, context, constant).clean()
    if clean is None:
        return None
    gamma = objective.threshold.at(clean)
    if not isinstance(unweighted(metric.plan), Stability):
        return Condition(metric, gamma, objective.strict, annotation)
    seen = tensor(context.seen(metric, annotated=False))
    labels = predictions(tensor(context.logits))
    if seen is not None:
        labels = torch.where(seen == LEFT_OUT, LEFT_OUT, labels)
    plan = Weighted(Accuracy()) if metric.weighted else Accuracy()
    against = replace(metric, name="stability", plan=plan, region=(), region_mask=False)
    return Condition(against, gamma, objective.strict, Annotation(labels, LEFT_OUT, None, annotation.weights))


def predictions(logits: Tensor) -> Tensor:
    """Give the predicted classes, int64 [B, H, W], of logits [B, K, H, W]: the first index of the maximum."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
