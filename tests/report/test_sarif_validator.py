"""SARIF as its own makers validate it: against the published schema, and what GitHub asks for besides.

The validator is a program of its own, `@microsoft/sarif-multitool-linux` on npm (5.7.0 was used); where ROBSPEC_SARIF
names it the logs are given to it, else `tests/report/test_machine_formats.py` reads them with sarif-pydantic alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from robspec.report import render
from robspec.verify.result import CheckReport, Verdict
from tests.report.test_machine_formats import hostile, report

PROGRAM = os.environ.get("ROBSPEC_SARIF", "")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="ROBSPEC_SARIF names no Sarif.Multitool")

CUT = report(Verdict.PROVED, evaluated=2)
LOGS = [(f"{made.__name__}-{v.value}", made(v)) for made in (report, hostile) for v in Verdict] + [("cut", CUT)]


def complaints(text: str, folder: Path) -> list[str]:
    """Rules that a log breaks, but the one that asks for a web address of the tool, which has none."""
    path, out = folder / "log.sarif", folder / "out.sarif"
    path.write_text(text, encoding="utf-8")
    command = [PROGRAM, "validate", str(path), "--output", str(out), "--rule-kind", "Sarif;Ghas"]
    environment = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (run,) = json.loads(out.read_text(encoding="utf-8-sig"))["runs"]
    found: list[dict[str, Any]] = run.get("results", [])
    return [str(r["ruleId"]) for r in found if r["ruleId"] != "SARIF2005"]


@pytest.mark.parametrize(("name", "found"), LOGS, ids=[name for name, _ in LOGS])
def test_nothing_is_complained_of(name: str, found: CheckReport, tmp_path: Path) -> None:
    assert complaints(render("sarif", found), tmp_path) == [], name


def test_the_validator_complains_of_what_the_schema_does_not_allow(tmp_path: Path) -> None:
    log = json.loads(render("sarif", CUT))
    log["runs"][0]["nonsense"] = 1
    assert complaints(json.dumps(log), tmp_path) == ["JSON1005"]
