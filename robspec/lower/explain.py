"""Why a program's answers are what they are: formula, proof, family and algorithm of every metric it asks about."""

from __future__ import annotations

from collections.abc import Iterator

from robspec.ir import types as ir
from robspec.ir.print import metric_text, objective_text
from robspec.semantics.classify import Classified, P, Proof, Q, classify
from robspec.semantics.formula import Polynomial, Ratio, polynomial_text, ratio_text
from robspec.semantics.norm import L2, Norm, decimal_text
from robspec.tasks import Task

_ITEMS = {
    "correct": "correct pixels, each lost to its nearest other class",
    "predicted": "pixels, each lost by the class predicted on the clean image",
    "leave": "pixels of the class that are found, each leaving it (TP to FN)",
    "enter": "pixels of other classes, each entering the class (TN to FP)",
}
_A = {"pixel": "a pixel", "image": "an image", "object": "an object"}
_FLIPS = {"a": "a hit that is lost (TP to FN)", "b": "a false alarm (TN to FP)"}
_METHODS = {
    "counting": (
        "3.A",
        "as many of the cheapest flips as the budget pays",
        "exact over the logits within reach",
    ),
    "weighted": (
        "3.B",
        "the dual bound of the knapsack: which pixels to flip when they count differently",
        "a sound bound, not always attained",
    ),
    "ratio": (
        "3.C",
        "for each number of lost hits, the most false alarms the rest of the budget pays",
        "exact over the logits within reach",
    ),
    "macro": (
        "3.D",
        "the classes share the budget through a Lagrange multiplier",
        "a sound bound, not always attained",
    ),
    "scores": (
        "3.H",
        "every image moved as far as its ball allows, at once: no image's move hinders another's",
        "exact over the scores within reach",
    ),
    "components": (
        "3.I",
        "as many objects as the budget pays, each for the cheapest of its pixels until it is lost",
        "exact over the logits within reach, but for sets of classes, which are priced by pairs",
    ),
    "objects": (
        "DETECTION.md D2 and D3",
        "for each number of objects that vanish, the most detections the rest of the budget adds",
        "a sound bound, not always attained; by location, exact over the scores within reach",
    ),
    "detections": (
        "DETECTION.md D4",
        "at any thresholds, the objects certainly found and the detections that may be wrong",
        "a sound bound, not always attained",
    ),
    "pooled": (
        "3.E",
        "Dinkelbach over what each image can lose, confirmed at the end",
        "exact over the logits within reach",
    ),
}


def explain(program: ir.Program) -> str:
    """Explain every property of a program.

    Args:
        program: what `compile` made.

    Returns:
        Lines that each end with a newline.

    Source:
        MATH.md section 3.
    """
    return "".join(f"{line}\n" for block in program.properties for line in _property(block, program))


def _property(block: ir.Property, program: ir.Program) -> Iterator[str]:
    classes = program.model.classes
    yield f"property {block.name}"
    query = block.query
    if isinstance(query, ir.WorstCaseQuery):
        metrics = [query.metric]
    else:
        objective = query.objectives[0]
        metrics = list(dict.fromkeys(_leaves(objective)))
        yield f"  degraded: {objective_text(objective, classes)}"
        yield f"  {_combination(objective)}"
    task = program.model.task
    yield f"  {_costs(query.norm, task)}"
    for metric in metrics:
        yield from (f"  {line}" for line in _metric(metric, classes, task))


def _leaves(objective: ir.Objective) -> Iterator[ir.Metric]:
    if isinstance(objective, ir.Degraded):
        yield objective.metric
    else:
        for part in objective.parts:
            yield from _leaves(part)


def _combination(objective: ir.Objective) -> str:
    if isinstance(objective, ir.Degraded):
        return "radius: that of the one comparison (section 3.G)"
    word, pick = ("and", "largest") if isinstance(objective, ir.AllOf) else ("or", "smallest")
    return f"radius: the {pick} of those joined by `{word}`, a sound bound (section 3.F)"


def _costs(norm: Norm, task: Task) -> str:
    """The costs as the proof has them: a constant is proved into l2 on the logits, whatever the attack's norm."""
    through = "" if norm == L2 else f", and L goes from {norm} to l2"
    if task.scores:
        return f"costs: a score moves by at most L * eps, each image in its own ball{through} (section 3.H)"
    if task.objects:
        return (
            f"costs: squared distances of scores to the threshold, of all locations and classes of an image from one "
            f"(L * eps)^2{through} (DETECTION.md D2)"
        )
    shared = "all pixels of an image share" if task.item == "pixel" else "each image has"
    return (
        f"costs: squared l2 distances of logits, of each {task.item} exact; {shared} (L * eps)^2{through} (section 2)"
    )


