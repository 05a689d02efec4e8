"""A check whose logits are kept answers without opening the model, and without torch; nothing else changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from robspec import kept
from robspec.lower.compile import compile_source
from robspec.models.choice import WHOLE, Choice
from robspec.semantics.norm import LINF
from robspec.session import remembered
from robspec.syntax.source import read_source
from tests.cli.conftest import PROVED, Brightness, Project, export

PROGRAM = """
import sys
from robspec import cli
sys.argv = ["robspec", *sys.argv[1:]]
try:
    cli.main()
finally:
    print("torch:", "torch" in sys.modules, file=sys.stderr)
"""
CHANGING = """
import shutil
from robspec.session import check
reopened, calls = check.reopened, []
def reopening(opening, program, model, *rest, **given):
    calls.append(model)
    if len(calls) == 2:
        shutil.copy("other.pt2", model)
    return reopened(opening, program, model, *rest, **given)
check.reopened = reopening
"""
"""Another file takes the model's place between the first data set and the second."""
ASKED = {
    "accurate": ("pixel_accuracy", "l2", "mean(worst_case) >= 0.5"),
    "steady": ("stability", "linf", "mean(worst_case) >= 0"),
    "found": ("recall[bright]", "l2", "mean(worst_case) >= 0"),
    "overlap": ("iou[bright]", "l2", "mean(worst_case) >= 0"),
    "together": ("pooled iou[bright]", "l2", "worst_case >= 0"),
    "average": ("mean_iou", "l1", "mean(worst_case) >= 0"),
}
FAR = """
property far {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.25
  require radius >= 0 for all images
}
"""


def every(eps: str) -> str:
    """Properties of several kinds, within one budget, and radii."""
    asked = [
        f"property {name} {{\n  metric {metric}\n  norm {norm}\n  budget {eps}\n  require {required}\n}}\n"
        for name, (metric, norm, required) in ASKED.items()
    ]
    return "".join(asked) + FAR


class Runs:
    """Checks in processes of their own, with a cache of their own.

    Args:
        project: what is checked.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(project.root / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def __call__(self, *options: object, before: str = "", **variables: str) -> tuple[Any, bool, str]:
        """Check; the report but for seconds, whether torch was imported, and what was said.

        Args:
            options: of the command.
            before: what Python does first.
            variables: of the environment.
        """
        path = self.project.root / "report.json"
        path.unlink(missing_ok=True)
        asked = ["check", self.project.model, self.project.spec, "-q", "--output", f"json={path}", "--resume"]
        asked = [*asked[:-1], *options] if "--no-store" in options else [*asked, *options]
        command = [sys.executable, "-c", before + PROGRAM, *map(str, asked)]
        done = subprocess.run(
            command, env=self._environment | variables, capture_output=True, text=True, cwd=self.project.root
        )
        report = json.loads(path.read_text()) if path.exists() else None
        if report is not None:
            del report["seconds"]
        return report, "torch: True" in done.stderr, done.stderr


@pytest.fixture
def runs(project: Project) -> Runs:
    return Runs(project)


def test_a_changed_budget_needs_no_torch_and_the_report_is_the_same(runs: Runs) -> None:
    runs.project.write_spec(every("0.1"))
    first, opened, told = runs()
    assert opened, told
    assert first is not None
    for eps in ("0.2", "0.05", "3"):
        runs.project.write_spec(every(eps))
        found, opened, told = runs()
        assert not opened
        assert "resumed: the logits of 1 batches" in told
        anew, opened, _ = runs("--no-store")
        assert opened
        assert found == anew


@pytest.mark.parametrize("options", [("--arithmetic", "exact"), ("--forward", "float64"), ("--limit", 2)])
def test_options_are_remembered_apart(runs: Runs, options: tuple[object, ...]) -> None:
    plain, opened, told = runs()
    assert opened, told
    other, opened, told = runs(*options)
    assert opened or "--limit" in options, told
    again, opened, told = runs(*options)
    assert not opened, told
    assert again == other
    back, opened, _ = runs()
    assert not opened
    assert back == plain
    anew, _, _ = runs("--no-store", *options)
    assert anew == again


def test_another_model_at_the_same_place_is_opened(runs: Runs) -> None:
    own = runs.project.root / "own.pt2"
    project = replace(runs.project, model=export(Brightness(), own))
    project.write_spec(claim="2")
    mine = Runs(project)
    first, _, _ = mine()
    _, opened, _ = mine()
    assert not opened
    export(Brightness(2 * 6**-0.5), own)
    found, opened, told = mine()
    assert opened, told
    assert found["properties"] != first["properties"]
    assert found == mine("--no-store")[0]


def test_all_data_sets_are_of_one_model(runs: Runs) -> None:
    """What is remembered for one data set says nothing of a file that has taken the model's place since."""
    root = runs.project.root
    mine = Runs(replace(runs.project, model=export(Brightness(), root / "own.pt2")))
    export(Brightness(2 * 6**-0.5), root / "other.pt2")
    text = runs.project.write_spec("", claim="2").read_text()
    block = text[text.index("data ") :]
    asked = [
        f"property {use} {{\n  use {use}\n  metric pixel_accuracy\n  norm l2\n  budget 0.1\n"
        "  require mean(worst_case) >= 0.5\n}\n"
        for use in ("val", "again")
    ]
    both = "".join([text, block.replace("val", "again"), *asked])
    runs.project.spec.write_text(both)
    first, opened, told = mine()
    assert opened, told
    assert first is not None, told
    for _ in range(2):  # the second part is remembered once the first is
        found, _, told = mine(before=CHANGING)
        assert found is None
        assert "E0608" in told
        export(Brightness(), root / "own.pt2")
        assert mine()[0] == first
    assert not mine()[1]


