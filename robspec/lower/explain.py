"""Why a program's answers are what they are: formula, proof, family and algorithm of every metric it asks about."""

from __future__ import annotations

from collections.abc import Iterator

from robspec.ir import types as ir
from robspec.ir.plans import (
    Accuracy,
    Components,
    Mean,
    MeanRate,
    Objects,
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
    unweighted,
)
from robspec.ir.print import metric_text, objective_text, privacy_text
from robspec.semantics.classify import Classified, Flip, P, Proof, Q, classify
from robspec.semantics.formula import Polynomial, Ratio, polynomial_text, ratio_text
from robspec.semantics.norm import L2, Norm, decimal_text
from robspec.semantics.smoothing import Smoothing
from robspec.tasks import Task

_A = {"pixel": "a pixel", "image": "an image", "object": "an object"}
_FLIPS = {"a": "a hit that is lost (TP to FN)", "b": "a false alarm (TN to FP)"}


def explain(program: ir.Program) -> str:
    """Explain every property of a program.

    Args:
        program: what `compile` made.

    Returns:
        Lines that each end with a newline.

    Source:
        MATH.md section 3.
    """
    lines = [] if program.privacy is None else list(_privacy(program.privacy))
    lines += [line for block in program.properties for line in _property(block, program)]
    return "".join(f"{line}\n" for line in lines)


def _privacy(privacy: ir.Privacy) -> Iterator[str]:
    yield "privacy"
    yield f"  {privacy_text(privacy)}: for any set of models, the chance that training gives one of them changes by a"
    yield "  factor of at most e^epsilon, and delta more, when one sample is added to the training data or removed"
    yield "  proved: the sensitivity of every parameter, from the graph; epsilon of the steps, by the accountant"
    yield "  on trust: that training drew, bounded and added noise as the model's card and training log say"


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
    sampled = block.smoothing is not None
    yield f"  {_tests(block.smoothing, task) if block.smoothing is not None else _costs(query.norm, task)}"
    for metric in metrics:
        lines = (f"  {line}" for line in _metric(metric, classes, task))
        yield from (line for line in lines if not (sampled and line.lstrip().startswith(("family:", "algorithm:"))))


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


def _tests(smoothing: Smoothing, task: Task) -> str:
    """What stands in the place of costs where samples answer."""
    tested = "Phi(eps / sigma)" if smoothing.tau is None else "tau"
    if task.objects:
        return (
            f"tests: each score reaches the threshold, or stays below it, more often than {tested} under noise "
            f"({smoothing.text}), right everywhere at once with probability 1 - alpha; whatever is not certified may "
            f"fire or not"
        )
    return (
        f"tests: each {task.item}'s class is found more often than {tested} under noise ({smoothing.text}), right "
        f"everywhere at once with probability 1 - alpha; whatever is not certified may become any class"
    )


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
    yield from _formula(metric, classes)
    counted = _counted(metric.plan)
    if counted:
        yield f"  counts: {counted.replace('pixel', task.item)}"
    yield from _pixels(metric, classes)
    yield f"  defined: {_whole_defined(metric).replace('a pixel is annotated', f'{_A[task.item]} is annotated')}"
    if metric.worst_when_undefined:
        yield "  an attack can make the divisor 0: that counts as the worst value"
    if metric.low is not None and metric.high is not None:
        yield f"  values: from {decimal_text(metric.low)} to {decimal_text(metric.high)}, by the coefficients"
    proof = metric.plan.proof
    yield f"  family: {metric.plan.family} ({proof.place})"
    yield f"  algorithm: {proof.algorithm}; {proof.claim}"


