"""robspec from Python: the same reports as the command line's, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import robspec as package
from robspec.api import BadReport
from robspec.diagnostics import SpecError
from robspec.report.json import document
from tests.cli.conftest import Project, Run
from tests.cli.conftest import archive as archive
from tests.cli.conftest import project as project
from tests.cli.conftest import robspec as robspec

PARAM = """
param eps = 0.1
property accurate {
  metric pixel_accuracy
  norm l2
  budget eps
  require mean(worst_case) >= 0.5
}
"""


def test_a_check_is_that_of_the_command_line(project: Project, robspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = robspec("check", project.model, project.spec, "--format", "json", "--output", path)
    written = package.load_report(path)
    report = package.check(project.model, project.spec)
    assert report.exit_status() == result.status
    made = document(report)
    for key in ("sha256", "properties", "claims", "images", "remarks", "notes"):
        assert made[key] == written[key], key
    assert not (tmp_path / "robspec-out").exists()


def test_params_are_exact(project: Project) -> None:
    project.write_spec(PARAM)
    report = package.check(str(project.model), str(project.spec), params={"eps": "1/3"}, attack=3)
    assert report.properties[0].source.query.budgets == (Fraction(1, 3),)  # type: ignore[union-attr]
    assert report.attack_steps == 3
    assert package.compile(project.spec, params={"eps": 2}).params == (("eps", Fraction(2)),)
    with pytest.raises(TypeError, match="float"):
        package.compile(project.spec, params={"eps": 0.1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="no option atack"):
        package.check(project.model, project.spec, atack=3)


def test_a_constant_is_proved(project: Project) -> None:
    assert 1 <= package.prove(project.model).bound < 1.0001
    with pytest.raises(ValueError, match="l7"):
        package.prove(project.model, input_norm="l7")


def test_errors_are_those_of_the_language(tmp_path: Path) -> None:
    (tmp_path / "s.rspec").write_text("language 1\nmodel {\n")
    with pytest.raises(SpecError):
        package.check("missing.pt2", tmp_path / "s.rspec")


WRONG = ["", "[]", "{}", '{"schema": "robspec-report", "schema_version": 99}', "[" * 100_000]


@pytest.mark.parametrize("text", WRONG, ids=["empty", "list", "object", "version", "deep"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadReport) as caught:
        package.load_report(tmp_path / "r.json")
    assert caught.value.code == "E0604"


def test_importing_costs_nothing_and_names_are_there() -> None:
    code = "import sys, robspec; print(robspec.__all__, 'torch' in sys.modules, hasattr(robspec, 'nothing'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['Spec', 'check', 'compile', 'load_report', 'prove'] False False"
