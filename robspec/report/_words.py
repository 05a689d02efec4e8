"""Words shared by the formats: queries, swept points and constants as people read them."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

from robspec.ir.print import metric_text, objective_text
from robspec.ir.types import Aggregate, Property, Query, WorstCaseQuery
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import decimal_text, directed_text
from robspec.verify.result import (
    CheckReport,
    ClaimResult,
    PrivacyResult,
    PropertyResult,
    RequirementResult,
    Value,
    Verdict,
)

_ALARM, _INTERRUPTED = 4, 130
_ASSUMED = "proved on an assumed constant"
_QUALIFIED = "proved on an assumption"
_ON_LOG = "proved on a training log"
_SAMPLED = "proved with a probability"
_WORDS = ("refuted", "proved", _ASSUMED, _QUALIFIED, _SAMPLED, "unknown")


def query_text(query: Query, classes: tuple[str, ...]) -> str:
    """Describe a query in one line, classes by name."""
    if isinstance(query, WorstCaseQuery):
        first, last = (decimal_text(query.budgets[i]) for i in (0, -1))
        eps = f"eps = {first}" if len(query.budgets) == 1 else f"eps from {first} to {last}"
        return f"{metric_text(query.metric, classes)} within {query.norm} {eps}"
    if len(query.objectives) == 1:
        return f"{query.norm} radius of {objective_text(query.objectives[0], classes)}"
    return f"{query.norm} radius, {len(query.objectives)} objectives"


def asked_text(prop: Property, classes: tuple[str, ...]) -> str:
    """Describe what a property asks, and how it is answered where not by a Lipschitz constant."""
    by = "" if prop.smoothing is None else f", by smoothing with sigma = {decimal_text(prop.smoothing.sigma)}"
    return query_text(prop.query, classes) + by


def point_text(query: Query, point: int, classes: tuple[str, ...]) -> str:
    """Name a swept point; empty when nothing is swept."""
    if isinstance(query, WorstCaseQuery):
        return f"eps = {decimal_text(query.budgets[point])}" if len(query.budgets) > 1 else ""
    return objective_text(query.objectives[point], classes) if len(query.objectives) > 1 else ""


def constant_line(constant: Constant) -> str:
    """Say what the Lipschitz constant is and whether it was proved."""
    if constant.status is ConstantStatus.SAMPLED:
        return f"{constant.note}: right with probability {constant.chance}"
    status = "proved" if constant.status is ConstantStatus.PROVED else "ASSUMED, not proved"
    note = f": {constant.note}" if constant.note else ""
    return f"L <= {constant.text} ({constant.input_norm} -> {constant.output_norm}), {status}{note}"


def overall_line(report: CheckReport) -> str:
    """Sum a check up: verdicts by number, what else decided, and the exit status."""
    status = report.exit_status(allow_unknown=report.allow_unknown)
    end = f"exit status {status}"
    if status == _ALARM:
        return f"soundness alarm, no verdict may be trusted; {end}"
    counts = Counter(_overall_word(p) for p in report.properties)
    listed = ", ".join(f"{counts[word]} {word}" for word in _WORDS if counts[word])
    count = len(report.properties)
    parts = [f"{count} propert{'y' if count == 1 else 'ies'}: {listed}"]
    parts += [
        f"declared constant {c.verdict.value.lower()}" for c in report.claims if c.verdict is not Verdict.PROVED
    ]
    if report.privacy is not None:
        parts.append(f"privacy {_ON_LOG if report.privacy.verdict is Verdict.PROVED else 'unknown'}")
    parts += [f"only {report.images} images were looked at"] if any(p.part for p in report.properties) else []
    if report.accepted:
        count = len(report.accepted)
        parts.append(f"{count} requirement{'' if count == 1 else 's'} no worse than in the baseline")
    if report.weaker:
        parts.append("what is proved says less than the baseline")
    if status == _INTERRUPTED:
        parts.append("interrupted")
    if report.allow_unknown and report.exit_status() != status:
        end += " by --allow unknown"
    return "; ".join([*parts, end])


def _overall_word(prop: PropertyResult) -> str:
    if prop.verdict is not Verdict.PROVED:
        word: str = prop.verdict.value
        return word.lower()
    if prop.constant.status is ConstantStatus.SAMPLED:
        return _SAMPLED
    if prop.constant.status is not ConstantStatus.PROVED:
        return _ASSUMED
    # Such as frozen boxes: whatever qualifies a label qualifies the sum.
    return _QUALIFIED if prop.constant.qualifier else "proved"


def claim_reason(claim: ClaimResult) -> str:
    """Say what was proved and measured about a declared constant."""
    facts = []
    if claim.proved is not None:
        facts.append(f"proved L <= {directed_text(claim.proved, 9, up=True)}")
    if claim.measured is not None:
        facts.append(f"measured L >= {directed_text(claim.measured, 9, up=False)}")
    return "; ".join([claim.reason, *facts])


def privacy_bound(found: PrivacyResult) -> str:
    """The bound on epsilon, rounded up; a dash where there is none."""
    return "-" if found.epsilon is None else directed_text(Fraction(found.epsilon), 4, up=True)


def privacy_details(found: PrivacyResult) -> tuple[str, ...]:
    """Say how the bound came about, what is proved of it and what is taken on trust, in lines."""
    return (
        found.reason,
        f"by {found.card}: {found.facts}",
        *(f"proved: {line}" for line in found.proved),
        *(f"on trust: {line}" for line in found.trusted),
    )


def value_text(value: Value | None, *, up: bool) -> str:
    """A value, rounded so that it claims no more than it holds."""
    if value is None:
        return "undefined"
    return "inf" if value == math.inf else directed_text(Fraction(value), 4, up=up)


def attained_value(certified: Value | None, attained: Value | None, *, up: bool) -> str:
    """A value that a concrete image attains; of samples, which no image stands for, none."""
    return "-" if attained is None and certified is not None else value_text(attained, up=up)


AT_BEST = "at best: what the clean images may be worth, where rounding leaves a decision open"
"""What the heading means."""


def attained_heading(report: CheckReport) -> str:
    """What the values that concrete images attain are called; those of clean images may be better than computed."""
    if report.attack_steps:
        return "attained"
    return "at best" if any(map(_differs, report.properties)) else "clean"


def _differs(prop: PropertyResult) -> bool:
    """Whether what images may be worth is another value than the computed one, as it is shown."""
    if not isinstance(prop.source.query, WorstCaseQuery) or prop.source.smoothing is not None:
        return False
    pairs = {(image.clean, value) for image in prop.images for value in image.attained}
    return any(
        clean is not None and value is not None and value_text(clean, up=False) != value_text(value, up=False)
        for clean, value in pairs
    )


def certified_text(result: RequirementResult) -> str:
    """Show the certified aggregate, never rounded to look better than it is."""
    return _aggregate_text(result, result.certified, up=not higher_is_better(result))


def attained_text(result: RequirementResult) -> str:
    """Show the attained aggregate, never rounded to look better than it is either: 0.99992 is not 1."""
    if result.attained is None and result.certified is not None:
        return "-"  # samples, which concrete images say nothing about
    return _aggregate_text(result, result.attained, up=not higher_is_better(result))


def concrete_text(prop: PropertyResult, item: RequirementResult) -> str:
    """Show what concrete images attain; of radii nothing before one is found, as they are infinite then."""
    radii = not isinstance(prop.source.query, WorstCaseQuery)
    found = item.verdict is Verdict.REFUTED or any(image.attacks for image in prop.images)
    return "-" if radii and not found else attained_text(item)


def higher_is_better(result: RequirementResult) -> bool:
    """Tell whether a larger aggregate is better."""
    return result.requirement.aggregate is Aggregate.FRACTION or result.requirement.relation.upward


def _aggregate_text(result: RequirementResult, value: Value | None, *, up: bool) -> str:
    if value is not None and result.requirement.aggregate is Aggregate.FRACTION:
        return f"{directed_text(100 * Fraction(value), 1, up=up)}%"
    return value_text(value, up=up)