def _formula(metric: ir.Metric, classes: tuple[str, ...]) -> Iterator[str]:
    """The formula, with what is proved of its slopes."""
    plan, lower = unweighted(metric.plan), metric.lower_is_better
    match plan:
        case Sum():
            yield f"  formula: {metric.text}"
            for weight, part in plan.parts:
                ratio = part.formula.ratio
                name = ratio_text(ratio, f"[{', '.join(classes[k] for k in part.classes)}]")
                yield f"  part: {decimal_text(weight)} times {name}"
                yield from (f"    {line}" for line in _proof(ratio, lower=lower))
                yield f"    defined: {_defined(part.formula.defined)}"
        case Mean() | MeanRate() | PooledMean():
            frequency = not isinstance(plan, PooledMean) and plan.frequency
            weights = "each with its share of the annotated pixels" if frequency else "all alike"
            which = ", ".join(classes[k] for k in plan.classes) or "every class"
            found = "data" if plan.of_data_set else "annotation of an image"
            yield f"  formula: the mean over the classes in the {found} ({which}), {weights}, of"
            yield f"    {ratio_text(plan.formula.ratio)}"
            yield from (f"  {line}" for line in _proof(plan.formula.ratio, lower=lower))
        case Rate() | Quotient() | Pooled() | Objects() | PooledObjects():
            yield f"  formula: {ratio_text(plan.formula.ratio)}"
            yield from (f"  {line}" for line in _proof(plan.formula.ratio, lower=lower))
        case _:
            yield f"  formula: {metric.text}"


def _counted(plan: Plan) -> str:
    """What is counted one by one; empty where nothing is."""
    match unweighted(plan):
        case Accuracy(rank=1):
            return "correct pixels, each lost to its nearest other class"
        case Accuracy(rank=rank):
            return f"correct pixels, each lost once {rank} other classes are level with its own"
        case Stability():
            return "pixels, each lost by the class predicted on the clean image"
        case Rate(flips=Flip.LEAVE):
            return "pixels of the class that are found, each leaving it (TP to FN)"
        case Rate():
            return "pixels of other classes, each entering the class (TN to FP)"
        case _:
            return ""


def _pixels(metric: ir.Metric, classes: tuple[str, ...]) -> Iterator[str]:
    if metric.region:
        yield f"  pixels: those annotated as {', '.join(classes[k] for k in metric.region)}"
    if metric.region_mask:
        yield "  pixels: those that are not 0 in the region file"
    if metric.weighted:
        yield "  pixels: each counts with its weight"


def _defined(polynomial: Polynomial | None) -> str:
    needed = {None: "a pixel is annotated", P: "TP + FN > 0", Q: "FP + TN > 0", P * Q: "TP + FN > 0 and FP + TN > 0"}
    return f"where {needed[polynomial]}, which no attack changes"


def _whole_defined(metric: ir.Metric) -> str:
    plan = unweighted(metric.plan)
    match plan:
        case Components():
            return "where a pixel of the class is annotated, which no attack changes"
        case Objects() if plan.formula.defined is None:
            return "on every image"
        case PooledComponents():
            return "for the data set as a whole, if a pixel of the class is annotated"
        case Pooled() | PooledMean() | PooledObjects():
            return "for the data set as a whole; no image is left out"
        case Precisions():
            return "for the data set as a whole, if it holds an object of the classes"
        case Ranked():
            return "for the data set as a whole, if it holds both sides"
        case Sum():
            return "where every part is"
        case Mean() | MeanRate():
            return "where one of the classes is annotated"
        case Stability():
            return "on every image" + (" with a pixel of the region" if metric.region or metric.region_mask else "")
        case Accuracy():
            return _defined(None)
        case _:
            return _defined(metric.formula.defined)


def _proof(ratio: Ratio, *, lower: bool) -> Iterator[str]:
    """The sign of the derivative along each kind of flip."""
    found = classify(ratio, lower_is_better=lower)
    if not isinstance(found, Classified):
        return
    sign = "never negative" if lower else "never positive"
    for slope in found.slopes:
        if slope.proof is Proof.ZERO:
            yield f"{_FLIPS[slope.move]}: changes nothing"
        else:
            shown = polynomial_text(slope.numerator)
            yield f"{_FLIPS[slope.move]}: the slope has the sign of {shown}, {sign}: {slope.proof.value}"
