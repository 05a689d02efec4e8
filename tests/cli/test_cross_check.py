"""`robspec check --cross-check`: what it compares, and the alarm when a bound is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from rich.text import Text

from robspec.bounds import counting
from tests.cli.conftest import Project, Run
from tests.cli.test_kvasir import KVASIR

EVERY_FAMILY = """
property counting {
  metric pixel_accuracy
  norm l2
  budget 1.5
  require mean(worst_case) >= 0
}
property rate {
  metric fnr[bright]
  norm linf
  budget 0.3
  require mean(worst_case) <= 1
}
property overlap {
  metric iou[bright]
  norm l2
  degraded when h <= 0.5 * h0
  require radius >= 0 for all images
}
property macro {
  metric mean_iou
  norm l1
  budget 2
  require mean(worst_case) >= 0
}
property mean_recall {
  metric mean_accuracy
  norm l2
  budget 1.5
  require mean(worst_case) >= 0
}
property both {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.8 or h <= 0.9 * h0
  require radius >= 0 for all images
}
property together {
  metric pooled dice[bright]
  norm l2
  budget 1.5
  require worst_case >= 0
}
property together_far {
  metric pooled iou[bright]
  norm l2
  degraded when h <= 0.5
  require radius >= 0
}
"""


def test_every_family_is_compared_and_listed(project: Project, robspec: Run, tmp_path: Path) -> None:
    project.write_spec(EVERY_FAMILY)
    path = tmp_path / "report.json"
    result = robspec("check", project.model, project.spec, "--cross-check", 2, "--format", "json", "--output", path)
    assert result.status == 0, result.err
    found = json.loads(path.read_text())["cross_check"]
    assert (found["asked"], found["disagreed"], found["not_solved"]) == (2, 0, 0)
    assert found["images"] == ["images/im0.png", "images/im2.png"]
    assert {c["property"] for c in found["comparisons"]} == {
        "counting", "rate", "overlap", "macro", "mean_recall", "both", "together", "together_far"
    }  # fmt: skip
    assert {c["direction"] for c in found["comparisons"]} == {"equal", "bound <= optimum"}
    for c in found["comparisons"]:
        assert c["agreed"] is True
        assert c["tolerance"]
        assert c["seconds"] >= 0
    methods = " ".join(c["method"] for c in found["comparisons"])
    for word in ("conic program", "linear relaxation", "integer program", "bisection", "tabled"):
        assert word in methods


def test_every_family_is_compared_with_rounding(project: Project, robspec: Run, tmp_path: Path) -> None:
    """The oracle adds delta to L eps by itself, and takes thresholds of the best clean values."""
    project.write_spec(EVERY_FAMILY)
    path = tmp_path / "report.json"
    given = ("--arithmetic", "real", "--cross-check", 1, "--format", "json", "--output", path)
    result = robspec("check", project.model, project.spec, *given)
    assert result.status == 0, result.err
    found = json.loads(path.read_text())["cross_check"]
    assert (found["disagreed"], found["not_solved"]) == (0, 0)
    assert len(found["comparisons"]) > 20


def test_the_text_says_what_was_compared(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--cross-check", 1)
    assert result.status == 0, result.err
    assert "cross-check, 1 images: " in result.out
    assert "evidence, not proof" in result.out
    assert "cross-check" not in robspec("check", project.model, project.spec).out


def test_nothing_compared_is_said_aloud() -> None:
    from robspec.report._cross_check import lines
    from robspec.verify.result import CrossChecked

    first = next(lines(CrossChecked(4, (), ()), 0.0))
    assert isinstance(first, Text)
    assert "0 of 0 comparisons" in first.plain
    assert "NOTHING WAS CROSS-CHECKED" in first.plain


def _one_flip_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    true = counting.Bound.worst_case

    def wrong(self: counting.Bound, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        clean, valid = self.clean(), self.counts()
        return [
            tuple(h if v is None or h is None else min(h, v + Fraction(1, n)) for v in row)
            for row, h, (_, n) in zip(true(self, budgets), clean, valid, strict=True)
        ]

    monkeypatch.setattr(counting.Bound, "worst_case", wrong)


def test_a_bound_that_claims_a_flip_too_few_raises_the_alarm(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_spec(EVERY_FAMILY.split("property rate")[0])
    folder = tmp_path / "alarm"
    with monkeypatch.context() as patched:
        _one_flip_too_few(patched)
        result = robspec("check", project.model, project.spec, "--cross-check", 1, "--witness-dir", folder)
        assert result.status == 4
        assert "E0901" in result.err
        assert "SOUNDNESS ALARM" in result.out
        assert "UNSOUND" in result.out
        files = sorted(folder.glob("*.reproducer.json"))
        assert files
        whole = next(f for f in files if "whole" in f.name and "optimum" in f.name)
        again = robspec("reproduce", whole)
        assert again.status == 4, again.err
        assert "STILL DISAGREES" in again.out
        pixels = len(json.loads(whole.read_text())["pieces"][0]["logits"][0][0])
        assert pixels < 64, "the reproducer is not minimal"
    healed = robspec("reproduce", whole)
    assert healed.status == 0, healed.out


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "robspec-reproducer", "schema_version": 1}', "nul"])
def test_what_is_no_reproducer_is_refused(robspec: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    result = robspec("reproduce", path)
    assert result.status == 2
    assert "E0801" in result.err
    assert robspec("reproduce", tmp_path / "none.json").status == 2


@pytest.mark.real_data
@pytest.mark.skipif(not KVASIR.is_dir(), reason="the research-use Kvasir data is not beside this checkout")
def test_four_kvasir_images(robspec: Run, tmp_path: Path) -> None:
    spec = tmp_path / "kvasir.rspec"
    spec.write_text(
        """language 1
model {
  input image [3, 256, 256] in [0, 1]
  output logits [2, 256, 256]
  classes background, polyp
}
data kvasir {
  images "images/cju2*.png"
  masks "masks/*.png"
}
property accurate {
  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0
}
property overlap {
  metric dice[polyp]
  norm l2
  degraded when h <= 0.5 * h0
  require radius >= 0 for all images
}
"""
    )
    model = KVASIR / "lipnet_deeplabv3_s_unit.pt2"
    began = time.process_time()
    result = robspec("check", model, spec, "--data", KVASIR, "--cross-check", 4, "--format", "json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert found["cross_check"]["disagreed"] == 0
    assert found["cross_check"]["agreed"] >= 32
    assert len(found["cross_check"]["images"]) == 4
    assert time.process_time() - began < 240


def test_an_interrupted_cross_check_keeps_what_it_compared(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robspec.verify import crosscheck

    def stop(self: object, whole: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(crosscheck.CrossCheck, "_costs", stop)
    path = tmp_path / "report.json"
    result = robspec("check", project.model, project.spec, "--cross-check", 2, "--format", "json", "--output", path)
    assert result.status == 130
    found = json.loads(path.read_text())["cross_check"]
    assert found["complete"] is False
    assert found["agreed"] == len(found["comparisons"]) > 0
