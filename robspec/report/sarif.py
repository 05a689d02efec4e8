"""SARIF 2.1.0 for code scanning: whatever is not proved, at the property's line of the specification.

Readers such as GitHub reject a whole upload for one result without a physical location, take at most 25,000 results,
and show passed results as alerts: so only what fails is a result, each has a line, and what is beyond the limit is
counted in a notification.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from robspec.report._findings import Finding, findings
from robspec.report._words import overall_line
from robspec.verify.result import CheckReport

MOST = 25_000
_RULES = {
    "refuted": (
        "A concrete image violates the requirement.",
        "error",
        "Look at the image: `robspec replay` shows from its witness that it violates the requirement.",
    ),
    "unknown": (
        "Neither proved nor refuted: the bound does not reach, and nothing found violates it.",
        "warning",
        "The report says which gap it is, and the next command: `--attack`, a smaller budget, or `robspec train`.",
    ),
    "soundness-alarm": (
        "An independent computation contradicts a bound.",
        "error",
        "Rely on nothing that this check says; keep the files it names, and report them.",
    ),
    "interrupted": (
        "Not every image was checked.",
        "error",
        "Run the check again: what it computed is kept, and it goes on from there.",
    ),
}
"""Of each rule what it says, its level, and what to do."""


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the report as a SARIF log of one run."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def document(report: CheckReport) -> dict[str, Any]:
    """Build the log.

    Args:
        report: the check.

    Returns:
        JSON-ready values.

    Source: SARIF 2.1.0, OASIS Standard.
    """
    found = findings(report)
    failing = [f for f in found if not f.passed]
    names = list(_RULES)
    spec = _uri(report.files.get("spec", ""))
    notes = [f"{f.group}, {f.name}: {f.text}" for f in found if f.passed]
    notes += [*map(str, report.remarks), *report.notes]
    if len(failing) > MOST:
        notes.insert(0, f"{len(failing) - MOST} of {len(failing)} results are left out")
    invocation: dict[str, Any] = {
        "executionSuccessful": report.complete,
        "exitCode": report.exit_status(allow_unknown=report.allow_unknown),
        "toolExecutionNotifications": [{"level": "note", "message": {"text": note}} for note in notes],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "robspec",
                        "version": report.versions.get("robspec", "0"),
                        "rules": [
                            {
                                "id": name,
                                "shortDescription": {"text": text},
                                "fullDescription": {"text": text},
                                "help": {"text": mend},
                                "defaultConfiguration": {"level": level},
                            }
                            for name, (text, level, mend) in _RULES.items()
                        ],
                    }
                },
                "invocations": [invocation],
                "results": [_result(f, names.index(f.rule), spec) for f in failing[:MOST]],
                "properties": {"summary": overall_line(report), "sha256": dict(report.hashes)},
            }
        ],
    }


def _result(finding: Finding, index: int, spec: str) -> dict[str, Any]:
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _RULES[finding.rule][1],
        "message": {"text": f"{finding.group}: {finding.text}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": spec},
                    "region": {"startLine": finding.line},
                },
                "logicalLocations": [{"name": finding.group, "kind": "member"}],
            }
        ],
        "partialFingerprints": {"robspec/v1": finding.fingerprint},
    }


def _uri(path: str) -> str:
    """The specification's path as it was given, relative to where the command ran wherever it was."""
    return quote(PurePath(path).as_posix(), errors="replace") or "spec.rspec"
