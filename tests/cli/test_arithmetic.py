"""What a verdict is about: the function over the reals where that can be had, and else the reason why not, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robspec import registry, report
from robspec.api import check
from tests.cli.conftest import PROVED, Project, Run, export
from tests.cli.test_coarse import PROPERTIES as COARSE
from tests.cli.test_coarse import Coarse
from tests.cli.test_use import spec as spec
from tests.planted.test_arithmetic import Cancels, write

REAL = "arithmetic: about the function over the reals; logits in float64 are within"
EXACT = "arithmetic: forward pass in float32 taken as exact"
WHY = f"{EXACT}; not about the reals because "
VOTED = """
property voted {
  metric pixel_accuracy
  norm l2
  budget 0.01
  by smoothing { sigma 0.25 samples 40 selection 5 alpha 0.01 }
  require mean(worst_case) >= 0.01
}
"""
FALLING = """
property falling {
  metric pooled iou[bright]
  norm l2
  degraded when h < 1.2 - 0.5 * h0
  require radius >= 0
}
"""


class Reshaped(nn.Module):
    """The same as `Brightness`, through an operation that has a constant and no bound of its rounding."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image - 0.5).sum(1, keepdim=True) * 6**-0.5
        return torch.cat([-s, s.reshape_as(image[:, :1])], 1)


