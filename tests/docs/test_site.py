"""The documentation builds as a site, and a broken link is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from robspec.cli._pages import pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytest.importorskip("sphinx")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    out = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
    ]
    done = subprocess.run([*command, DOCS, out], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors = (out / "reference" / "errors.html").read_text(encoding="utf-8")
    for code in pages():
        assert f'id="{code.lower()}"' in errors


def test_every_page_is_in_the_contents() -> None:
    listed = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")]):
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or f"\n{name}\n" in listed, name
