"""Every notebook runs from top to bottom, and what its cells end in can be shown."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("docs/**/*.ipynb"))


def run(cell: str, names: dict[str, Any]) -> Any:
    """Run one cell as a notebook does: the value of a last expression is shown."""
    tree = ast.parse(cell)  # the notebook is our own
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names: dict[str, Any] = {}
    shown = [run("".join(c["source"]), names) for c in cells if c["cell_type"] == "code"]
    assert all(value is not None for value in shown)
    assert "PROVED" in shown[0]._repr_html_()
    assert "certified" in shown[1]._repr_html_()
