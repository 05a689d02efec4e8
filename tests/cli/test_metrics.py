"""`robspec metrics` and the page it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from robspec.cli.metrics import command
from robspec.metrics import built_in

from .conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_reference_page_is_up_to_date(robspec: Run) -> None:
    ran = robspec("metrics", "--format", "markdown")
    assert ran.status == 0
    assert ran.out == PAGE.read_text(encoding="utf-8"), "write it: robspec metrics --format markdown"


def test_the_list_names_every_metric_with_formula_polarity_and_family(robspec: Run) -> None:
    # A line that begins with blanks goes on with the formula above it.
    lines = re.sub(r"\n +", " ", robspec("metrics").out).splitlines()
    for info in built_in().values():
        line = next(ln for ln in lines if ln.startswith((f"{info.name} ", f"{info.name}[", f"{info.name}(")))
        assert info.formula in line
        assert (" lower " if info.lower_is_better else " higher ") in line
        assert any(
            f" {family} " in line for family in ("counting", "ratio", "macro", "weighted", "scores", "components")
        )


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    every = [[], *([name] for name in built_in())]
    shown = [CliRunner().invoke(command, arguments).output for arguments in every]
    assert max(len(line) for text in shown for line in text.splitlines()) in range(width - 20, width + 1)


def test_one_metric(robspec: Run) -> None:
    shown = robspec("metrics", "sensitivity").out
    assert shown.startswith("recall[k]: ")
    assert "formula: TP[k] / (TP[k] + FN[k])\n" in shown
    assert "also: weighted recall[k], pooled recall[k]\n" in shown


def test_one_metric_is_shown_line_by_line(robspec: Run) -> None:
    assert robspec("metrics", "stability").out.splitlines() == [
        "stability: the share of all pixels that keep the class predicted on the clean image",
        "  formula: pixels predicted as on the clean image / pixels",
        "  better: higher",
        "  values: from 0 to 1",
        "  undefined: never",
        "  family: counting (MATH.md section 3.A)",
        "  also: weighted stability",
        "  masks: not needed",
        "  source: MATH.md section 3.A",
    ]


def test_json(robspec: Run) -> None:
    every = json.loads(robspec("metrics", "--format", "json").out)
    assert {m["name"] for m in every} == {info.name for info in built_in().values()}
    (precision,) = json.loads(robspec("metrics", "precision", "--format", "json").out)
    assert precision in every
    assert precision["worst_when_undefined"] is True
    assert (precision["family"], precision["section"], precision["pooled"]) == ("ratio", "3.C", True)


def test_mistakes(robspec: Run) -> None:
    ran = robspec("metrics", "precison")
    assert ran.status == 2
    assert "did you mean `precision`?" in ran.err
    assert robspec("metrics", "iou", "--format", "markdown").status == 2
