"""Verdicts about the function over the reals: rounding is one more adversary, whose budget adds to L eps.

What a bound is asked is a budget larger by delta / L, and of a radius so much is taken off again; nothing that prices
flips needs to know. What images attain is judged in their favour: a class that is level within delta may be meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from robspec import arrays
from robspec.arrays import Array
from robspec.bounds.context import Context
from robspec.bounds.settled import Order, settled
from robspec.errors import RobspecError, SoundnessAlarm
from robspec.ir.plans import Mean, Objects, PooledMean, PooledObjects, Precisions, Ranked
from robspec.ir.types import Metric, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.lipschitz import directed
from robspec.lipschitz.rounding.errors import NoRoundingRule
from robspec.semantics.constant import Constant, ConstantStatus, power_up
from robspec.semantics.norm import Norm
from robspec.verify.errors import NotProvableError, OptionValueError
from robspec.verify.result import Value

if TYPE_CHECKING:
    import torch

    from robspec.function.program import AnyProgram
    from robspec.lipschitz.rounding.statement import Statement

_AVERAGES = (Mean, PooledMean)
_FAR = 1e308
_NEGLIGIBLE = Fraction(1, 2**400)
_EXACT = "say --arithmetic exact: the forward pass is then taken as exact, and the report says so"


def rounding_of(
    program: Program, graph: AnyProgram, kind: str = "real", boxes: AnyProgram | None = None
) -> Statement:
    """Bound how far float64 logits may be from those that a verdict is about.

    Args:
        program: the compiled specification.
        graph: the exported program the logits come from.
        kind: "real" or "deployed".
        boxes: of a detector, the exported program its boxes come from; else None.

    Raises:
        NoRoundingRule: E0507, some operation has no bound on its rounding.
        NotProvableError: E0403, some operation has no l2 constant.
    """
    # What only proofs need is imported for them.
    from robspec.lipschitz.rounding.cache import cached
    from robspec.lipschitz.rounding.statement import state
    from robspec.models.kernels import keeps_subnormals

    if not keeps_subnormals():
        raise NotProvableError(
            "torch.set_flush_denormal(True)",
            "numbers below the normal ones become 0, which no bound of rounding allows for",
            "call torch.set_flush_denormal(False)",
        )
    try:
        return state(program, graph, kind, cached, boxes)
    except SoundnessAlarm:
        raise
    except NoRoundingRule as refusal:
        raise NoRoundingRule(refusal.where, refusal.what, _EXACT) from refusal
    except RobspecError as refusal:
        what = f"nothing is known of the rounding of the forward pass: {refusal.what} ({refusal.code})"
        raise NotProvableError(refusal.where, what, _EXACT) from refusal


def statement(program: Program, graph: AnyProgram, boxes: AnyProgram | None, unreal: str = "") -> tuple[str, str]:
    """Choose what verdicts are about where nobody asked for one or the other.

    Args:
        program: the compiled specification.
        graph: the exported program the logits come from.
        boxes: of a detector, the program its boxes come from; else None.
        unreal: why nothing about the reals can be had in any case; or empty.

    Returns:
        "real" and nothing; or "exact", and why no rounding is proved.
    """
    try:
        if not unreal:
            rounding_of(program, graph, boxes=boxes)
    except (NoRoundingRule, NotProvableError) as refusal:
        unreal = f"{refusal.what}, {refusal.where}"
    return ("exact", unreal) if unreal else ("real", "")


def with_rounding(constants: Sequence[Constant], delta: Fraction) -> tuple[Constant, ...]:
    """Put the rounding of the logits beside each constant that speaks of them.

    Raises:
        OptionValueError: E0601, a constant is assumed: of a graph that has none nothing is known of its rounding.
    """
    if any(c.status is ConstantStatus.ASSUMED for c in constants):
        raise OptionValueError(
            "--arithmetic",
            "a constant that is assumed says nothing of rounding",
            "leave out --assume-lipschitz, or say --arithmetic exact",
        )
    return tuple(c if c.status is ConstantStatus.SAMPLED else replace(c, rounding=delta) for c in constants)


def asked(prop: Property, constant: Constant) -> tuple[Property, Constant]:
    """Say what a bound is asked, so that what it certifies holds of the function over the reals.

    Args:
        prop: a property.
        constant: of the property, with the rounding of its logits, and of boxes.

    Returns:
        The same where nothing is rounded. Else budgets and a constant whose products are at least L eps + delta, and
        of boxes the same.
    """
    if not _rounded(constant) or not isinstance(prop.query, WorstCaseQuery):
        return prop, bare(constant)
    still = not constant.value and not constant.boxes
    shift = reach(constant)
    budgets = tuple((Fraction(0) if still else eps) + shift for eps in prop.query.budgets)
    return replace(prop, query=replace(prop.query, budgets=budgets)), bare(constant)


def bare(constant: Constant) -> Constant:
    """Give the constant that bounds are asked with: without rounding, and never 0 where something is rounded.

    Beside rounding a constant that is out of all proportion is made larger, which keeps quotients within doubles. Of
    the rounding of coarse logits is left what a budget for that of full-size ones does not hold already.
    """
    if not _rounded(constant):
        return constant
    value, boxes = _slopes(constant)
    found = replace(constant, rounding=Fraction(0), boxes_rounding=Fraction(0), value=value, boxes=boxes)
    if constant.coarse is None:
        return replace(found, coarse_rounding=Fraction(0))
    left = constant.coarse_rounding - constant.coarse * reach(constant)
    return replace(found, coarse_rounding=max(left, Fraction(0)))


def _slopes(constant: Constant) -> tuple[Fraction, Fraction]:
    """The constants of `bare`, of logits and of boxes."""
    value, boxes = _beside(constant.value, constant.rounding), _beside(constant.boxes, constant.boxes_rounding)
    if not constant.value and not constant.boxes:
        value, boxes = (Fraction(1) if part else part for part in (constant.rounding, constant.boxes_rounding))
    elif not constant.boxes and constant.boxes_rounding:
        # In proportion to the scores, so that what is added to a budget is no more than these need.
        boxes = constant.boxes_rounding / max(constant.rounding / value, _NEGLIGIBLE)
    elif not constant.value and constant.rounding:
        value = constant.rounding / max(constant.boxes_rounding / boxes, _NEGLIGIBLE)
    return value, boxes


def lessened(radius: Value | None, constant: Constant) -> Value | None:
    """Take from a radius what rounding may use up; of a constant network all or nothing.

    Args:
        radius: as certified with what `asked` gave.
        constant: of the property.

    Returns:
        A radius of the function over the reals, 0 at least.
    """
    if not _rounded(constant) or radius is None or isinstance(radius, float):
        return radius
    left = max(radius - reach(constant), Fraction(0))
    return left if constant.value or constant.boxes or not left else float("inf")


def reach(constant: Constant) -> Fraction:
    """Rounding as a budget of what `bare` gives: a distance of images, rounded up to a double."""
    slopes = _slopes(constant)
    parts = zip((constant.rounding, constant.boxes_rounding), slopes, strict=True)
    return Fraction(directed.ceil_float(max((off / slope for off, slope in parts if off), default=Fraction(0))))


def shift(constant: Constant) -> Fraction:
    """Rounding as a budget, 0 where nothing is rounded."""
    return reach(constant) if _rounded(constant) else Fraction(0)


def _rounded(constant: Constant) -> bool:
    return bool(constant.rounding or constant.boxes_rounding or constant.coarse_rounding)


def _beside(value: Fraction, rounding: Fraction) -> Fraction:
    return max(value, rounding * _NEGLIGIBLE) if value else value


def in_favour(context: Context, metric: Metric, constant: Constant, settled: Array | None = None) -> Context:
    """Give logits by which a metric is worth at least what it is over the reals, whatever rounding did.

    Args:
        context: what was computed of images of pixels, or of scores.
        metric: not of a detector's objects, and no sum of formulas, whose parts have logits of their own.
        constant: with the rounding of the logits.
        settled: bool [B, H, W], pixels that are right in any case; or None.

    Returns:
        The same where nothing is rounded. Averages over classes see one more class that nothing is annotated with.
    """
    if not constant.rounding:
        return context
    if isinstance(metric.plan, Ranked):
        return context.of(_apart(context.logits, context.labels, constant.rounding))
    found = favourable(context.logits, context.labels, constant.rounding, metric, settled)
    return context if found is context.logits else context.of(found)


def plane_in_favour(metric: Metric, plane: tuple[int, int, int], constant: Constant) -> tuple[int, int, int]:
    """Give the plane of the logits of `in_favour`: averages over classes may see one class more.

    Args:
        metric: of a data set.
        plane: channels and sides of the plane of items of an image.
        constant: with the rounding of the logits.
    """
    wider = bool(constant.rounding) and isinstance(metric.plan, _AVERAGES) and plane[0] > 1
    return (plane[0] + wider, *plane[1:])


def objects_settled(context: Context, metric: Metric, constant: Constant) -> list[bool]:
    """Tell of which images rounding decides nothing of what a detector finds.

    Args:
        context: the images, with their scores, boxes and objects.
        metric: of objects.
        constant: with the rounding of scores and boxes.
    """
    detector, scenes = context.detections()
    if not _rounded(constant):
        return [True] * len(scenes)
    off = (constant.rounding, constant.boxes_rounding)
    overlaps = metric.arguments if isinstance(metric.plan, Precisions) and off[1] else (detector.overlap,)
    readings = [replace(detector, overlap=overlap) for overlap in overlaps]
    return [
        all(context.counted(("settled", i, r.overlap, *off), partial(settled, scene, r, *off)) for r in readings)
        for i, scene in enumerate(scenes)
    ]


class TogetherSettled:
    """Whether rounding decides nothing of what a detector finds on several images, and of the order of what it finds.

    Args:
        metric: of objects, of the data set.
        constant: with the rounding of scores and boxes.
    """

    def __init__(self, metric: Metric, constant: Constant) -> None:
        self._metric, self._constant = metric, constant
        self._each = True
        self._order = Order(constant.rounding) if isinstance(metric.plan, Precisions) else None

    def add(self, context: Context) -> None:
        """Read one batch."""
        if not _rounded(self._constant):
            return
        self._each &= all(objects_settled(context, self._metric, self._constant))
        if self._order is not None:
            detector, scenes = context.detections()
            for scene in scenes:
                self._order.add(scene, detector)

    def __bool__(self) -> bool:
        return self._each and (self._order is None or self._order.settled())


def best_of_objects(metric: Metric, clean: Fraction | None, objects: int, *, settled: bool) -> Fraction | None:
    """What a detector may be worth at most, whatever rounding did.

    Suppression is not monotone in the scores, so that no scores are better than all others: where rounding may decide
    something, it is the best there is.

    Args:
        metric: of objects.
        clean: as computed; None where the annotation leaves it undefined.
        objects: how many are annotated of its classes.
        settled: whether rounding decides nothing.
    """
    if clean is None or settled:
        return clean
    ends = [clean, Fraction(0) if metric.lower_is_better else Fraction(1)]
    if isinstance(metric.plan, Objects | PooledObjects):
        whole = metric.formula.ratio.at(objects, 0, 0, 0)
        ends += [] if whole is None else [whole]
    return min(ends) if metric.lower_is_better else max(ends)


def _apart(logits: Array, labels: Array | None, delta: Fraction) -> Array:
    """Move the scores of anomalies up and those of normal images down, as far as rounding allows."""
    if labels is None:
        raise ValueError("ranked scores need labels")
    found = arrays.doubles(logits)
    sign = np.where(arrays.host(labels).reshape(-1, *[1] * (found.ndim - 1)) == 1, 1.0, -1.0)
    moved = found + sign * directed.ceil_float(delta)
    return arrays.like(np.nextafter(moved, sign * np.inf), logits)


def undecided(logits: torch.Tensor, delta: Fraction) -> torch.Tensor:
    """Tell of which pixels rounding leaves the prediction open.

    Args:
        logits: [B, K, H, W], float64.
        delta: bound of the l2 norm of the error of one image's logits.

    Returns:
        bool [B, H, W].
    """
    reach = _near(delta)
    if logits.shape[1] == 1:
        return logits[:, 0].abs() <= reach
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return first - second <= reach


def pixels_off(program: Program, norm: Norm) -> Fraction:
    """How far an image as it is read may be from what its file means, in the norm, rounded up.

    Args:
        program: the compiled specification.
        norm: of the attack.
    """
    from robspec.lipschitz.rounding.images import stored_off

    model = program.model
    each = stored_off(max(abs(model.low), abs(model.high)))
    exponent = Fraction(0) if norm.p is None else 1 / norm.p
    return each * power_up(math.prod(model.input_shape), exponent)


def favourable(
    logits: Array,
    labels: Array | None,
    delta: Fraction,
    metric: Metric,
    settled: Array | None = None,
) -> Array:
    """Decide in favour of a metric wherever rounding leaves that open.

    Of a metric of a class set a pixel is right on its side of the set, whichever class it is taken for. Of an average
    over classes a pixel that cannot be right does least harm where it is taken for none of them.

    Args:
        logits: [B, K, H, W].
        labels: int64 [B, H, W], or None; other numbers than classes are passed over.
        delta: bound of the l2 norm of the error of one image's logits.
        metric: says which decisions help.
        settled: bool [B, H, W], where the label is decided for in any case; or None.

    Returns:
        Logits by which the metric is worth at least what it is over the reals, the very ones where nothing changes,
        else in float64; of an average over classes then with one more channel, of a pooled one in any case.
    """
    if labels is None:
        return logits
    # In double: what an average takes for none of its classes is farther away than shorter types reach.
    given = (arrays.doubles(logits), arrays.host(labels), None if settled is None else arrays.host(settled))
    found = _single(*given, delta) if logits.shape[1] == 1 else _several(*given, delta, metric)
    return logits if found is None else arrays.like(found, logits)


def _near(delta: Fraction) -> float:
    """How far apart two logits may be that are level within delta; one rounding is covered by the ninth digit."""
    return 2.0 * directed.ceil_float(delta) * (1.0 + 1e-9)


def _single(logits: FloatArray, labels: IntArray, settled: BoolArray | None, delta: Fraction) -> FloatArray | None:
    """`favourable` of a single logit, None where nothing changes."""
    near = np.abs(logits[:, 0]) <= _near(delta)
    near = near if settled is None else near | settled
    moved = near & ((labels == 0) | (labels == 1)) & ((logits[:, 0] > 0) != (labels == 1))
    if not moved.any():
        return None
    found: FloatArray = np.where(moved, np.where(labels == 1, 1.0, -1.0), logits[:, 0])[:, None]
    return found


def _several(
    logits: FloatArray, labels: IntArray, settled: BoolArray | None, delta: Fraction, metric: Metric
) -> FloatArray | None:
    """`favourable` of several logits, None where nothing changes."""
    classes = logits.shape[1]
    wrong = (labels >= 0) & (labels < classes) & (logits.argmax(axis=1) != labels)
    image, row, column = np.nonzero(wrong)
    rows, mine = logits[image, :, row, column], labels[image, row, column]
    top = rows.max(axis=1, initial=-np.inf)
    rank = min(metric.rank, classes)
    bar = top if rank == 1 else np.partition(rows, classes - rank, axis=1)[:, classes - rank]
    near = bar[:, None] - rows <= _near(delta)
    right = near[np.arange(len(mine)), mine]
    right = right if settled is None else right | settled[image, row, column]
    average = isinstance(metric.plan, _AVERAGES)
    chosen = np.where(right, mine, -1)
    if average:
        chosen = np.where((chosen < 0) & (near.sum(axis=1) > 1), classes, chosen)
    elif metric.classes:
        inside = np.isin(np.arange(classes), metric.classes)
        side = near & (inside[None] == inside[mine][:, None])
        chosen = np.where((chosen < 0) & side.any(axis=1), side.argmax(axis=1), chosen)
    moved = chosen >= 0
    if not moved.any() and not isinstance(metric.plan, PooledMean):
        return None
    nothing = np.full_like(logits[:, : int(average)], -_FAR)
    found = np.concatenate([logits, nothing], axis=1)
    raised = top + np.maximum(np.abs(top), 1.0)
    found[image[moved], chosen[moved], row[moved], column[moved]] = raised[moved]
    return found
