"""Comparison in the wrong direction.

A metric where higher is better is degraded when it is low (`h <= 0.5`) and required
to be high (`worst_case >= 0.75`). A metric where lower is better, such as a miss
rate, is degraded when it is high and required to be low. A radius is always
required to be large. The other direction would call good images degraded, or
require bad ones.

Example::

    metric pixel_accuracy
    degraded when h >= 0.5
    require radius <= 0.3 for all images

Mend::

    degraded when h <= 0.5
    require radius >= 0.3 for all images
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.metrics import MetricInfo
from robspec.semantics.kappa import Inverted
from robspec.semantics.relation import Relation
from robspec.syntax import ast, write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every direction with the metric's polarity."""
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            yield from _condition(spec, block, comparison)
        for requirement in spec.requirements(block):
            yield from _requirement(spec, block, requirement)


def _sense(info: MetricInfo) -> str:
    return f"{'lower' if info.lower_is_better else 'higher'} is better for `{info.name}`"


def _condition(spec: Spec, block: ast.Property, comparison: ast.Comparison) -> Iterator[Diagnostic]:
    declared = spec.metric_of(block)
    outcome = spec.conditions.outcome(comparison, declared)
    reading = spec.conditions.read(comparison, declared)
    info = spec.metric(reading.metric) if reading.metric is not None else None
    if not isinstance(outcome, Inverted) or info is None or outcome.relation.upward is info.lower_is_better:
        return
    right = outcome.relation.flipped.value
    name = "h" if reading.metric == declared and not reading.by_name else write.metric(_sure(reading.metric))
    if outcome.threshold.slope == 0:
        form = f"{name} {right} {shown(outcome.threshold.offset)}"
    else:
        sides = write.expression(comparison.left), write.value(comparison.right)
        form = f"{sides[0]} {Relation(comparison.relation).flipped.value} {sides[1]}"
    message = f"{_sense(info)}, so this calls the good images degraded"
    yield error(__name__, comparison.span, message, f"turn it around: `degraded when {form}`")


def _sure(reference: ast.MetricReference | None) -> ast.MetricReference:
    if reference is None:
        raise RuntimeError("an inverted comparison has a metric")
    return reference


def _requirement(spec: Spec, block: ast.Property, requirement: ast.Require) -> Iterator[Diagnostic]:
    relation = Relation(requirement.relation)
    turned = relation.flipped.value
    bound = write.expression(requirement.bound)
    measure = write.measure(requirement.measure)
    if requirement.measure.quantity == "radius":
        if not relation.upward:
            message = "a larger radius is the safer one, so this requires weakness"
            yield error(__name__, requirement.span, message, f"turn it around: `{measure} {turned} {bound}`")
        return
    info = spec.info_of(block)
    if info is not None and relation.upward is info.lower_is_better:
        message = f"{_sense(info)}, so this requires bad images"
        yield error(__name__, requirement.span, message, f"turn it around: `{measure} {turned} {bound}`")
