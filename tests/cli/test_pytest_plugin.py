"""The pytest plugin, run by a pytest of its own: one test per property, failures that say bound and requirement."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PROVED, Project

UNKNOWN = PROVED.replace("budget 0.1", "budget 1.5").replace(">= 0.5", ">= 0.97")
# The entry point may be installed or not: either way the module of this checkout is the plugin.
PLUGIN = ("-p", "no:robspec", "-p", "robspec.pytest_plugin", "-p", "no:cacheprovider")


def ran(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-q", *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_properties_are_tests(project: Project) -> None:
    project.write_spec(UNKNOWN)
    (project.root / "pytest.ini").write_text(f"[pytest]\nrobspec_model = {project.model}\n")
    done = ran(project.root, project.spec.name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "UNKNOWN: certified 0." in done.stdout
    assert "required mean(worst_case) >= 0.97" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_a_model_nothing_is_collected(project: Project) -> None:
    done = ran(project.root)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert "--robspec-model" not in done.stdout
    named = ran(project.root, project.spec.name)
    assert "robspec: name a model with --robspec-model" in named.stdout + named.stderr


def test_bad_input_is_one_clear_error(project: Project) -> None:
    wrong = ran(project.root, "--robspec-model", "none.pt2", project.spec.name)
    assert wrong.returncode == 1
    assert "none.pt2" in wrong.stdout
    assert "Traceback" not in wrong.stdout
    project.spec.write_text("language 1\nmodel {")
    broken = ran(project.root, "--robspec-model", project.model, project.spec.name)
    assert broken.returncode == pytest.ExitCode.INTERRUPTED
    assert "E0004" in broken.stdout
