"""The commands that need no model: what they print, write and return."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner

from robspec.cli import main
from robspec.cli._pages import pages
from robspec.cli.explain import command
from robspec.ir import serialise
from robspec.lower import compile_file

SPEC = """language 1
param eps=0.1 # override me
model {
input image [3,4,4] in [0,1]
output logits [2,4,4]
classes a,b
}
data val { images "i/*.png"
masks "m/*.png" }
property p {
metric pixel_accuracy
norm ℓ2
budget eps
require worst_case ≥ 0.5 for all images }
"""

FORMATTED = """language 1
param eps = 0.1  # override me

model {
  input     image [3, 4, 4] in [0, 1]
  output    logits [2, 4, 4]
  classes   a, b
}

data val {
  images "i/*.png"
  masks  "m/*.png"
}

property p {
  metric   pixel_accuracy
  norm     l2
  budget   eps
  require  worst_case >= 0.5 for all images
}
"""


class Ran:
    """What a command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


Run: TypeAlias = Callable[..., Ran]


@pytest.fixture
def robspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a fresh directory that holds `p.rspec`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.rspec").write_text(SPEC, encoding="utf-8")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["robspec", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return Ran(exited.value.code, captured.out, captured.err)

    return run


class TestCompile:
    """`robspec compile` prints the program, warnings beside it, and returns 2 on errors."""

    def test_text(self, robspec: Run) -> None:
        ran = robspec("compile", "p.rspec", "--set", "eps=8/255")
        assert (ran.status, ran.err) == (0, "")
        assert "param eps = 8/255\n" in ran.out

    def test_json_reads_back(self, robspec: Run) -> None:
        ran = robspec("compile", "p.rspec", "--format", "json")
        assert ran.status == 0
        assert serialise.from_json(json.loads(ran.out)) == compile_file("p.rspec")

    def test_explain(self, robspec: Run) -> None:
        ran = robspec("compile", "p.rspec", "--explain")
        assert ran.status == 0
        assert "family: counting (section 3.A)" in ran.out
        assert robspec("compile", "p.rspec", "--explain", "--format", "json").status == 2

    def test_warnings_go_beside_the_output(self, robspec: Run) -> None:
        ran = robspec("compile", "p.rspec", "--set", "eps=8")
        assert ran.status == 0
        assert ran.err.startswith("warning[W0102]")
        assert ran.out.startswith("program, language 1\n")

    def test_errors_leave_no_output(self, robspec: Run) -> None:
        ran = robspec("compile", "p.rspec", "--set", "eps=-1")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("error[E0107]")


