"""`robspec lint`: what it prints and how it exits."""

from __future__ import annotations

from tests.cli.conftest import PROVED, Project, Run


def test_nothing_to_say(project: Project, robspec: Run) -> None:
    result = robspec("lint", project.spec, project.spec)
    assert (result.status, result.out, result.err) == (0, "", "")


def test_warnings_exit_1_and_errors_2(project: Project, robspec: Run) -> None:
    doubtful, wrong = project.root / "doubtful.rspec", project.root / "wrong.rspec"
    project.write_spec(PROVED.replace("budget 0.1", "budget 16"))
    doubtful.write_text(project.spec.read_text())
    project.write_spec(PROVED.replace("pixel_accuracy", "pixel_acuracy"))
    wrong.write_text(project.spec.read_text())
    warned = robspec("lint", doubtful)
    assert warned.status == 1
    assert "W0102" in warned.err
    assert robspec("lint", doubtful, "--errors-only").status == 0
    both = robspec("lint", doubtful, wrong, project.root / "none.rspec")
    assert both.status == 2
    assert "W0102" in both.err
    assert "E0103" in both.err
    assert "none.rspec" in both.err


def test_what_is_a_matter_of_style_is_said_by_lint_alone(project: Project, robspec: Run) -> None:
    project.write_spec(PROVED[: PROVED.index("property far")])
    found = robspec("lint", project.spec)
    assert (found.status, found.err.count("W0108")) == (1, 2)
    assert robspec("compile", project.spec).err == ""
    assert robspec("lint", project.spec, "--ignore", "w0108").status == 0
    assert robspec("lint", project.spec, "--ignore", "E0103").status == 2
