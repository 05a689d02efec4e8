"""GitHub Actions: an annotation for whatever is not proved, at its line of the specification."""

from __future__ import annotations

from robspec.report._findings import Finding, findings
from robspec.report._words import overall_line
from robspec.verify.result import CheckReport

SHOWN = 10
"""GitHub shows this many annotations of each level for one step; the rest would be dropped without a word."""


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write workflow commands, then what the notes say and the sum of it all as plain lines of the log."""
    spec = report.files.get("spec", "")
    failing = [f for f in findings(report) if not f.passed]
    lines = []
    for level in ("error", "warning"):
        those = [f for f in failing if _level(f) == level]
        lines += [_command(level, spec, f) for f in those[: SHOWN if len(those) <= SHOWN else SHOWN - 1]]
        if len(those) > SHOWN:
            more = f"and {len(those) - SHOWN + 1} more, in the report"
            lines.append(f"::{level} file={_property(spec)},line=1,title=robspec::{_data(more)}")
    lines += [f"::notice title=robspec::{_data(str(note))}" for note in report.remarks[:SHOWN]]
    # What GitHub would drop of the remarks is at least in the log, whose lines must not be taken for commands.
    said = (*map(str, report.remarks[SHOWN:]), *report.notes, *_passed(report), overall_line(report))
    lines += [f"robspec: {' '.join(line.split())}" for line in said]
    return "".join(f"{line}\n" for line in lines)


def _level(finding: Finding) -> str:
    return "warning" if finding.rule == "unknown" else "error"


def _passed(report: CheckReport) -> list[str]:
    return [f"{f.group}, {f.name}: {f.text}" for f in findings(report) if f.passed]


def _command(level: str, spec: str, finding: Finding) -> str:
    title = _property(f"{finding.group}: {finding.label}")
    return f"::{level} file={_property(spec)},line={finding.line},title={title}::{_data(finding.text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