class Squared(nn.Module):
    """No global constant."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image * image).sum(1, keepdim=True)
        return torch.cat([-s, s], 1)


def lines(text: str) -> list[str]:
    """The lines of a report that speak of arithmetic; those that are broken put together."""
    whole = " ".join(text.split())
    return [part.split(" pixels: ")[0] for part in whole.split("arithmetic: ")[1:]]


def test_nobody_asks_and_it_is_about_the_reals(project: Project, robspec: Run) -> None:
    for form in registry.names(report):
        said = robspec("check", project.model, project.spec, "--format", form)
        assert said.status == 0, said.err
        assert " ".join(said.out.split()).count(REAL) == 1, form
    found = json.loads(robspec("check", project.model, project.spec, "--format", "json").out)
    assert (found["arithmetic"], found["forward"]) == ("real", "float64")
    assert all(p["lipschitz"]["rounding"]["approx"] > 0 for p in found["properties"])
    named = json.loads(robspec("check", project.model, project.spec, "--format", "json", "--arithmetic", "real").out)
    assert [p["images"] for p in named["properties"]] == [p["images"] for p in found["properties"]]
    exact = robspec("check", project.model, project.spec, "--arithmetic", "exact")
    assert lines(exact.out) == [EXACT.removeprefix("arithmetic: ")]
    assert check(project.model, project.spec).arithmetic == "real"


@pytest.mark.parametrize(
    ("properties", "options", "module", "why", "code"),
    [
        (PROVED + VOTED, (), None, "votes under noise", "E0601"),
        (FALLING, (), None, "a threshold that falls", "E0406"),
        (PROVED, (), Reshaped(), "the rounding error of ", "E0507"),
        (
            PROVED,
            ("--assume-lipschitz", "2"),
            Squared(),
            "nothing is known of the rounding of the forward pass: ",
            "E0403",
        ),
    ],
    ids=["votes", "a falling threshold", "no rule", "an assumed constant"],
)
def test_where_it_cannot_be_had_the_report_says_why(
    properties: str,
    options: Sequence[str],
    module: nn.Module | None,
    why: str,
    code: str,
    project: Project,
    robspec: Run,
) -> None:
    project.write_spec(properties)
    model = project.model if module is None else export(module, project.root / "other.pt2")
    given = ("check", model, project.spec, *options, "--allow", "unknown")
    for form in registry.names(report):
        said = robspec(*given, "--format", form)
        assert said.status in (0, 1), said.err
        whole = " ".join(said.out.split())
        assert (whole.count("not about the reals because "), why in whole) == (1, True), form
    found = json.loads(robspec(*given, "--format", "json").out)
    assert (found["arithmetic"], found["forward"]) == ("exact", "float32")
    assert next(note for note in found["notes"] if note.startswith("arithmetic")).startswith(WHY + why)
    plain = json.loads(robspec(*given, "--format", "json", "--arithmetic", "exact").out)
    assert plain["properties"] == found["properties"]
    assert EXACT in plain["notes"]
    refused = robspec(*given, "--arithmetic", "real")
    assert (refused.status, code in refused.err) == (2, True), refused.err


def test_a_certificate_says_which_statement_it_is(project: Project, robspec: Run) -> None:
    """Nobody names an arithmetic: `recheck` finds out by itself what can be had, and confirms nothing else."""
    model = export(Reshaped(), project.root / "other.pt2")
    real, taken, path = (project.root / f"{name}.json" for name in ("real", "taken", "other"))
    assert robspec("check", project.model, project.spec, "--certificate", real).status == 0
    assert robspec("check", project.model, project.spec, "--arithmetic", "exact", "--certificate", taken).status == 0
    assert robspec("check", model, project.spec, "--certificate", path).status == 0
    for certificate, said, status in (
        (real, (), 0),
        (real, ("--arithmetic", "real"), 0),
        (real, ("--arithmetic", "exact"), 1),
        (taken, (), 1),
        (taken, ("--arithmetic", "exact"), 0),
        (taken, ("--arithmetic", "real"), 1),
    ):
        found = robspec("recheck", certificate, project.model, project.spec, *said)
        assert found.status == status, (certificate, said, found.err)
        assert (REAL in found.out) == (status == 0 and certificate == real)
        assert (EXACT in found.out) == (status == 0 and certificate == taken)
    again = robspec("recheck", path, model, project.spec)
    assert (again.status, WHY in again.out) == (0, True), again.err
    assert robspec("recheck", path, model, project.spec, "--arithmetic", "exact").status == 0
    assert robspec("recheck", path, model, project.spec, "--arithmetic", "real").status != 0
    # What says that it is about the reals where nothing of the kind can be had is false.
    forged = json.loads(path.read_text())
    forged["inputs"]["arithmetic"] = "real"
    path.write_text(json.dumps(forged))
    assert robspec("recheck", path, model, project.spec).status in (1, 2)


def test_one_report_makes_one_statement(spec: Path, project: Project, robspec: Run) -> None:
    """Votes are asked of one data set; of the other the reals could be had."""
    found = json.loads(robspec("check", project.model, spec, "--format", "json").out)
    assert found["arithmetic"] == "real"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("use day\n", "") + VOTED.replace("  metric", "  use night\n  metric") + "use day\n")
    found = json.loads(robspec("check", project.model, spec, "--format", "json").out)
    assert (found["arithmetic"], found["forward"]) == ("exact", "float32")
    assert sum(note.startswith("arithmetic") for note in found["notes"]) == 1
    assert not any("rounding" in p["lipschitz"] for p in found["properties"])


def test_what_was_about_the_reals_and_is_no_more_is_worse(project: Project, robspec: Run) -> None:
    baseline = project.root / "baseline.json"
    given = ("check", project.model, project.spec, "--baseline", baseline)
    assert robspec(*given, "--update-baseline").status == 0
    assert "worse" not in robspec(*given).err
    written = [f"{form}={project.root / f'less.{form}'}" for form in ("json", "junit")]
    less = robspec(*given, "--arithmetic", "exact", "--output", written[0], "--output", written[1])
    assert (less.status, less.out.count("PROVED")) == (3, 3)
    assert "worse: arithmetic: real before" in less.err
    assert "says less than the baseline; exit status 3" in " ".join(less.out.split())
    assert json.loads((project.root / "less.json").read_text())["exit_status"] == 3
    # What reads a report instead of the exit status fails as well.
    assert 'failures="1"' in (project.root / "less.junit").read_text()
    allowed = robspec(*given, "--arithmetic", "exact", "--fail-on", "refuted", "--output", written[1])
    assert allowed.status == 0
    assert 'failures="0"' in (project.root / "less.junit").read_text()
    assert "worse: arithmetic" not in robspec(*given, "--arithmetic", "deployed", "--allow", "unknown").err
    document = json.loads(baseline.read_text())
    baseline.write_text(json.dumps({**document, "arithmetic": "deployed"}))
    assert "worse: arithmetic: deployed before, now about the function over the reals" in robspec(*given).err


def test_a_violation_is_shown_again_as_what_it_was(robspec: Run, tmp_path: Path) -> None:
    """Float32 is wrong where float64 is right: a witness of one is none of the other."""
    model, spec = export(Cancels(1e9), tmp_path / "m.pt2", 4), write(tmp_path)
    found = robspec("check", model, spec, "--witness-dir", tmp_path / "real", "--property", "right")
    assert found.status == 1
    shown = robspec("replay", tmp_path / "real" / "right.witness.json", model, spec)
    assert (shown.status, REAL in shown.out) == (0, True), shown.err
    witness = json.loads((tmp_path / "real" / "right.witness.json").read_text())
    assert witness["arithmetic"] == "real"
    other = tmp_path / "real" / "other.witness.json"
    other.write_text(json.dumps({**witness, "arithmetic": "exact"}))
    shown = robspec("replay", other, model, spec)
    assert (shown.status, EXACT in shown.out) == (1, True), shown.err
    other.write_text(json.dumps({**witness, "arithmetic": "guessed"}))
    assert robspec("replay", other, model, spec).status == 2


def test_pixels_that_float32_does_not_hold_are_within_what_is_proved(project: Project, robspec: Run) -> None:
    """Of the reals their rounding is part of delta; float64 taken as exact would see other pixels."""
    for path in (project.root / "images").glob("*.png"):
        path.unlink()
    for mask in sorted((project.root / "masks").glob("*.png")):
        np.save(project.root / "images" / f"{mask.stem}.npy", np.full((3, 8, 8), 0.7, np.float64))
    text = project.spec.read_text(encoding="utf-8").replace("images/*.png", "images/*.npy")
    project.spec.write_text(text, encoding="utf-8")
    found = robspec("check", project.model, project.spec, "--allow", "unknown")
    assert "about the function over the reals" in found.out, found.err
    refused = robspec("check", project.model, project.spec, "--forward", "float64", "--arithmetic", "exact")
    assert (refused.status, "E0317" in refused.err) == (2, True)


def test_where_rounding_alone_is_too_much_the_report_says_so(robspec: Run, tmp_path: Path) -> None:
    model, spec = export(Cancels(1e15), tmp_path / "m.pt2", 4), write(tmp_path)
    found = robspec("check", model, spec, "--allow", "unknown")
    assert "rounding alone counts as eps = " in " ".join(found.out.split()), found.err
    exact = robspec("check", model, spec, "--allow", "unknown", "--arithmetic", "exact")
    assert "rounding alone" not in exact.out


def test_cells_of_coarse_logits_are_of_the_function_too(project: Project, robspec: Run) -> None:
    """Full-size logits are certified as ever beside them, and what float32 does after them is not."""
    model = export(Coarse(), project.root / "coarse.pt2")
    project.write_spec(COARSE, claim="4")
    asked = ("check", model, project.spec, "--coarse", "--allow", "unknown", "--format", "json")
    found, named, full = (
        json.loads(robspec(*given).out)
        for given in (asked, (*asked, "--arithmetic", "real"), (a for a in asked if a != "--coarse"))
    )
    assert (found["arithmetic"], found["forward"]) == ("real", "float64")
    assert found["properties"] == named["properties"]
    assert [p["lipschitz"] for p in found["properties"]] == [p["lipschitz"] for p in full["properties"]]
    for more, less in zip(found["properties"], full["properties"], strict=True):
        for one, other in zip(more["images"], less["images"], strict=True):
            assert one["attained"] == other["attained"]
            assert all(a["approx"] >= b["approx"] for a, b in zip(one["certified"], other["certified"], strict=True))
    refused = robspec(*asked, "--arithmetic", "deployed")
    assert (refused.status, "E0601" in refused.err) == (2, True)
