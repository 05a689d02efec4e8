"""The GitHub Action acted out by its own script, on a repository that is green and then red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PROVED, Project

ACTION = Path(__file__).parents[2] / ".github" / "actions" / "check" / "check.sh"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the Action's runners have bash")
def test_green_then_red(project: Project) -> None:
    green = act(project)
    assert green.returncode == 0, green.stderr
    assert "::error" not in green.stdout
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "mean(worst_case) >= 1"))
    red = act(project)
    assert red.returncode == 1
    (line,) = [row for row in red.stdout.splitlines() if row.startswith("::error")]
    assert line.startswith("::error file=spec.rspec,line=13,title=accurate%3A REFUTED::REFUTED: certified 0.")
    (run,) = json.loads((project.root / "r.sarif").read_text())["runs"]
    assert [r["level"] for r in run["results"]] == ["error"]
    summary = (project.root / "summary.md").read_text()
    assert summary.count("## robspec: spec.rspec") == 2
    assert "**REFUTED**" in summary


def act(project: Project) -> subprocess.CompletedProcess[str]:
    """Run the script as the Action does, with `robspec` on the path."""
    tools = project.root / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "robspec").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m robspec "$@"\n')
    (tools / "robspec").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "ROBSPEC_MODEL": str(project.model),
        "ROBSPEC_SPEC": project.spec.name,
        "ROBSPEC_ARGUMENTS": "--batch-size 2",
        "ROBSPEC_SARIF": "r.sarif",
        "RUNNER_TEMP": str(project.root),
        "GITHUB_STEP_SUMMARY": "summary.md",
    }
    command = ["bash", str(ACTION)]
    return subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
