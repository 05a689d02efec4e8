"""GitLab code quality: a JSON list of whatever is not proved, at its line of the specification."""

from __future__ import annotations

import json
from pathlib import PurePath

from robspec.report._findings import findings
from robspec.verify.result import CheckReport

_SEVERITY = {"refuted": "critical", "unknown": "major", "soundness-alarm": "blocker", "interrupted": "blocker"}


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the list; GitLab reads the five fields that it documents and ignores others.

    The first entry, of severity `info`, holds what qualifies every verdict, as there is no other place for it.
    """
    spec = PurePath(report.files.get("spec", "spec.rspec")).as_posix()
    notes = "; ".join(
        [
            *(f"{f.group}, {f.name}: {f.text}" for f in findings(report) if f.passed),
            *map(str, report.remarks),
            *report.notes,
        ]
    )
    entries = [
        {
            "description": notes or "nothing was asked",
            "check_name": "robspec/notes",
            "fingerprint": "0" * 64,
            "severity": "info",
            "location": {"path": spec, "lines": {"begin": 1}},
        }
    ]
    entries += [
        {
            "description": f"{f.group}, {f.name}: {f.text}",
            "check_name": f"robspec/{f.rule}",
            "fingerprint": f.fingerprint,
            "severity": _SEVERITY[f.rule],
            "location": {"path": spec, "lines": {"begin": f.line}},
        }
        for f in findings(report)
        if not f.passed
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
