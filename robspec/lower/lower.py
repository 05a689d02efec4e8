"""A checked specification as the queries it asks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from robspec.checks import Spec
from robspec.ir import types as ir
from robspec.ir.plans import Attacked, Ranked
from robspec.lower.data import lower_data
from robspec.semantics.kappa import Inverted
from robspec.semantics.norm import L1, L2, LINF, Norm
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from robspec.semantics.smoothing import SELECTION, Smoothing
from robspec.syntax import ast, write

_T = TypeVar("_T")


def _sure(value: _T | None) -> _T:
    """A value that the checks have made sure of."""
    if value is None:
        raise RuntimeError("a specification without errors could not be lowered")
    return value


def lower(spec: Spec) -> ir.Program:
    """Turn a specification into queries.

    Args:
        spec: one that no check finds an error in.

    Returns:
        The program, every name resolved and every number exact.
    """
    first, *others = spec.used_data if spec.use is None else (_sure(spec.data),)
    return ir.Program(
        language=int(_sure(spec.statement_of_file(ast.Language)).version.value),
        model=_model(spec),
        data=lower_data(spec, first),
        properties=tuple(_property(spec, p, first) for p in spec.asked),
        params=tuple((name, _sure(spec.param_value(name))) for name in spec.params),
        others=tuple(lower_data(spec, data) for data in others),
        privacy=_privacy(spec),
        left_out=tuple(p.name.id for p in spec.properties if p not in spec.asked),
    )


def norm_of(spec: Spec, name: ast.NormName) -> Norm:
    """The norm a name means."""
    if name.exponent is not None:
        return Norm(_sure(spec.value(name.exponent)))
    return {"l1": L1, "l2": L2, "linf": LINF}[name.name]


def _model(spec: Spec) -> ir.Model:
    model_input, output = _sure(spec.of_model(ast.Input)), _sure(spec.of_model(ast.Output))
    low, high = _sure(spec.input_range)
    normalize, claim = spec.of_model(ast.Normalize), spec.of_model(ast.Lipschitz)
    return ir.Model(
        input_shape=_sure(spec.shape(model_input.shape)),
        low=low,
        high=high,
        output_shape=_sure(spec.output_shape(output.shape)),
        classes=_sure(spec.classes),
        normalize=None
        if normalize is None
        else ir.Normalize(_sure(spec.values(normalize.mean)), _sure(spec.values(normalize.std))),
        claim=None if claim is None else _claim(spec, claim),
        input_name=model_input.name.id,
        output_name=output.name.id,
        sides=spec.of_model(ast.Annotation) is not None,
        boxes_name="" if output.boxes is None else output.boxes.name.id,
        detector=_detector(spec),
        claims_of_files=tuple(
            ir.ClaimOfFile(_sure(block.file).text, _claim(spec, _sure(spec.statement(block, ast.Lipschitz))))
            for block in spec.named_models
        ),
    )


def _claim(spec: Spec, claim: ast.Lipschitz) -> ir.LipschitzClaim:
    norms = norm_of(spec, claim.input_norm), norm_of(spec, claim.output_norm or claim.input_norm)
    return ir.LipschitzClaim(*norms, _sure(spec.value(claim.value)))


def _privacy(spec: Spec) -> ir.Privacy | None:
    node = spec.statement(spec.privacy, ast.Epsilon)
    if node is None:
        return None
    values = _sure(spec.value(node.value)), _sure(spec.value(node.delta))
    return ir.Privacy(*values, f"epsilon {write.epsilon(node)}", spec.line(node))


def _detector(spec: Spec) -> ir.Detector | None:
    if spec.detector is None:
        return None
    threshold = _sure(spec.of_detector(ast.Threshold))
    nms, match = _sure(spec.of_detector(ast.Nms)), _sure(spec.of_detector(ast.Match))
    strides, limit = spec.of_detector(ast.Strides), spec.of_detector(ast.Limit)
    value = None if match.value is None else spec.value(match.value)
    by_overlap = match.name.id == "overlap"
    return ir.Detector(
        of=threshold.of,
        threshold=_sure(spec.value(threshold.value)),
        nms=None if nms.value is None else spec.value(nms.value),
        match=match.name.id,
        overlap=value if by_overlap else None,
        least=1 if by_overlap or value is None else int(value),
        boxes=spec.boxes_mode,
        strides=() if strides is None else tuple(int(v) for v in _sure(spec.values(strides.values))),
        limit=None if limit is None else int(_sure(spec.value(limit.value))),
    )


def _property(spec: Spec, block: ast.Property, first: ast.Data) -> ir.Property:
    requirements = tuple(_requirement(spec, s) for s in block.statements if isinstance(s, ast.Require))
    data = _sure(spec.data_of(block))
    name = "" if data is first else data.name.id
    return ir.Property(
        block.name.id, _query(spec, block), requirements, spec.line(block), _smoothing(spec, block), name
    )


def _smoothing(spec: Spec, block: ast.Property) -> Smoothing | None:
    by = spec.statement(block, ast.By)
    if by is None or by.method.id != "smoothing":
        return None
    given = {s.name.id: _sure(spec.value(s.value)) for s in by.settings}
    return Smoothing(
        sigma=given["sigma"],
        samples=int(given["samples"]),
        selection=int(given.get("selection", SELECTION)),
        alpha=given["alpha"],
        tau=given.get("tau"),
    )


def _query(spec: Spec, block: ast.Property) -> ir.Query:
    norm = norm_of(spec, _sure(spec.statement(block, ast.NormStatement)).norm)
    budget, degraded = spec.statement(block, ast.Budget), spec.statement(block, ast.Degraded)
    if budget is not None:
        metric = _attacked(spec, block, _metric(spec, _sure(spec.metric_of(block))))
        if isinstance(budget.value, ast.Sweep):
            return ir.WorstCaseQuery(metric, norm, _sure(spec.points(budget.value)))
        return ir.WorstCaseQuery(metric, norm, (_sure(spec.value(budget.value)),))
    condition = _sure(degraded).condition
    declared = spec.metric_of(block)
    if isinstance(condition, ast.Comparison) and isinstance(condition.right, ast.Sweep):
        points = _sure(spec.points(condition.right))
        metric, start, step, strict = _swept(spec, condition, declared)
        metric = _attacked(spec, block, metric)
        objectives = tuple(
            ir.Degraded(metric, Threshold(start.offset + at * step, start.slope), strict) for at in points
        )
        return ir.RadiusQuery(norm, objectives, points)
    objective = _objective(spec, condition, declared)
    if isinstance(objective, ir.Degraded):
        objective = replace(objective, metric=_attacked(spec, block, objective.metric))
    return ir.RadiusQuery(norm, (objective,))


def _attacked(spec: Spec, block: ast.Property, metric: ir.Metric) -> ir.Metric:
    """A metric of scores with whose images are attacked; any other as it is."""
    attack = spec.statement(block, ast.AttackStatement)
    if attack is None or not isinstance(metric.plan, Ranked):
        return metric
    attacked = Attacked.BOTH if attack.side.text == "both" else Attacked.ANOMALOUS
    return replace(metric, plan=replace(metric.plan, attacked=attacked))


def _metric(spec: Spec, reference: ast.MetricReference) -> ir.Metric:
    return _sure(spec.derived(reference))


def _objective(spec: Spec, condition: ast.Condition, declared: ast.MetricReference | None) -> ir.Objective:
    if isinstance(condition, ast.Comparison):
        return _comparison(spec, condition, declared)
    parts = tuple(_objective(spec, part, declared) for part in condition.parts)
    return ir.AllOf(parts) if isinstance(condition, ast.AllOf) else ir.AnyOf(parts)


def _comparison(spec: Spec, node: ast.Comparison, declared: ast.MetricReference | None) -> ir.Degraded:
    metric = _metric(spec, _sure(spec.conditions.read(node, declared).metric))
    outcome = spec.conditions.outcome(node, declared)
    if not isinstance(outcome, Inverted):
        raise RuntimeError("a condition without errors could not be inverted")
    return ir.Degraded(metric, outcome.threshold, outcome.relation.strict)


def _swept(
    spec: Spec, node: ast.Comparison, declared: ast.MetricReference | None
) -> tuple[ir.Metric, Threshold, Fraction, bool]:
    """The metric, the threshold with 0 on the right side, what each unit there adds to it, and strictness."""
    metric = _metric(spec, _sure(spec.conditions.read(node, declared).metric))
    at = []
    for side in (0, 1):
        number = ast.Number(Fraction(side), str(side))
        outcome = spec.conditions.outcome(node, declared, number)
        if not isinstance(outcome, Inverted):
            raise RuntimeError("a condition without errors could not be inverted")
        at.append(outcome)
    start, step = at[0].threshold, at[1].threshold.offset - at[0].threshold.offset
    return metric, start, step, at[0].relation.strict


def _requirement(spec: Spec, node: ast.Require) -> ir.Requirement:
    level: Fraction | None = None
    if isinstance(node.population, ast.AllImages):
        aggregate, level = ir.Aggregate.FRACTION, Fraction(1)
    elif node.population is not None:
        aggregate, level = ir.Aggregate.FRACTION, _sure(spec.level(node.population.level))
    elif node.measure.aggregate is None:
        aggregate = ir.Aggregate.POOLED
    else:
        aggregate = ir.Aggregate(_sure(node.measure.aggregate))
        if node.measure.order is not None:
            level = _sure(spec.value(node.measure.order))
    return ir.Requirement(
        aggregate=aggregate,
        relation=Relation(node.relation),
        bound=_sure(spec.value(node.bound)),
        level=level,
        confidence=None if node.confidence is None else _sure(spec.level(node.confidence)),
        text=write.requirement(node),
    )
