"""Ratios pooled over images, each with a budget of its own (MATH.md 3.E)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Pooled
from robspec.ir.types import Degraded, Metric
from robspec.oracle import ratio
from robspec.oracle.compare import BUDGET_TOLERANCE, EQUAL, Comparison, Subject, shown
from robspec.oracle.moves import SLACK, Moves, Reach, affordable, cheapest_across, pay
from robspec.oracle.scene import IntArray, Scene, counts, defined, ratio_value, worst_of

_UNSOLVED = "the solver gave no answer in time; what it found does not contradict the bound"


def clean_value(metric: Metric, scenes: Sequence[Scene]) -> Fraction | None:
    """The pooled value of the clean predictions, None where the annotation does not define it."""
    values = [value_of(part, scenes, [s.predicted for s in scenes]) for part in parts_of(metric, scenes)]
    known = [v for v in values if v is not None]
    return sum(known, Fraction(0)) / len(known) if known and len(known) == len(values) else None


def worst_case(
    subject: Subject, metric: Metric, scenes: Sequence[Scene], reach: Fraction, eps: str, bound: Fraction | None
) -> Comparison:
    """Compare a certified pooled worst case with its optimum over the same images.

    Args:
        subject: for the report.
        metric: of the pooled family.
        scenes: the images.
        reach: L eps, exact.
        eps: as the report shows it.
        bound: the certified value over exactly these images.

    Returns:
        The comparison. An average over classes is compared with the mean of the classes' optima, as it is defined.
    """
    began = time.perf_counter()
    low, high, size = _bracket(metric, scenes, reach)
    sign = -1 if metric.lower_is_better else 1
    note = ""
    agreed: bool | None = True
    clean = clean_value(metric, scenes)
    if bound is None or clean is None:
        agreed = bound is None and clean is None
        note = "undefined" if agreed else "only one is defined"
    elif low is not None and sign * bound > sign * low:
        note, agreed = "the bound is UNSOUND: attacks within the budgets attain worse", False
    elif low is None or high is None:
        note, agreed = _UNSOLVED, None
    elif sign * bound < sign * high:
        note, agreed = f"the bound is looser than the optimum {shown(high)} of larger budgets", False
    return Comparison(
        image=subject.image,
        property=subject.property,
        what=f"{subject.part}: pooled worst case at eps = {eps}",
        method=f"integer programs by bisection on the value, HiGHS, {size} moves",
        direction=EQUAL,
        tolerance=BUDGET_TOLERANCE,
        bound=shown(bound),
        optimum="not solved" if low is None and agreed is None else shown(low),
        agreed=agreed,
        seconds=time.perf_counter() - began,
        note=note,
    )


def radius(
    subject: Subject,
    objective: Degraded,
    scenes: Sequence[Scene],
    constant: Fraction,
    bound: Reach | None,
    rounding: Fraction = Fraction(0),
) -> Comparison:
    """Compare a certified pooled radius with the optima at it and just beyond it; see `compare.radius`."""
    began = time.perf_counter()
    metric, size = objective.metric, 0
    clean = clean_value(metric, scenes)
    note = ""
    agreed: bool | None = True
    if bound is None or clean is None:
        agreed = bound is None and clean is None
        note = "undefined" if agreed else "only one is defined"
    elif _meets(objective, clean, clean):
        agreed = bound == 0
        note = "" if agreed else "the bound is UNSOUND: the clean images meet the objective"
    else:
        reach = bound if isinstance(bound, float) else bound * constant + rounding
        if bound != 0:
            low, _, size = _bracket(metric, scenes, reach)
            if low is None:
                note, agreed = _UNSOLVED, None
            elif _meets(objective, clean, low):
                note, agreed = "the bound is UNSOUND: attacks within the radius meet the objective", False
        if agreed and not isinstance(bound, float):
            beyond = (max(bound, Fraction(1, 2**400)) * constant + rounding) * (1 + Fraction(SLACK))
            _, high, size = _bracket(metric, scenes, beyond)
            if high is None:
                note, agreed = _UNSOLVED, None
            elif not _meets(objective, clean, high):
                note, agreed = f"the bound is looser than the optimum: nothing {SLACK:g} beyond it meets it", False
    return Comparison(
        image=subject.image,
        property=subject.property,
        what=f"{subject.part}: pooled radius",
        method=f"integer programs by bisection on the value, HiGHS, {size} moves",
        direction=EQUAL,
        tolerance=BUDGET_TOLERANCE,
        bound=shown(bound),
        optimum="not solved" if agreed is None else shown(bound) if agreed else "",
        agreed=agreed,
        seconds=time.perf_counter() - began,
        note=note,
    )


def _meets(objective: Degraded, clean: Fraction, reached: Fraction) -> bool:
    gamma = objective.threshold.at(clean)
    if objective.metric.lower_is_better:
        reached, gamma = -reached, -gamma
    return reached < gamma if objective.strict else reached <= gamma


def parts_of(metric: Metric, scenes: Sequence[Scene]) -> list[Metric]:
    """The ratios that a pooled metric is, or is the mean of: of a mean those that the annotation defines."""
    parts = metric.each(scenes[0].classes)
    if isinstance(metric.plan, Pooled):
        return list(parts)
    return [p for p in parts if any(bool((s.counted(p) & np.isin(s.labels, p.classes)).any()) for s in scenes)]


def _cells(metric: Metric, scene: Scene, found: IntArray) -> tuple[int, int, int, int]:
    seen = scene.counted(metric)
    return counts(scene.labels[seen], found[seen], metric.classes)


def value_of(metric: Metric, scenes: Sequence[Scene], found: Sequence[IntArray]) -> Fraction | None:
    """A pooled ratio where these classes are predicted, None where it is undefined.

    Args:
        metric: one ratio.
        scenes: the images.
        found: int64 [N], of each.
    """
    cells = [_cells(metric, s, f) for s, f in zip(scenes, found, strict=True)]
    tp, fp, fn, tn = (sum(c[i] for c in cells) for i in range(4))
    return ratio_value(metric, (tp, fp, fn, tn)) if _has_worst(metric) else _quotient(metric, (tp, fp, fn, tn))


def _has_worst(metric: Metric) -> bool:
    return metric.worst is not None


def _quotient(metric: Metric, cells: tuple[int, int, int, int]) -> Fraction | None:
    return metric.formula.ratio.at(*cells) if defined(metric, cells) else None


def _bracket(metric: Metric, scenes: Sequence[Scene], reach: Reach) -> tuple[Fraction | None, Fraction | None, int]:
    """The value exact attacks attain, the value of larger budgets (None when not optimal), and the program's size."""
    lows: list[Fraction] = []
    highs: list[Fraction | None] = []
    size = 0
    every = [affordable(s, reach) for s in scenes]
    for part in parts_of(metric, scenes):
        if value_of(part, scenes, [s.predicted for s in scenes]) is None:
            return None, None, size
        moves = [_useful(part, s, m) for s, m in zip(scenes, every, strict=True)]
        size += sum(map(len, moves))
        wide = _settled(part, scenes, moves, 1 + SLACK)
        made = _settled(part, scenes, moves, 1.0)
        if made is None:
            return None, None, size
        paid = [pay(s, m, reach).found for s, m in zip(scenes, made[0], strict=True)]
        lows.append(_or_worst(part, value_of(part, scenes, paid)))
        if wide is None or not wide[1]:
            highs.append(None)
        else:
            highs.append(
                _or_worst(part, value_of(part, scenes, [_after(s, m) for s, m in zip(scenes, wide[0], strict=True)]))
            )
    if not lows:
        return None, None, size
    known = [h for h in highs if h is not None]
    high = sum(known, Fraction(0)) / len(known) if len(known) == len(highs) else None
    return sum(lows, Fraction(0)) / len(lows), high, size


