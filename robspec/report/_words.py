"""Words shared by the formats: queries, swept points and constants as people read them."""

from __future__ import annotations

from robspec.ir.types import AllOf, Degraded, Metric, Objective, Query, WorstCaseQuery
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import decimal_text, directed_text
from robspec.semantics.objective import Threshold
from robspec.verify.result import ClaimResult


def metric_text(metric: Metric) -> str:
    """Write a metric the way the language does, classes by index."""
    numbers = f"({', '.join(decimal_text(a) for a in metric.arguments)})" if metric.arguments else ""
    classes = f"[{', '.join(map(str, metric.classes))}]" if metric.classes else ""
    return f"{metric.name}{numbers}{classes}"


def query_text(query: Query) -> str:
    """Describe a query in one line."""
    if isinstance(query, WorstCaseQuery):
        eps = (
            f"eps = {decimal_text(query.budgets[0])}"
            if len(query.budgets) == 1
            else f"eps from {decimal_text(query.budgets[0])} to {decimal_text(query.budgets[-1])}"
        )
        return f"{metric_text(query.metric)} within {query.norm} {eps}"
    if len(query.objectives) == 1:
        return f"{query.norm} radius of {objective_text(query.objectives[0])}"
    return f"{query.norm} radius, {len(query.objectives)} objectives"


def objective_text(objective: Objective) -> str:
    """Write a degradation objective."""
    if isinstance(objective, Degraded):
        relation = ">" if objective.metric.lower_is_better else "<"
        relation += "" if objective.strict else "="
        return f"{metric_text(objective.metric)} {relation} {threshold_text(objective.threshold)}"
    word = " and " if isinstance(objective, AllOf) else " or "
    return "(" + word.join(objective_text(part) for part in objective.parts) + ")"


def threshold_text(threshold: Threshold) -> str:
    """Write a threshold that may depend on the clean value."""
    if threshold.slope == 0:
        return decimal_text(threshold.offset)
    scaled = "h0" if threshold.slope == 1 else f"{decimal_text(threshold.slope)} * h0"
    if threshold.offset == 0:
        return scaled
    sign = "+" if threshold.offset > 0 else "-"
    return f"{scaled} {sign} {decimal_text(abs(threshold.offset))}"


def point_text(query: Query, point: int) -> str:
    """Name a swept point; empty when nothing is swept."""
    if isinstance(query, WorstCaseQuery):
        return f"eps = {decimal_text(query.budgets[point])}" if len(query.budgets) > 1 else ""
    return objective_text(query.objectives[point]) if len(query.objectives) > 1 else ""


def constant_line(constant: Constant) -> str:
    """Say what the Lipschitz constant is and whether it was proved."""
    status = "proved" if constant.status is ConstantStatus.PROVED else "ASSUMED, not proved"
    note = f": {constant.note}" if constant.note else ""
    return f"L <= {constant.text} ({constant.input_norm} -> {constant.output_norm}), {status}{note}"


def claim_reason(claim: ClaimResult) -> str:
    """Say what was proved and measured about a declared constant."""
    facts = []
    if claim.proved is not None:
        facts.append(f"proved L <= {directed_text(claim.proved, 9, up=True)}")
    if claim.measured is not None:
        facts.append(f"measured L >= {directed_text(claim.measured, 9, up=False)}")
    return "; ".join([claim.reason, *facts])