def test_what_is_unknown_opens_the_model_to_say_why(runs: Runs) -> None:
    runs()
    runs.project.write_spec(PROVED.replace("budget 0.1", "budget 100"))
    found, opened, told = runs()
    assert opened, told
    (gap,) = (r["gap"] for r in found["properties"][0]["requirements"])
    assert gap is not None
    assert found == runs("--no-store")[0]


def test_images_that_are_new_are_computed(runs: Runs) -> None:
    runs()
    (runs.project.root / "images" / "im3.png").unlink()
    (runs.project.root / "masks" / "im3.png").unlink()
    found, opened, told = runs()
    assert opened, told
    assert found == runs("--no-store")[0]
    assert runs()[1:2] == (False,)


@pytest.mark.parametrize("options", [("--pair-bound",), ("--attack", 2), ("--workers", 1), ("--coarse",)])
def test_what_needs_the_model_opens_it(runs: Runs, options: tuple[object, ...]) -> None:
    runs()
    _, opened, told = runs(*options)
    assert opened == (options != ("--pair-bound",)), told


def test_variables_that_libraries_read_are_part_of_the_key(runs: Runs) -> None:
    runs()
    assert not runs()[1]
    assert runs(OMP_NUM_THREADS="2")[1]
    assert runs(ATEN_CPU_CAPABILITY="default")[1]


def test_an_entry_that_contradicts_the_file_is_an_error(runs: Runs) -> None:
    """Where the model has to be opened after all, what was remembered must come of it."""
    runs()
    (path,) = (runs.project.root / "cache" / "robspec" / "opened").glob("*.json")
    entry = kept.kept(path)
    assert entry is not None
    entry["constants"][0]["value"] = str(Fraction(entry["constants"][0]["value"]) / 2)
    kept.keep(path, entry)
    runs.project.write_spec(PROVED.replace("budget 0.1", "budget 100"))
    found, _, told = runs()
    assert found is None
    assert "E0608" in told


def test_entries_that_cannot_be_read_are_left_aside(runs: Runs) -> None:
    whole, _, _ = runs()
    (path,) = (runs.project.root / "cache" / "robspec" / "opened").glob("*.json")
    text = path.read_text()
    for broken in ("", "{}", text[:-40], text.replace("proved", "refuted"), text.replace('\\"wide\\"', '\\"high\\"')):
        path.write_text(broken)
        found, opened, told = runs()
        assert opened, told
        assert found == whole
    for field in ("constants", "claims", "shapes", "identity"):
        entry = kept.kept(path)
        assert entry is not None
        kept.keep(path, {k: v for k, v in entry.items() if k != field})
        assert runs()[:2] == (whole, True)


def test_nothing_is_remembered_of_code_that_has_just_changed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, _ = compile_source(read_source(project.spec), {}, None)
    assert program is not None
    given: dict[str, Any] = {"forward": "model", "arithmetic": None, "unreal": ""}
    assert remembered.key(program, "a", WHOLE, **given) is not None
    newest = max(p.stat().st_mtime for p in Path(remembered.__file__).parents[1].rglob("*.py"))
    monkeypatch.setattr(remembered.time, "time", lambda: newest + 1.0)
    assert remembered.key(program, "a", WHOLE, **given) is None


def test_everything_a_constant_depends_on_is_part_of_the_key(project: Project) -> None:
    program, _ = compile_source(read_source(project.spec), {}, None)
    assert program is not None
    given: dict[str, Any] = {"forward": "model", "arithmetic": None, "unreal": ""}
    mine = remembered.key(program, "a", WHOLE, **given)
    assert mine == remembered.key(program, "a", WHOLE, **given)
    model, first = program.model, program.properties[0]
    linf = replace(first, query=replace(first.query, norm=LINF))
    others = [
        remembered.key(program, "b", WHOLE, **given),
        remembered.key(program, "a", Choice(output="1"), **given),
        *(remembered.key(program, "a", WHOLE, **(given | {name: "real"})) for name in given),
        remembered.key(replace(program, model=replace(model, high=Fraction(2))), "a", WHOLE, **given),
        remembered.key(replace(program, model=replace(model, claim=None)), "a", WHOLE, **given),
        remembered.key(replace(program, properties=(linf, *program.properties[1:])), "a", WHOLE, **given),
        remembered.key(replace(program, properties=program.properties[:1]), "a", WHOLE, **given),
    ]
    assert len({mine, *others}) == len(others) + 1
