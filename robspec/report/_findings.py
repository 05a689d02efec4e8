"""A report as a list of findings, one for each requirement: what every format for machines is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from robspec.ir.types import WorstCaseQuery
from robspec.notes import listed
from robspec.report import _gap
from robspec.report._words import (
    asked_text,
    attained_text,
    certified_text,
    claim_reason,
    concrete_text,
    point_text,
    privacy_bound,
    privacy_details,
    value_text,
)
from robspec.verify.result import CheckReport, PropertyResult, RequirementResult, Verdict

ALARM, INTERRUPTED = "soundness-alarm", "interrupted"
MODEL, CHECK = "model", "the check"
"""Groups that are no property: a word of the language, and one with a blank in it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a report says that can be right or wrong.

    Args:
        group: the property's name; MODEL for what is declared of the model, CHECK for the check itself.
        name: the requirement as it is written, with its swept point; unique within the group.
        rule: a stable word for the kind: refuted, unknown, proved, or why there is no verdict.
        label: the verdict as it must be shown.
        passed: whether it counts as success for the command that was called.
        broken: whether it is no verdict but a check that did not end well.
        summary: one line: bound against requirement.
        details: further lines.
        line: of the property in the specification, 1 where it has none.
    """

    group: str
    name: str
    rule: str
    label: str
    passed: bool
    broken: bool
    summary: str
    details: tuple[str, ...]
    line: int

    @property
    def fingerprint(self) -> str:
        """A digest that stays the same from run to run while the requirement is the same."""
        return hashlib.sha256(f"{self.group}\0{self.name}\0{self.rule}".encode()).hexdigest()

    @property
    def text(self) -> str:
        """Everything in lines."""
        return "\n".join((self.summary, *self.details))


def findings(report: CheckReport) -> tuple[Finding, ...]:
    """List what a report says, in its order.

    Args:
        report: the check.

    Returns:
        One finding for each claim, for privacy and for each requirement at each swept point, then whatever ended the
        check badly.
    """
    return (*_claims(report), *_privacy(report), *_requirements(report), *_troubles(report))


def _claims(report: CheckReport) -> Iterator[Finding]:
    for place, claim in enumerate(report.claims):
        passed = _passed(report, claim.verdict, ("", place))
        rule, said = claim.verdict.value.lower(), claim_reason(claim)
        yield Finding(MODEL, claim.text, rule, claim.verdict.value, passed, False, said, (), 1)


def _privacy(report: CheckReport) -> Iterator[Finding]:
    found = report.privacy
    if found is None:
        return
    passed = _passed(report, found.verdict, ("", len(report.claims)))
    said = f"{found.label}: epsilon <= {privacy_bound(found)}, required {found.asked.text}"
    rule, line = found.verdict.value.lower(), max(found.asked.line, 1)
    yield Finding(MODEL, found.asked.text, rule, found.label, passed, False, said, privacy_details(found), line)


def _requirements(report: CheckReport) -> Iterator[Finding]:
    classes = report.program.model.classes
    for prop in report.properties:
        for place, item in enumerate(prop.requirements):
            key = (prop.source.name, place)
            yield Finding(
                group=prop.source.name,
                name=requirement_text(prop, item, classes),
                rule=item.verdict.value.lower(),
                label=prop.worded(item.verdict),
                passed=_passed(report, item.verdict, key),
                broken=False,
                summary=_summary(prop, item) + (" (accepted by the baseline)" if key in report.accepted else ""),
                details=(asked_text(prop.source, classes), *_details(prop, item)),
                line=max(prop.source.line, 1),
            )


def requirement_text(prop: PropertyResult, item: RequirementResult, classes: tuple[str, ...]) -> str:
    """Write a requirement as the specification does, with its swept point."""
    point = point_text(prop.source.query, item.point, classes)
    return item.requirement.text + (f" [{point}]" if point else "")


def _passed(report: CheckReport, verdict: Verdict, key: tuple[str, int]) -> bool:
    if key in report.accepted:
        return True
    return verdict is Verdict.PROVED or (verdict is Verdict.UNKNOWN and report.allow_unknown)


def _summary(prop: PropertyResult, item: RequirementResult) -> str:
    label = prop.worded(item.verdict)
    said = f"{label}: certified {certified_text(item)}, required {item.requirement.text.removeprefix('require ')}"
    if item.verdict is Verdict.UNKNOWN:
        said += f"; attained {concrete_text(prop, item)}, and the gap is open"
    if item.verdict is Verdict.REFUTED:
        said += f"; attained {attained_text(item)}"
    return said


def _details(prop: PropertyResult, item: RequirementResult) -> Iterator[str]:
    yield item.reason
    if item.witnesses:
        yield f"images: {listed(item.witnesses)}"
    worst = prop.worst(item)
    if worst is not None:
        up = not item.requirement.relation.upward
        more = f" and {worst.images - 1} more" if worst.images > 1 else ""
        yield f"worst image: {worst.image}{more}, certified {value_text(worst.certified, up=up)}"
    if item.gap is not None:
        radius = not isinstance(prop.source.query, WorstCaseQuery)
        yield from (line.strip() for line in _gap.lines(item.gap, prop.constant, radius=radius))


def _troubles(report: CheckReport) -> Iterator[Finding]:
    if any(p.part for p in report.properties) and not report.allow_unknown:
        said = f"only {report.images} images were looked at: nothing is proved of the others"
        yield Finding(CHECK, "whole data set", "unknown", "UNKNOWN", False, False, said, (), 1)
    if report.weaker and not report.allow_unknown:
        said = "what is proved says less than the baseline"
        yield Finding(CHECK, "baseline", "unknown", "UNKNOWN", False, False, said, (), 1)
    if report.cross_check is not None and report.cross_check.disagreements:
        count = len(report.cross_check.disagreements)
        said = f"{count} comparisons by independent solvers contradict a bound: no verdict may be trusted"
        files = tuple(report.cross_check.reproducers)
        yield Finding(CHECK, "cross-check", ALARM, "SOUNDNESS ALARM", False, True, said, files, 1)
    if not report.complete or (report.cross_check is not None and not report.cross_check.complete):
        said = f"INTERRUPTED after {report.evaluated} of {report.images} images"
        yield Finding(CHECK, "complete", INTERRUPTED, "INTERRUPTED", False, True, said, (), 1)
