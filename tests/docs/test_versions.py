"""The page of versions speaks of what is declared and pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "versions.md").read_text(encoding="utf-8")


def test_every_version_that_is_declared_has_a_column() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert PAGE.splitlines()[5] == f"| | {' | '.join(declared)} |"


def test_the_versions_are_those_that_are_pinned() -> None:
    pinned = dict(
        line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    rows = re.findall(r"^\| ([A-Za-z-]+) \| ([0-9.]+) \|", PAGE, flags=re.MULTILINE)
    assert len(rows) > 10
    for name, version in rows:
        assert pinned[name.lower()] == version, name
