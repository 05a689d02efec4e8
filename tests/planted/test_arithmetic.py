"""Networks on which rounding decides: what float32, or float64, makes of a tie may not be PROVED of the reals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.cli.conftest import Run, export
from tests.tasks.detecting import SPEC as DETECTOR
from tests.tasks.detecting import Blob, Blobs, archive, write_data

SPEC = """language 1
model {
  input image [3, 4, 4] in [0, 1]
  output logits [2, 4, 4]
  classes ground, target
}
data d {
  images "images/*"
  masks "masks/*"
}
property right {
  metric pixel_accuracy
  norm l2
  budget 0
  require worst_case >= 1 for all images
}
property far {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.5
  require radius >= 1e-30 for all images
}
"""


class Cancels(nn.Module):
    """1/2, and (big x + 1) - big x, which is 1: the second is larger over the reals, and is lost in rounding."""

    def __init__(self, big: float) -> None:
        super().__init__()
        self.big = big

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = x[:, :1] * self.big
        return torch.cat([x[:, :1] * 0.0 + 0.5, (large + 1.0) - large], 1)


def write(folder: Path) -> Path:
    """A bright image that is ground everywhere, which is wrong over the reals."""
    for name, array in (("images", np.full((3, 4, 4), 0.75, np.float32)), ("masks", np.zeros((4, 4), np.uint8))):
        (folder / name).mkdir()
        np.save(folder / name / "0.npy", array)
    spec = folder / "s.rspec"
    spec.write_text(SPEC, encoding="utf-8")
    return spec


@pytest.mark.parametrize(("big", "forward"), [(1e9, "model"), (1e18, "float64")], ids=["float32", "float64"])
def test_what_rounding_decides_is_proved_only_of_what_is_taken_as_exact(
    big: float, forward: str, robspec: Run, tmp_path: Path
) -> None:
    model, spec = export(Cancels(big), tmp_path / "m.pt2", 4), write(tmp_path)
    taken = robspec("check", model, spec, "--forward", forward, "--arithmetic", "exact", "--no-store")
    assert (taken.status, "taken as exact" in taken.out) == (0, True)
    real = robspec("check", model, spec, "--no-store", "--format", "json")
    assert real.status in (1, 3)
    report = json.loads(real.out)
    assert report["forward"] == "float64"
    right, far = report["properties"]
    assert right["verdict"] != "PROVED"
    assert far["verdict"] != "PROVED"
    assert right["lipschitz"]["rounding"]["approx"] > 0
    # In float64 the first is found out for what it is; of the second rounding leaves everything open.
    assert right["verdict"] == ("REFUTED" if big < 1e10 else "UNKNOWN")


class Enlarged(nn.Module):
    """The same at half the size, brought back."""

    def __init__(self, big: float, mode: str) -> None:
        super().__init__()
        self.inner, self.mode = Cancels(big), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(self.inner(functional.max_pool2d(x, 2)), scale_factor=2, mode=self.mode)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("big", "forward"), [(1e9, "model"), (1e18, "float64")], ids=["float32", "float64"])
def test_cells_of_rounded_coarse_logits_prove_no_more(
    big: float, forward: str, mode: str, robspec: Run, tmp_path: Path
) -> None:
    model, spec = export(Enlarged(big, mode), tmp_path / "m.pt2", 4), write(tmp_path)
    given = ("--coarse", "--no-store", "--format", "json")
    taken = json.loads(robspec("check", model, spec, "--forward", forward, "--arithmetic", "exact", *given).out)
    assert [p["verdict"] for p in taken["properties"]] == ["PROVED", "PROVED"]
    for named in ((), ("--arithmetic", "real")):
        real = robspec("check", model, spec, *named, *given)
        report = json.loads(real.out)
        assert (report["arithmetic"], report["forward"]) == ("real", "float64")
        right, far = report["properties"]
        assert right["verdict"] == ("REFUTED" if big < 1e10 else "UNKNOWN")
        assert far["verdict"] != "PROVED"
        assert any(note.startswith("coarse: logits there in float64 are within") for note in report["notes"])


def test_what_is_not_lost_is_proved_by_cells_of_the_reals(robspec: Run, tmp_path: Path) -> None:
    """Target everywhere, by a margin of 1/2 that no rounding reaches: certified as if nothing were rounded."""
    model, spec = export(Enlarged(0.25, "bilinear"), tmp_path / "m.pt2", 4), write(tmp_path)
    np.save(tmp_path / "masks" / "0.npy", np.ones((4, 4), np.uint8))
    found = {}
    for arithmetic in ("real", "exact"):
        given = ("--coarse", "--forward", "float64", "--arithmetic", arithmetic, "--format", "json")
        report = json.loads(robspec("check", model, spec, *given).out)
        assert [p["verdict"] for p in report["properties"]] == ["PROVED", "PROVED"]
        found[arithmetic] = report["properties"][1]["images"][0]["certified"][0]["approx"]
    # Rounding takes delta / L off a radius, of coarse logits what is proved of them.
    assert 0 < found["exact"] - found["real"] < 1e-3 * found["exact"]


def test_whatever_looks_again_sees_the_same_ties(robspec: Run, tmp_path: Path) -> None:
    """On a network that rounds by 1/2 the oracle agrees, an attack refutes nothing, a certificate is confirmed."""
    model, spec = export(Cancels(1e15), tmp_path / "m.pt2", 4), write(tmp_path)
    given = ("--arithmetic", "real", "--no-store")
    found = robspec("check", model, spec, *given, "--cross-check", "1", "--attack", "2")
    assert (found.status, "disagree" in found.err) == (3, False), found.err
    path = tmp_path / "c.json"
    assert robspec("check", model, spec, *given, "--certificate", path).status == 3
    again = robspec("recheck", path, model, spec, "--arithmetic", "real")
    assert again.status == 0, again.err
    assert "PROVED" not in again.out


def test_of_a_network_without_a_proof_nothing_is_known_of_rounding(robspec: Run, tmp_path: Path) -> None:
    model, spec = export(Cancels(1.0), tmp_path / "m.pt2", 4), write(tmp_path)
    result = robspec("check", model, spec, "--arithmetic", "real", "--assume-lipschitz", "3")
    assert (result.status, "not used" in result.out) == (1, True)  # 1 is larger than 1/2, also over the reals


SCORES = """language 1
model {
  input image [1, 4, 4] in [0, 1]
  output score [1]
  annotation normal | anomalous
}
data d {
  images "two/*/*.npy"
  labels by folder
}
property separates {
  metric auroc
  norm l2
  attack anomalous
  budget 0
  require worst_case >= 1
}
property far {
  metric auroc
  norm l2
  attack anomalous
  degraded when h < 1
  require radius >= 0
}
"""


class Lost(nn.Module):
    """The largest pixel, and (big + 1) - big, that is 1, where an image is all but dark: lost where 1 is rounded."""

    def __init__(self, big: float) -> None:
        super().__init__()
        self.big = big

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        peak = x.amax((1, 2, 3))[:, None]
        large = torch.clamp(1.0 - 4.0 * peak, min=0.0) * self.big
        return peak * 0.5 + ((large + 1.0) - large)


def test_scores_of_images_that_nobody_attacks_are_rounded_too(robspec: Run, tmp_path: Path) -> None:
    """The normal image scores 1.06 over the reals and the anomaly 1.4, and as computed far less than it."""
    for folder, value in (("normal", 0.125), ("anomalous", 0.8)):
        (tmp_path / "two" / folder).mkdir(parents=True)
        np.save(tmp_path / "two" / folder / "0.npy", np.full((1, 4, 4), value, np.float32))
    spec = tmp_path / "s.rspec"
    spec.write_text(SCORES, encoding="utf-8")
    model = export(Lost(1e18), tmp_path / "m.pt2", 4, 1)
    given = ("--forward", "float64", "--arithmetic", "exact", "--no-store", "--format", "json")
    taken = json.loads(robspec("check", model, spec, *given).out)
    assert [p["verdict"] for p in taken["properties"]] == ["PROVED", "PROVED"]
    real = robspec("check", model, spec, "--arithmetic", "real", "--no-store", "--format", "json")
    found = json.loads(real.out)["properties"]
    assert found[0]["verdict"] == "UNKNOWN"
    path = tmp_path / "c.json"
    robspec("check", model, spec, "--arithmetic", "real", "--no-store", "--certificate", path)
    again = robspec("recheck", path, model, spec, "--arithmetic", "real")
    assert again.status == 0, again.err


class Unseen(nn.Module):
    """Scores of 2 that come out as -2 where 1 is lost beside a large number, and boxes that stay."""

    def __init__(self, big: float) -> None:
        super().__init__()
        self.inner, self.big = Blobs("fixed"), big

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = self.inner(images)
        large = (scores + 3.0) * self.big
        return ((large + 1.0) - large) * 4.0 - 2.0, boxes


def test_a_detector_that_sees_what_rounding_hides_is_not_proved_to_see_nothing(robspec: Run, tmp_path: Path) -> None:
    write_data(tmp_path, [[Blob((0, 0))]])
    model, spec = archive(Unseen(1e18), tmp_path / "m.pt2"), tmp_path / "s.rspec"
    text = "property quiet {\n  metric false_positives\n  norm l2\n  budget 0\n"
    spec.write_text(DETECTOR.format(properties=text + "  require worst_case <= 0 for all images\n}\n"))
    taken = robspec("check", model, spec, "--forward", "float64", "--arithmetic", "exact", "--format", "json")
    assert json.loads(taken.out)["properties"][0]["verdict"].startswith("PROVED"), taken.err
    real = json.loads(robspec("check", model, spec, "--arithmetic", "real", "--format", "json").out)
    assert real["properties"][0]["verdict"] == "UNKNOWN"
    looked = robspec("check", model, spec, "--attack", "2", "--cross-check", "1")
    assert (looked.status, "about the function over the reals" in looked.out) == (3, True), looked.err
    path = tmp_path / "c.json"
    assert robspec("check", model, spec, "--certificate", path).status == 3
    again = robspec("recheck", path, model, spec)
    assert (again.status, "PROVED" in again.out) == (0, False), again.err


def test_a_detector_that_misses_only_by_rounding_is_not_refuted(robspec: Run, tmp_path: Path) -> None:
    """Over the reals everything fires; what is computed sees nothing where 1 is lost, else the same."""
    write_data(tmp_path, [[Blob((0, 0))]])
    spec, verdicts = tmp_path / "s.rspec", {}
    asked = "property {} {{\n  metric {}\n  norm l2\n  budget 0\n  require worst_case {} 1 for all images\n}}\n"
    properties = asked.format("seen", "recall", ">=") + asked.format("quiet", "false_positives", "<=")
    spec.write_text(DETECTOR.format(properties=properties))
    for big in (1e18, 0.25):
        model = archive(Unseen(big), tmp_path / "m.pt2")
        for arithmetic in ("exact", "real"):
            given = ("--forward", "float64", "--arithmetic", arithmetic, "--attack", "2", "--format", "json")
            report = json.loads(robspec("check", model, spec, *given).out)
            verdicts[big, arithmetic] = [p["verdict"] for p in report["properties"]]
    assert verdicts[1e18, "exact"] == ["REFUTED", "PROVED"]
    assert verdicts[1e18, "real"] == ["UNKNOWN", "UNKNOWN"]
    assert verdicts[0.25, "exact"] == verdicts[0.25, "real"]
    assert verdicts[0.25, "real"][1] == "REFUTED"


def test_boxes_that_are_proved_bring_their_own_rounding(robspec: Run, tmp_path: Path) -> None:
    write_data(tmp_path, [[Blob((0, 0))]])
    model, spec = archive(Blobs("move"), tmp_path / "m.pt2"), tmp_path / "s.rspec"
    text = "property seen {\n  metric recall\n  norm l2\n  budget 1\n  require worst_case >= 1 for all images\n}\n"
    spec.write_text(DETECTOR.replace("frozen", "proved").format(properties=text))
    found = robspec("check", model, spec, "--arithmetic", "real")
    assert (found.status, "boxes: computed within" in found.out) == (0, True), found.err


def test_of_the_float32_program_nothing_is_proved_that_it_does_not_do(robspec: Run, tmp_path: Path) -> None:
    """Target everywhere over the reals, which float64 sees and float32 does not."""
    model, spec = export(Cancels(1e9), tmp_path / "m.pt2", 4), write(tmp_path)
    np.save(tmp_path / "masks" / "0.npy", np.ones((4, 4), np.uint8))
    real = json.loads(robspec("check", model, spec, "--arithmetic", "real", "--format", "json").out)
    assert real["properties"][0]["verdict"] == "PROVED"
    plain = json.loads(robspec("check", model, spec, "--arithmetic", "exact", "--format", "json").out)
    assert plain["properties"][0]["verdict"] == "REFUTED"
    found = robspec("check", model, spec, "--arithmetic", "deployed")
    assert found.status == 3
    assert "right: UNKNOWN" in found.out or "UNKNOWN" in found.out
    assert "about the float32 program" in " ".join(found.out.split())
    assert "kernels: none" in found.out


def test_a_network_of_small_sums_is_proved_as_deployed(robspec: Run, tmp_path: Path) -> None:
    model, spec = export(Cancels(0.25), tmp_path / "m.pt2", 4), write(tmp_path)
    np.save(tmp_path / "masks" / "0.npy", np.ones((4, 4), np.uint8))
    path = tmp_path / "c.json"
    given = ("--arithmetic", "deployed")
    found = robspec("check", model, spec, *given, "--certificate", path, "--format", "json")
    assert json.loads(found.out)["properties"][0]["verdict"] == "PROVED"
    again = robspec("recheck", path, model, spec, *given)
    assert again.status == 0, again.err
    assert "float32 sums add up products in some order" in again.out
    assert robspec("recheck", path, model, spec, "--arithmetic", "real").status == 1


@pytest.mark.parametrize("arithmetic", ["real", "deployed"])
def test_votes_under_noise_are_not_asked_with_rounding(arithmetic: str, robspec: Run, tmp_path: Path) -> None:
    """Noise is rounded when it is added to an image, of which nothing is proved."""
    model, spec = export(Cancels(1.0), tmp_path / "m.pt2", 4), write(tmp_path)
    text = spec.read_text(encoding="utf-8").split("property right")[0]
    text += "property voted {\n  metric pixel_accuracy\n  norm l2\n  budget 0.1\n"
    text += "  by smoothing { sigma 0.25 samples 100 alpha 0.001 }\n  require mean(worst_case) >= 0\n}\n"
    spec.write_text(text, encoding="utf-8")
    found = robspec("check", model, spec, "--arithmetic", arithmetic)
    assert (found.status, "E0601" in found.err, "votes under noise" in found.err) == (2, True, True), found.err
