"""Every diagnostic as the user sees it: for each code a specification, a command, what it prints.

`ROBSPEC_UPDATE_GOLDEN=1 pytest tests/golden` writes what is printed now; read the difference first.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from robspec import checks, registry
from robspec.cli import main
from robspec.cli._pages import pages

HERE = Path(__file__).parent
FOLDERS = sorted(p.parent for p in HERE.glob("*/command.txt"))
ELSEWHERE = {
    "E0007": "needs a long file",
    "E0012": "needs a file of a megabyte",
    "E0014": "needs a full disk",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_prints_what_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", shlex.split((folder / "command.txt").read_text(encoding="utf-8")))
    with pytest.raises(SystemExit) as exited:
        main()
    printed = capsys.readouterr().err
    expected = folder / "stderr.txt"
    if os.environ.get("ROBSPEC_UPDATE_GOLDEN"):
        expected.write_text(printed, encoding="utf-8")
    assert printed == expected.read_text(encoding="utf-8")
    assert f"[{folder.name}]" in printed
    # Of warnings alone only `lint` makes a status.
    fine = 1 if sys.argv[1] == "lint" else 0
    assert exited.value.code == (2 if "error[" in printed else fine)
    assert max(map(len, printed.splitlines())) <= 80


def test_every_code_of_the_front_end_has_a_folder_and_a_page() -> None:
    codes = {checks.code_of(name) for name in registry.names(checks)}
    codes |= {code for code in pages() if code.startswith("E00") and code != "E0020"}
    assert codes - set(ELSEWHERE) == {p.name for p in FOLDERS}
    assert codes <= set(pages())


def test_every_page_of_a_check_shows_an_example_and_its_mend() -> None:
    for name in registry.names(checks):
        body = pages()[checks.code_of(name)].body
        assert "Example::" in body, name
        assert "Mend:" in body, name


def test_no_two_check_modules_share_a_code() -> None:
    codes = [checks.code_of(name) for name in registry.names(checks)]
    assert len(codes) == len(set(codes))