def _or_worst(metric: Metric, found: Fraction | None) -> Fraction:
    return worst_of(metric) if found is None else found


def _useful(metric: Metric, scene: Scene, moves: Moves) -> Moves:
    """True positives that can leave and true negatives that can enter."""
    inside, ahead = np.isin(scene.labels, metric.classes), np.isin(scene.predicted, metric.classes)
    every = cheapest_across(scene, moves, metric.classes)
    return every.only((scene.counted(metric) & (inside == ahead))[every.pixel])


def _after(scene: Scene, made: Moves) -> IntArray:
    found = scene.predicted.copy()
    found[made.pixel] = made.target
    return found


def _settled(
    metric: Metric, scenes: Sequence[Scene], moves: Sequence[Moves], budget: float
) -> tuple[list[Moves], bool] | None:
    """The moves of every image that bring the pooled value to its worst, and whether the solver claims optimality."""
    start = value_of(metric, scenes, [s.predicted for s in scenes])
    if start is None:
        return None
    best: list[Moves] = [m.only(np.zeros(len(m), dtype=np.bool_)) for m in moves]

    def attempt(price: Fraction) -> tuple[Fraction, bool] | None:
        made, optimal = [], True
        for scene, own in zip(scenes, moves, strict=True):
            inside = np.isin(scene.labels, metric.classes)[own.pixel]
            found = ratio.program(own, ratio.gains(metric, scene, own, price), inside, budget, thorough=False)
            if found is None:
                return None
            optimal &= found.optimal
            made.append(own.only(found.taken.astype(np.bool_)))
        reached = _or_worst(
            metric, value_of(metric, scenes, [_after(s, m) for s, m in zip(scenes, made, strict=True)])
        )
        if reached > price if metric.lower_is_better else reached < price:
            best[:] = made
        return reached, optimal

    settled = ratio.settle(metric, start, attempt)
    if settled is None:
        return None
    emptied = [m.only(np.isin(s.labels, metric.classes)[m.pixel]) for s, m in zip(scenes, moves, strict=True)]
    if _has_worst(metric) and all(not m.shared or float(m.share.sum()) <= budget for m in emptied):
        # A quotient of 1 does not fall with either sum until both are 0: no price shows that it then is the worst.
        reached = value_of(metric, scenes, [_after(s, m) for s, m in zip(scenes, emptied, strict=True)])
        if reached == worst_of(metric):
            return emptied, True
    return best, settled
