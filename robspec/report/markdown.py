"""Markdown, for pull requests and step summaries: a table of requirements, then what it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from robspec.report._findings import MODEL, Finding, findings
from robspec.report._words import (
    asked_text,
    certified_text,
    concrete_text,
    constant_line,
    overall_line,
    point_text,
    privacy_bound,
)
from robspec.semantics.norm import decimal_text
from robspec.verify.result import CheckReport

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the report as GitHub-flavoured Markdown; names from files cannot add markup."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: CheckReport) -> Iterator[str]:
    spec, model = (report.files.get(k, "") for k in ("spec", "model"))
    yield f"## robspec: {_plain(spec)} for {_plain(model)}"
    yield ""
    yield f"**{_plain(overall_line(report))}**"
    yield ""
    yield "| property | requirement | certified | attained | verdict |"
    yield "|---|---|---:|---:|---|"
    classes = report.program.model.classes
    if report.privacy is not None:
        cells = (MODEL, report.privacy.asked.text, privacy_bound(report.privacy), "-")
        yield f"| {' | '.join(map(_plain, cells))} | **{_plain(report.privacy.label)}** |"
    for prop in report.properties:
        for item in prop.requirements:
            point = point_text(prop.source.query, item.point, classes)
            cells = (
                f"{prop.source.name}: {asked_text(prop.source, classes)}",
                item.requirement.text + (f" [{point}]" if point else ""),
                certified_text(item),
                concrete_text(prop, item),
            )
            yield f"| {' | '.join(map(_plain, cells))} | **{_plain(prop.worded(item.verdict))}** |"
    yield ""
    for finding in findings(report):
        if not finding.passed or finding.group == MODEL:
            yield from _explained(finding)
    yield "<details><summary>What this rests on</summary>"
    yield ""
    for line in dict.fromkeys(constant_line(p.constant) for p in report.properties):
        yield f"- {_plain(line)}"
    for note in (*map(str, report.remarks), *report.notes):
        yield f"- {_plain(note)}"
    yield f"- {report.evaluated} of {report.images} images, backend {_plain(report.backend)}"
    for what, digest in report.hashes.items():
        yield f"- {_plain(what)} sha256 `{digest[:16]}`"
    if report.program.params:
        yield "- params: " + _plain(", ".join(f"{n} = {decimal_text(v)}" for n, v in report.program.params))
    yield ""
    yield "</details>"


def _explained(finding: Finding) -> Iterator[str]:
    yield f"- **{_plain(finding.group)}**, {_plain(finding.name)}: {_plain(finding.summary)}"
    yield from (f"  - {_plain(line)}" for line in finding.details)


def _plain(text: str) -> str:
    """Text as text: one line, no markup, no mentions."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("@", "@\u200b")