class TestFmt:
    """`robspec fmt` writes the one layout, in one step, and never touches what it cannot read."""

    def test_in_place_and_then_nothing_more(self, robspec: Run) -> None:
        path = Path("p.rspec")
        path.chmod(0o640)
        assert robspec("fmt", "--check", "p.rspec").status == 1
        assert robspec("fmt", "p.rspec").status == 0
        assert path.read_text(encoding="utf-8") == FORMATTED
        assert path.stat().st_mode & 0o777 == 0o640
        assert robspec("fmt", "--check", "p.rspec").status == 0
        assert [p.name for p in Path().iterdir()] == ["p.rspec"]

    def test_check_and_diff_write_nothing(self, robspec: Run) -> None:
        ran = robspec("fmt", "--diff", "p.rspec")
        assert ran.status == 0
        assert "+  norm     l2\n" in ran.out
        assert robspec("fmt", "--check", "--diff", "p.rspec").status == 1
        assert Path("p.rspec").read_text(encoding="utf-8") == SPEC

    def test_links_are_followed(self, robspec: Run) -> None:
        Path("link.rspec").symlink_to("p.rspec")
        assert robspec("fmt", "link.rspec").status == 0
        assert Path("link.rspec").is_symlink()
        assert Path("p.rspec").read_text(encoding="utf-8") == FORMATTED

    def test_a_broken_file_is_left_alone_and_the_others_formatted(self, robspec: Run) -> None:
        Path("broken.rspec").write_text("language   1\nparam\n", encoding="utf-8")
        ran = robspec("fmt", "broken.rspec", "none.rspec", "p.rspec")
        assert ran.status == 2
        assert "error[E0001]" in ran.err
        assert "error[E0010]" in ran.err
        assert Path("broken.rspec").read_text(encoding="utf-8") == "language   1\nparam\n"
        assert Path("p.rspec").read_text(encoding="utf-8") == FORMATTED

    def test_standard_input(self, robspec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SPEC.encode())))
        ran = robspec("fmt", "-")
        assert (ran.status, ran.out) == (0, FORMATTED)

    def test_a_failed_write_leaves_the_file(self, robspec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        ran = robspec("fmt", "p.rspec")
        assert ran.status == 2
        assert "error[E0014]" in ran.err
        assert "No space left" in ran.err
        assert [p.name for p in Path().iterdir()] == ["p.rspec"]
        assert Path("p.rspec").read_text(encoding="utf-8") == SPEC


class TestExplain:
    """`robspec explain` has a page for every code, and the nearest code for a mistaken one."""

    def test_pages_of_checks_and_of_errors(self, robspec: Run) -> None:
        assert robspec("explain", "e0118").out.startswith("E0118: confidence that has no meaning\n\n")
        assert robspec("explain", "E0901").out.startswith("E0901: soundness alarm\n\n")
        assert robspec("explain", "E0013").out.startswith("E0013: an override cannot be used\n\n")

    def test_list(self, robspec: Run) -> None:
        lines = robspec("explain", "--list").out.splitlines()
        codes = [line.split()[0] for line in lines]
        assert codes == sorted(set(codes))
        assert {"E0001", "E0012", "E0137", "E0901", "W0101"} <= set(codes)
        assert all(len(line.split(maxsplit=1)) == 2 for line in lines)

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_text_fits_the_terminal_and_code_is_left_alone(self, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        for code, page in pages().items():
            shown = CliRunner().invoke(command, [code]).output
            assert "".join(shown.split()) == "".join(f"{code}:{page.title}{page.body}".split())
            lines = shown.splitlines()[2:]
            assert [ln for ln in lines if ln[:1] == " "] == [ln for ln in page.body.splitlines() if ln[:1] == " "]
            assert all(len(ln) <= width for ln in lines if ln[:1] != " "), code
            assert [ln for ln in lines if ln.startswith("Mend:")] != [] or "\nMend:" not in page.body

    def test_unknown_code(self, robspec: Run) -> None:
        ran = robspec("explain", "E118")
        assert ran.status == 2
        assert "did you mean E0118?" in ran.err
        assert robspec("explain").status == 2


def test_a_mistyped_command(robspec: Run) -> None:
    ran = robspec("chek")
    assert (ran.status, "did you mean `check`?" in ran.err) == (2, True)
    assert "did you mean" not in robspec("zzzzzz").err


class TestStartUp:
    """The front end starts at once: it never imports the numerical libraries."""

    HEAVY = ("torch", "numba", "numpy", "cvxpy", "scipy", "triton", "orthogonium")

    def loaded(self, tmp_path: Path, *arguments: str) -> set[str]:
        (tmp_path / "p.rspec").write_text(
            SPEC.replace("budget eps", "degraded when h <= eps").replace("worst_case", "radius"),
            encoding="utf-8",
        )
        code = (
            "import sys, atexit\n"
            "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"
            "from robspec.cli import main\n"
            f"sys.argv = {['robspec', *arguments]!r}\n"
            "main()\n"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return set(run.stderr.split())

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--help",),
            ("compile", "p.rspec"),
            ("fmt", "p.rspec"),
            ("explain", "E0118"),
            ("explain", "--list"),
            ("metrics",),
            ("compile", "p.rspec", "--explain"),
        ],
    )
    def test_no_numerical_library_is_imported(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        loaded = self.loaded(tmp_path, *arguments)
        assert "robspec.cli" in loaded
        assert loaded.isdisjoint(self.HEAVY)

    def test_help_needs_neither_parser_nor_algebra(self, tmp_path: Path) -> None:
        assert self.loaded(tmp_path, "--help").isdisjoint({"lark", "sympy", "robspec.lower"})

    def test_help_is_prompt(self, tmp_path: Path) -> None:
        """What takes time is importing: counted, and not timed, since a busy machine is no defect."""
        assert len(self.loaded(tmp_path, "--help")) < 300


def test_no_two_errors_share_a_code() -> None:
    """`robspec explain CODE` can only be right if a code means one thing."""
    from robspec.cli._pages import _of_checks, _of_errors

    codes = [page.code for page in (*_of_checks(), *_of_errors(files("robspec")))]
    assert len(codes) == len(set(codes)), sorted(c for c in codes if codes.count(c) > 1)
