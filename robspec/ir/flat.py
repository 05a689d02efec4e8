"""A metric as saved programs and certificates write it: one flat row of fields, whatever its plan."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from robspec.ir.plans import (
    Accuracy,
    Attacked,
    Components,
    Formula,
    Mean,
    MeanRate,
    Measure,
    Objects,
    OverCounts,
    Plan,
    Pooled,
    PooledComponents,
    PooledMean,
    PooledObjects,
    Precisions,
    Quotient,
    Ranked,
    Rate,
    Stability,
    Sum,
    Weighted,
    unweighted,
)
from robspec.ir.types import Metric
from robspec.semantics.classify import Flip
from robspec.semantics.formula import Polynomial, Ratio

_MISLABELLED = "mislabelled"
_COMPONENTS = "components"
_FREQUENCY = {"uniform": False, "frequency": True}


@dataclass(frozen=True, slots=True)
class Flat:
    """The fields of a metric in the order they are written in; those a plan has no use for are empty.

    Args:
        name: as of `Metric`.
        classes: of the plan.
        arguments: as of `Metric`.
        lower_is_better: as of `Metric`.
        formula: the metric's text.
        family: of the plan.
        items: "correct" or "predicted" for accuracies and stability, the flips of a rate, the measure of scores,
            "mislabelled" of objects, "components" of pooled parts of masks.
        ratio: of the formula over counts.
        average: "uniform" or "frequency" for means over classes.
        parts: of a sum.
        defined: of the formula over counts.
        worst_when_undefined: of the formula over counts.
        low: as of `Metric`.
        high: as of `Metric`.
        region: as of `Metric`.
        region_mask: as of `Metric`.
        weights: whether each pixel has a weight.
        asked: as of `Metric`.
        rank: of an accuracy, else 1.
        attack: whose scores are attacked.
        objects: whether it counts objects.
    """

    name: str
    classes: tuple[int, ...]
    arguments: tuple[Fraction, ...]
    lower_is_better: bool
    formula: str
    family: str
    items: str
    ratio: Ratio | None
    average: str
    parts: tuple[tuple[Fraction, Metric], ...]
    defined: Polynomial | None
    worst_when_undefined: bool
    low: Fraction | None
    high: Fraction | None
    region: tuple[int, ...]
    region_mask: bool
    weights: bool
    asked: tuple[int, ...]
    rank: int
    attack: str
    objects: bool


def flat(metric: Metric) -> Flat:
    """Write a metric's plan out as fields."""
    plan = metric.plan
    bare = unweighted(plan)
    formula = bare.formula if isinstance(bare, OverCounts) else None
    average = ""
    if isinstance(plan, PooledMean):
        average = "uniform"
    elif isinstance(plan, MeanRate | Mean):
        average = "frequency" if plan.frequency else "uniform"
    return Flat(
        name=metric.name,
        classes=metric.classes,
        arguments=metric.arguments,
        lower_is_better=metric.lower_is_better,
        formula=metric.text,
        family=plan.family,
        items=_items(bare),
        ratio=None if formula is None else formula.ratio,
        average=average,
        parts=plan.parts if isinstance(plan, Sum) else (),
        defined=None if formula is None else formula.defined,
        worst_when_undefined=metric.worst_when_undefined,
        low=metric.low,
        high=metric.high,
        region=metric.region,
        region_mask=metric.region_mask,
        weights=metric.weighted,
        asked=metric.asked,
        rank=bare.rank if isinstance(bare, Accuracy) else 1,
        attack=bare.attacked.value if isinstance(bare, Ranked) and bare.attacked is not None else "",
        objects=isinstance(plan, Objects | PooledObjects | Precisions),
    )


def _items(plan: Plan) -> str:
    match plan:
        case Accuracy():
            return "correct"
        case Stability():
            return "predicted"
        case Rate():
            return plan.flips.value
        case Ranked():
            return plan.measure.value
        case Objects(mislabelled=True) | PooledObjects(mislabelled=True):
            return _MISLABELLED
        case PooledComponents():
            return _COMPONENTS
        case _:
            return ""


def unflattened(fields: Flat) -> Metric | None:
    """Read the metric back; None where the fields are not what `flat` writes of any."""
    plan = _plan(fields)
    if plan is None:
        return None
    found = Metric(
        fields.name,
        plan,
        arguments=fields.arguments,
        lower_is_better=fields.lower_is_better,
        text=fields.formula,
        low=fields.low,
        high=fields.high,
        region=fields.region,
        region_mask=fields.region_mask,
        asked=fields.asked,
    )
    return found if flat(found) == fields else None


def _plan(of: Flat) -> Plan | None:
    formula = None if of.ratio is None else Formula(of.ratio, of.defined, of.worst_when_undefined)
    counted = _counted(of, formula)
    match of.family:
        case "counting":
            return counted
        case "weighted" if of.weights:
            return None if counted is None else Weighted(counted)
        case "scores":
            return _ranked(of)
        case "detections":
            return Precisions(of.classes)
        case "components":
            return Components(of.classes)
        case "pooled" if of.items == _COMPONENTS:
            return PooledComponents(of.classes)
        case "macro" if of.parts:
            return Sum(of.parts) if all(isinstance(part.plan, Rate | Quotient) for _, part in of.parts) else None
    if formula is None:
        return None
    match of.family:
        case "weighted" if of.average in _FREQUENCY:
            return MeanRate(formula, of.classes, _FREQUENCY[of.average])
        case "macro" if of.average in _FREQUENCY:
            return Mean(formula, of.classes, _FREQUENCY[of.average])
        case "ratio":
            return Quotient(formula, of.classes)
        case "objects":
            return Objects(formula, of.classes, of.items == _MISLABELLED)
        case "pooled" if of.objects:
            return PooledObjects(formula, of.classes, of.items == _MISLABELLED)
        case "pooled":
            return PooledMean(formula, of.classes) if of.average else Pooled(formula, of.classes)
    return None


def _counted(of: Flat, formula: Formula | None) -> Accuracy | Stability | Rate | None:
    if of.items == "correct":
        return Accuracy(of.rank)
    if of.items == "predicted":
        return Stability()
    flips = next((f for f in Flip if f.value == of.items), None)
    return None if flips is None or formula is None else Rate(formula, of.classes, flips)


def _ranked(of: Flat) -> Ranked | None:
    measure = next((m for m in Measure if m.value == of.items), None)
    attacked = next((a for a in Attacked if a.value == of.attack), None)
    return None if measure is None else Ranked(measure, attacked)
