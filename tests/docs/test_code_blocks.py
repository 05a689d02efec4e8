"""Every code block of the README and of every page runs, or is named here with where else it is run."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

import robspec.cli
from robspec import extras, registry
from robspec.lower import compile_text

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(p for p in ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("specs/*/README.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ELSEWHERE = {
    "make demo": ".ci/run installs the same environment; the command it runs is tested below",
    "make test": "it is what runs this test",
    "make bench": "a benchmark, not a test; tests/benchmarks runs its parts",
    "robspec check specs/runway/runway.pt2 specs/runway/runway.rspec --workers 2": "tests/cli/test_workers.py",
    "robspec check specs/runway/runway.pt2 specs/runway/runway.rspec --watch": "tests/cli/test_watch.py",
    "make results": "half an hour; tests/specs measures what it made",
    "make mutants": "not part of the suite",
    "python specs/detector/results.py": "ten minutes; tests/specs checks what it shipped",
    "python specs/runway/generate.py": "tests/specs draws scenes",
    "python specs/runway/train.py --out weights.pt": "five minutes; tests/specs trains a few steps",
    "robspec counterfactual specs/runway/runway.pt2 scenes/images/0000.png --spec specs/runway/runway.rspec "
    "--data scenes --to runway --pixel 40,20 --steps 20": "tests/cli asks at a pixel; another on this page is run",
    "robspec counterfactual specs/runway/strong.pt2 specs/runway/images/004.png --spec specs/runway/runway.rspec "
    "--property accurate_under_attack --attribution gradient --beside specs/runway/standard.pt2 --output maps "
    "--steps 12": "tests/cli makes maps of a model and of its twin",
    "robspec counterfactual specs/runway/runway.pt2 specs/runway/images/*.png --spec specs/runway/runway.rspec "
    "--property hard_to_degrade": "two minutes; tests/specs asks about some of the scenes",
    "pytest --robspec-model specs/runway/runway.pt2 specs/runway/runway.rspec": "tests/cli/test_pytest_plugin.py",
    "python make_onnx.py": "saved and run before the commands of its page",
    "cd specs/runway": "only changes the folder",
    "robspec export --arch network:build --weights ../../weights.pt --input 3,64,64 runway.pt2": "tests/specs",
    "robspec export --arch my_network:build --input 3,256,256 --accumulate float64 model.pt2": "tests/models",
    "python certify.py": "tests/specs compares the table",
}
LANGUAGE_PAGE = "language.md"
STEP_BY_STEP = ("train-privately.md",)
"""Pages whose commands need what the ones before them made."""


def blocks(kind: str) -> list[object]:
    found = []
    for page in PAGES:
        matches = list(enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))))
        texts = [(number, match[2]) for number, match in matches if match[1] == kind]
        if (page.parent.name == "tutorial" or page.name in STEP_BY_STEP) and kind == "console":
            # One step after the other.
            texts = [(0, "".join(text for _, text in texts))]
        found += [pytest.param(page, text, id=f"{page.relative_to(ROOT)}:{number}") for number, text in texts]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what the pages' commands name, so that nothing is written into the checkout."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    return tmp_path


@pytest.mark.parametrize(("page", "text"), blocks("rspec"))
def test_specifications_compile(page: Path, text: str) -> None:
    if page.name == LANGUAGE_PAGE:
        pytest.skip("test_language_reference.py completes and compiles these")
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    assert not diagnostics


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In that folder, whose modules are forgotten again: a process for each command would be a minute of imports."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(("page", "text"), blocks("console"))
def test_commands_run(
    page: Path, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if page.name == "train-privately.md" and extras.missing("private"):
        pytest.skip("dp-accounting is not installed")
    for line in text.splitlines():
        if not line.startswith("$ ") or line[2:] in ELSEWHERE:
            continue
        words = line[2:].split()
        assert words[0] == "robspec", f"{line}: neither run here nor named in ELSEWHERE"
        _prepare(page, folder)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            robspec.cli.main()
        assert not stop.value.code, (line, capsys.readouterr())


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_runs(page: Path, text: str, folder: Path) -> None:
    (folder / "block.py").write_text(text)
    runpy.run_path("block.py", run_name="__main__")


def _prepare(page: Path, folder: Path) -> None:
    """Save the files a page tells its reader to save, and the weights it tells them to have."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        named = re.match(r"# file: ([^\s,]+)", match[2])
        if match[1] in ("toml", "rspec") and named:
            (folder / named[1]).write_text(match[2])
        if match[1] == "python" and named:
            (folder / named[1]).write_text(match[2])
            module = importlib.import_module(named[1][:-3])
            if not hasattr(module, "build"):
                continue  # a script, which has run now
            state = module.build().state_dict()
            torch.save(state, folder / "weights.pt")
            named_so = {"model." + name: value for name, value in state.items()}
            torch.save({"epoch": 7, "state_dict": named_so}, folder / "last.ckpt")


def test_the_readme_opens_with_the_two_commands() -> None:
    head = (ROOT / "README.md").read_text(encoding="utf-8").split("##")[0]
    assert head.index("$ make demo") < head.index("PROVED") < head.index("$ make test")


def test_the_readme_shows_what_the_demo_prints(folder: Path) -> None:
    command = [sys.executable, "-m", "robspec", "check", "specs/runway/runway.pt2", "specs/runway/runway.rspec"]
    width = {"COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **width}
    )
    assert done.returncode == 0, done.stderr
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in done.stdout.splitlines():
        words = " ".join(line.split())
        if words and not re.search(r"\d s: load", words) and not set(words) <= {"─"}:
            assert words in {" ".join(row.split()) for row in shown.splitlines()}, line


def test_every_command_is_documented() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    for name in registry.names(robspec.cli):
        assert f"robspec {name}" in text, f"no page shows `robspec {name}`"


def test_every_option_is_documented() -> None:
    """Under the heading of its command, or in its rows of the table of the other commands."""
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## Options of (.+?)\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE))
    others = parts["the other commands"].splitlines()
    for name in registry.names(robspec.cli):
        rows = "\n".join(row for row in others if row.startswith(f"| `{name}` |"))
        text = parts.get(f"`robspec {name}`", rows)
        command = robspec.cli.cli.get_command(click.Context(robspec.cli.cli), name)
        assert command is not None
        options = {option for p in command.params for option in p.opts if option.startswith("--")}
        assert options - set(re.findall(r"--[a-z-]+", text)) == set(), name


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/**/*.md"):
        assert str(page.relative_to(ROOT)) in readme
