"""A program as text a person reads: every query and requirement on lines of their own, numbers exact."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.ir import types as ir
from robspec.ir.plans import Attacked, Pooled, Precisions, Ranked
from robspec.semantics.norm import decimal_text
from robspec.semantics.objective import Threshold


def text(program: ir.Program) -> str:
    """Write a program.

    Args:
        program: what to write.

    Returns:
        Lines that each end with a newline.
    """
    return "".join(f"{line}\n" for line in _lines(program))


def _lines(program: ir.Program) -> Iterator[str]:
    yield f"program, language {program.language}"
    for name, value in program.params:
        yield f"param {name} = {decimal_text(value)}"
    yield from _model(program.model)
    if program.model.detector is not None:
        yield from _detector(program.model.detector)
    if program.privacy is not None:
        yield "privacy"
        yield f"  require: {privacy_text(program.privacy)}"
    for data in (program.data, *program.others):
        yield from _data(data, program.model.classes)
    for block in program.properties:
        yield from property_lines(block, program)


def _model(model: ir.Model) -> Iterator[str]:
    yield "model"
    ends = f"[{decimal_text(model.low)}, {decimal_text(model.high)}]"
    yield f"  input {model.input_name}: {_shape(model.input_shape)} in {ends}"
    yield f"  output {model.output_name}: {_shape(model.output_shape)}"
    word = "sides" if model.sides else "classes"
    yield f"  {word}: {', '.join(f'{k} {name}' for k, name in enumerate(model.classes))}"
    if model.boxes_name:
        yield f"  output {model.boxes_name}: 4 x {model.output_shape[-1]}"
    if model.normalize is not None:
        mean, std = (", ".join(map(decimal_text, v)) for v in (model.normalize.mean, model.normalize.std))
        yield f"  normalize: (x - [{mean}]) / [{std}]"
    if model.claim is not None:
        yield f"  claim: {claim_text(model.claim)}"
    for one in model.claims_of_files:
        yield f'  claim of "{one.file}" alone: {claim_text(one.claim)}'


def claim_text(claim: ir.LipschitzClaim) -> str:
    """A claimed constant, with its norms."""
    return f"Lipschitz, {claim.input_norm} to {claim.output_norm}, <= {decimal_text(claim.value)}"


def privacy_text(privacy: ir.Privacy) -> str:
    """What is asked of the training, its numbers worked out."""
    return f"epsilon <= {decimal_text(privacy.epsilon)} at delta {decimal_text(privacy.delta)}"


def _detector(detector: ir.Detector) -> Iterator[str]:
    yield "detector"
    yield f"  fires: {detector.of} >= {decimal_text(detector.threshold)}"
    suppression = "none" if detector.nms is None else f"greedy, overlap > {decimal_text(detector.nms)}"
    yield f"  suppression: {suppression}"
    if detector.overlap is not None:
        yield f"  match: overlap >= {decimal_text(detector.overlap)}, boxes {detector.boxes}"
    else:
        yield f"  match: {detector.least} of an object's own locations fire"
    if detector.strides:
        yield f"  strides: {', '.join(map(str, detector.strides))}"
    if detector.limit is not None:
        yield f"  limit: {detector.limit} detections per image"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _data(data: ir.Data, classes: tuple[str, ...]) -> Iterator[str]:
    yield f"data {data.name}"
    if data.layout:
        yield f'  layout: {data.layout} in "{data.root}"' + (f", split {data.split}" if data.split else "")
    if data.pairs:
        yield f'  pairs: "{data.pairs}"' + (", binary" if data.binary else "")
    if data.images:
        yield f'  images: "{data.images}"'
    if data.masks:
        yield f'  masks: "{data.masks}"' + (", binary" if data.binary else "")
    if data.labels:
        yield f'  labels: "{data.labels}"'
    if data.by_folder:
        yield "  labels: the name of each image's folder"
    if data.objects:
        yield f'  objects: {data.objects_format} "{data.objects}"'
    for part in data.mapping:
        yield f"  map: {mapped_text(part, data.colours)} to {_target(part.target, classes)}"
    if data.ignore is not None and data.ignore != ir.UNLABELLED:
        also = "".join(f", {label}" for label in data.also_ignored)
        yield f"  ignore: label{'s' if also else ''} {data.ignore}{also}"
    elif data.ignore is not None and not data.mapping and not data.layout:
        yield f"  ignore: label {data.ignore}"
    for step in data.steps:
        yield f"  {step_text(step)}"
    if data.region:
        yield f'  region: "{data.region}"'
    if data.weights:
        yield f'  weights: "{data.weights}"'


def mapped_text(part: ir.Mapped, colours: bool) -> str:
    """The numbers or the colour that a part of a map is about."""
    if part.first is None:
        return "others"
    if colours:
        return f"#{part.first:06X}"
    return str(part.first) if part.last == part.first else f"{part.first}..{part.last}"


def _target(target: int | None, classes: tuple[str, ...]) -> str:
    return "ignored" if target is None else f"{target} {classes[target]}"


def step_text(step: ir.Step) -> str:
    """What is done to images and masks, in words."""
    size = f"{step.height} x {step.width}"
    if isinstance(step, ir.Resize):
        return f"resize: to {size}, {step.method}; masks by the nearest pixel"
    place = "the middle" if step.row is None else f"from row {step.row}, column {step.column}"
    return f"crop: to {size}, {place}"


def property_lines(block: ir.Property, program: ir.Program) -> Iterator[str]:
    """Say what a property asks, in lines."""
    classes = program.model.classes
    yield f"property {block.name}"
    if program.others:
        yield f"  data: {block.data or program.data.name}"
    query = block.query
    if isinstance(query, ir.WorstCaseQuery):
        sense = "largest" if query.metric.lower_is_better else "smallest"
        yield f"  query: {sense} {metric_text(query.metric, classes)} under every attack of {query.norm} norm"
        yield f"    <= {_points(query.budgets)}"
    else:
        yield f"  query: largest radius in {query.norm} within which no attack reaches"
        for objective in query.objectives[:1]:
            yield f"    {objective_text(objective, classes)}"
        if query.points:
            yield f"    and so on for {_points(query.points)}"
    if block.smoothing is not None:
        yield f"  by: smoothing, {block.smoothing.text}"
    for requirement in block.requirements:
        yield f"  require: {requirement_text(requirement, query)}"


def _points(values: tuple[Fraction, ...]) -> str:
    if len(values) <= 4:
        return ", ".join(map(decimal_text, values))
    first, second, last = (decimal_text(values[i]) for i in (0, 1, -1))
    return f"{first}, {second}, ..., {last} ({len(values)} points)"


def metric_text(metric: ir.Metric, classes: tuple[str, ...]) -> str:
    """A metric with its numbers and the names of its classes, and which pixels count."""
    plan = metric.plan
    adjective = "weighted " if metric.weighted else "pooled " if plan.family == Pooled.family else ""
    numbers = f"({', '.join(map(decimal_text, metric.arguments))})" if metric.arguments else ""
    if isinstance(metric.plan, Precisions) and len(metric.arguments) > 1:
        numbers = f"({decimal_text(metric.arguments[0])} to {decimal_text(metric.arguments[-1])})"
    within = " in region" if metric.region_mask else ""
    if metric.region:
        within = f" in {_names(metric.region, classes)}"
    attacked = ""
    if isinstance(plan, Ranked) and plan.attacked is not None:
        both = plan.attacked is Attacked.BOTH
        attacked = " with both sides attacked" if both else f" with {classes[-1]} attacked"
    return f"{adjective}{metric.name}{numbers}{_names(metric.asked or metric.classes, classes)}{within}{attacked}"


def _names(indices: tuple[int, ...], classes: tuple[str, ...]) -> str:
    return f"[{', '.join(classes[k] for k in indices)}]" if indices else ""


def threshold_text(threshold: Threshold, clean: str) -> str:
    """A threshold; `clean` names the clean value."""
    if threshold.slope == 0:
        return decimal_text(threshold.offset)
    size = abs(threshold.slope)
    term = clean if size == 1 else f"{decimal_text(size)} * {clean}"
    if threshold.offset == 0:
        return term if threshold.slope > 0 else f"-{term}"
    if threshold.slope > 0 > threshold.offset:
        return f"{term} - {decimal_text(-threshold.offset)}"
    return f"{decimal_text(threshold.offset)} {'+' if threshold.slope > 0 else '-'} {term}"


def objective_text(objective: ir.Objective, classes: tuple[str, ...]) -> str:
    """A degradation objective, every threshold solved for its metric."""
    if isinstance(objective, ir.Degraded):
        name = metric_text(objective.metric, classes)
        sign = (">" if objective.metric.lower_is_better else "<") + ("" if objective.strict else "=")
        return f"{name} {sign} {threshold_text(objective.threshold, f'clean({name})')}"
    word = " and " if isinstance(objective, ir.AllOf) else " or "
    parts = [
        objective_text(p, classes) if isinstance(p, ir.Degraded) else f"({objective_text(p, classes)})"
        for p in objective.parts
    ]
    return word.join(parts)


def requirement_text(requirement: ir.Requirement, query: ir.Query) -> str:
    """A requirement with its numbers worked out."""
    quantity = "worst_case" if isinstance(query, ir.WorstCaseQuery) else "radius"
    level = None if requirement.level is None else decimal_text(requirement.level)
    measure = f"{requirement.aggregate.value}({quantity})"
    if requirement.aggregate is ir.Aggregate.QUANTILE:
        measure = f"quantile({level}, {quantity})"
    elif requirement.aggregate in (ir.Aggregate.FRACTION, ir.Aggregate.POOLED):
        measure = quantity
    text = f"{measure} {requirement.relation.value} {decimal_text(requirement.bound)}"
    if requirement.aggregate is ir.Aggregate.FRACTION:
        text += " for all images" if requirement.level == 1 else f" for a fraction {level} of images"
    if requirement.confidence is not None:
        text += f" with confidence {decimal_text(requirement.confidence)}"
    return text