def _metric(metric: ir.Metric, classes: tuple[str, ...], task: Task) -> Iterator[str]:
    yield f"metric {metric_text(metric, classes)}, {'lower' if metric.lower_is_better else 'higher'} is better"
    if metric.parts:
        yield f"  formula: {metric.formula}"
        for weight, part in metric.parts:
            name = ratio_text(part.ratio, f"[{', '.join(classes[k] for k in part.classes)}]") if part.ratio else ""
            yield f"  part: {decimal_text(weight)} times {name}"
            yield from (f"    {line}" for line in _proof(part.ratio, lower=metric.lower_is_better))
            yield f"    defined: {_defined(part.defined)}"
    elif metric.average:
        weights = "each with its share of the annotated pixels" if metric.average == "frequency" else "all alike"
        which = ", ".join(classes[k] for k in metric.classes) or "every class"
        found = "data" if metric.family == "pooled" else "annotation of an image"
        yield f"  formula: the mean over the classes in the {found} ({which}), {weights}, of"
        yield f"    {_text(metric.ratio)}"
        yield from (f"  {line}" for line in _proof(metric.ratio, lower=metric.lower_is_better))
    elif metric.ratio is not None:
        yield f"  formula: {_text(metric.ratio)}"
        yield from (f"  {line}" for line in _proof(metric.ratio, lower=metric.lower_is_better))
    else:
        yield f"  formula: {metric.formula}"
    if metric.items in _ITEMS:
        counted = _ITEMS[metric.items]
        if metric.rank > 1:
            counted = f"correct pixels, each lost once {metric.rank} other classes are level with its own"
        yield f"  counts: {counted.replace('pixel', task.item)}"
    yield from _pixels(metric, classes)
    yield f"  defined: {_whole_defined(metric).replace('a pixel is annotated', f'{_A[task.item]} is annotated')}"
    if metric.worst_when_undefined:
        yield "  an attack can make the divisor 0: that counts as the worst value"
    if metric.low is not None and metric.high is not None:
        yield f"  values: from {decimal_text(metric.low)} to {decimal_text(metric.high)}, by the coefficients"
    section, method, kind = _METHODS[metric.family]
    if metric.family == "pooled" and metric.average:
        method, kind = "the mean of the pooled worst cases of the classes", _METHODS["macro"][2]
    if metric.objects and metric.family == "pooled":
        section, kind = "3.E and DETECTION.md D3", _METHODS["objects"][2]
    yield f"  family: {metric.family} ({section if 'DETECTION' in section else f'section {section}'})"
    yield f"  algorithm: {method}; {kind}"


def _text(ratio: Ratio | None) -> str:
    return "" if ratio is None else ratio_text(ratio)


def _pixels(metric: ir.Metric, classes: tuple[str, ...]) -> Iterator[str]:
    if metric.region:
        yield f"  pixels: those annotated as {', '.join(classes[k] for k in metric.region)}"
    if metric.region_mask:
        yield "  pixels: those that are not 0 in the region file"
    if metric.weights:
        yield "  pixels: each counts with its weight"


def _defined(polynomial: Polynomial | None) -> str:
    needed = {None: "a pixel is annotated", P: "TP + FN > 0", Q: "FP + TN > 0", P * Q: "TP + FN > 0 and FP + TN > 0"}
    return f"where {needed[polynomial]}, which no attack changes"


def _whole_defined(metric: ir.Metric) -> str:
    if metric.family == "components":
        return "where a pixel of the class is annotated, which no attack changes"
    if metric.family == "objects" and metric.defined is None:
        return "on every image"
    if metric.family == "pooled":
        return "for the data set as a whole; no image is left out"
    if metric.family == "detections":
        return "for the data set as a whole, if it holds an object of the classes"
    if metric.family == "scores":
        return "for the data set as a whole, if it holds both sides"
    if metric.parts:
        return "where every part is"
    if metric.average:
        return "where one of the classes is annotated"
    if metric.items == "predicted":
        return "on every image" + (" with a pixel of the region" if metric.region or metric.region_mask else "")
    return _defined(metric.defined)


def _proof(ratio: Ratio | None, *, lower: bool) -> Iterator[str]:
    """The sign of the derivative along each kind of flip."""
    found = None if ratio is None else classify(ratio, lower_is_better=lower)
    if not isinstance(found, Classified):
        return
    sign = "never negative" if lower else "never positive"
    for slope in found.slopes:
        if slope.proof is Proof.ZERO:
            yield f"{_FLIPS[slope.move]}: changes nothing"
        else:
            shown = polynomial_text(slope.numerator)
            yield f"{_FLIPS[slope.move]}: the slope has the sign of {shown}, {sign}: {slope.proof.value}"
