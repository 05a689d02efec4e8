"""Certificates of `check --coarse`: confirmed with `--coarse` alone, for every end that is read; lies are found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from robspec.recheck import document
from robspec.recheck.recheck import Derived, derive, inputs_of
from robspec.syntax.source import read_source
from tests.cli.conftest import Brightness, Project, Run, export
from tests.cli.test_certificate import changed, every_forgery_is_found, leaves
from tests.cli.test_coarse import PROPERTIES, RATIOS, Coarse, Mixed, full_size_logits

MORE = """
property missed {
  metric fnr[bright]
  norm linf
  budget 0 to 0.1 points 2
  require mean(worst_case) <= 0.99
}
property far {
  metric pixel_accuracy
  norm l1
  degraded when h <= 0.6 or h < 0.9 * h0
  require radius >= 0.01 for all images
}
property both {
  metric dice[bright]
  norm l2
  degraded when h <= 0.5 * h0 and pixel_accuracy <= 0.6
  require radius >= 0.01 for all images
}
property exactness {
  metric precision[bright]
  norm l2
  budget 0 to 1 points 3
  require mean(worst_case) >= 0.01
}
property means {
  metric pooled mean_iou
  norm l2
  budget 0 to 1 points 3
  require worst_case >= 0.01
}
property means_far {
  metric pooled iou[dark]
  norm l2
  degraded when h <= 0.5 * h0
  require radius >= 0.01
}
property average {
  metric mean_iou
  norm l2
  budget 0.25
  require mean(worst_case) >= 0.01
}
"""
ALL = PROPERTIES + RATIOS + MORE


class Ends(torch.nn.Module):
    """Means over blocks of 4 pixels, brought back to full size in some way."""

    def __init__(self, end: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self._end = Brightness(), end

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._end(2 * functional.avg_pool2d(self.inner(image), 2))


ENDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nearest": lambda z: functional.interpolate(z, scale_factor=2, mode="nearest"),
    "aligned": lambda z: functional.interpolate(z, size=(8, 8), mode="bilinear", align_corners=True),
    "cropped": lambda z: functional.interpolate(z, size=(11, 9), mode="bilinear")[:, :, 2:10, :8],
}


def confirmed(project: Project, robspec: Run, model: Path, path: Path, *options: str) -> dict[str, Any]:
    """Check, recheck, and give the certificate."""
    given = ("check", model, project.spec, "--coarse", "--certificate", path, "--allow", "unknown", "--no-store")
    result = robspec(*given, *options)
    assert result.status == 0, result.err
    result = robspec("recheck", path, model, project.spec, "--coarse", *options)
    assert result.status == 0, result.err
    assert "confirmed: 4 images" in result.out
    assert "coarse: cut at " in result.out
    return document.read(path)


def by_cells(written: dict[str, Any]) -> set[str]:
    """The properties of which cells certify something that full-size logits do not."""

    def any_of(point: dict[str, Any]) -> bool:
        return bool(point.get("cells")) or any(map(any_of, point.get("parts", ())))

    return {
        p["name"] for p in written["properties"] if any(any_of(point) for i in p["images"] for point in i["points"])
    }


@pytest.fixture(scope="module")
def upsampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Coarse(), tmp_path_factory.mktemp("cells") / "coarse.pt2")


@pytest.mark.parametrize(
    "options", [(), ("--arithmetic", "exact"), ("--arithmetic", "exact", "--forward", "float64")]
)
def test_certificates_of_cells_are_confirmed(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Every metric that cells cover, both questions, with rounding proved and without."""
    project.write_spec(ALL, claim="100")
    written = confirmed(project, robspec, upsampled, tmp_path / "c.json", *options)
    assert written["inputs"]["coarse"] is True
    assert written["cut"]["nodes"] == [4, 4]
    assert written["cut"]["pixels"] == [8, 8]
    assert written["cut"]["cells"] == 9
    expected = {"accurate", "stable", "found", "overlap", "together", "lost", "far", "exactness", "means"}
    assert by_cells(written) >= expected
    assert all(("coarse" in p["lipschitz"]) == (p["name"] != "average") for p in written["properties"])


@pytest.mark.parametrize("end", ENDS)
def test_other_ends_are_confirmed(project: Project, robspec: Run, tmp_path: Path, end: str) -> None:
    project.write_spec(ALL, claim="100")
    model = export(Ends(ENDS[end]), tmp_path / "model.pt2")
    assert len(by_cells(confirmed(project, robspec, model, tmp_path / "c.json"))) > 5


def test_a_network_whose_convolution_is_moved_is_confirmed(project: Project, robspec: Run, tmp_path: Path) -> None:
    project.write_spec(ALL, claim="100")
    model = export(Mixed(), tmp_path / "mixed.pt2")
    for options in ((), ("--arithmetic", "exact")):
        written = confirmed(project, robspec, model, tmp_path / "c.json", *options)
        assert "moved before it" in written["cut"]["kind"]
        assert len(by_cells(written)) > 5


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def derived(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path, kept: dict[str, Any]
) -> tuple[Derived, dict[str, Any]]:
    """What the files lead to, and what is written of them."""
    if not kept:
        project.write_spec(ALL, claim="100")
        path = tmp_path / "c.json"
        given = ("--coarse", "--certificate", path, "--allow", "unknown", "--no-store")
        assert robspec("check", upsampled, project.spec, *given).status == 0
        kept["written"] = document.read(path)
        inputs, params = inputs_of(kept["written"], str(path))
        assert inputs.coarse
        kept["derived"] = derive(inputs, params, upsampled, read_source(project.spec), project.root)
    return kept["derived"], kept["written"]


def test_every_forged_field_is_rejected(derived: tuple[Derived, dict[str, Any]]) -> None:
    """Each leaf in turn, with the digest a forger would compute."""
    truth, written = derived
    assert truth.differences(written) == []
    inputs = [("inputs", name) for name in ("batch_size", "forward", "assume_lipschitz")]
    paths = [path for path in leaves(written) if path != ("digest",) and path not in inputs]
    names = {str(step) for path in paths for step in path}
    assert names >= {"cut", "node", "coarse", "derivation", "prices", "flips", "bound", "left", "below", "value"}
    # Any parts of nodes give a bound, and some change none: what they may not be has tests of its own.
    parts = [path for path in paths if "parts" in path]
    assert parts
    paths = [path for path in paths if "parts" not in path]
    # A mean may be worth a little more than a check looked for; the requirement beside it tells of another value.
    means = [p["name"] for p in written["properties"]].index("means")
    apart = [path for path in paths if path[:2] == ("properties", means) and path[-1] == "certified"]
    assert all(truth.differences(changed(written, path)) for path in apart)
    every_forgery_is_found(truth, written, [path for path in paths if path not in apart], len(paths) // 10)


def test_forged_parts_claim_no_more(derived: tuple[Derived, dict[str, Any]]) -> None:
    """More of a node than there is, less for a cell, a cell left out: what follows is another bound, or none."""
    truth, written = derived
    found = 0
    for number, prop in enumerate(written["properties"]):
        for image, entry in enumerate(prop.get("images", [])):
            for point, told in enumerate(entry["points"]):
                if not isinstance(told.get("cells"), dict) or "parts" not in told["cells"]:
                    continue
                found += 1
                for change in (
                    lambda parts: parts.update(whole=1),
                    lambda parts: parts.update(whole=2 * parts["whole"]),
                    lambda parts: parts["cells"].pop(),
                    lambda parts: parts["cells"].append(parts["cells"][0]),
                    lambda parts: parts["cells"][0].__setitem__(2, parts["whole"] + 1),
                    lambda parts: parts.clear(),
                ):
                    forged = copy.deepcopy(written)
                    change(forged["properties"][number]["images"][image]["points"][point]["cells"]["parts"])
                    assert truth.differences(forged)
    assert found


def test_missing_and_added_fields_are_rejected(derived: tuple[Derived, dict[str, Any]]) -> None:
    truth, written = derived
    for change in (
        lambda c: c.pop("cut"),
        lambda c: c["inputs"].pop("coarse"),
        lambda c: c["properties"][0]["lipschitz"].pop("coarse"),
        lambda c: c["properties"][0]["lipschitz"]["coarse"].pop("rounding"),
        lambda c: c["properties"][0]["images"][0]["points"][0].update(cells=None),
        lambda c: c["properties"][0]["images"][0]["points"][0].update(cells=[]),
        lambda c: c["properties"][0]["images"][0]["points"][0]["cells"].update(prices=None),
        lambda c: c["properties"][0]["images"][0]["points"][0]["cells"].update(note="1"),
        lambda c: c["properties"][3]["images"][0]["points"][0]["cells"].update(prices=[["1"] * 3] * 4),
    ):
        forged = copy.deepcopy(written)
        change(forged)
        assert truth.differences(forged)


def test_coarse_is_no_choice_of_the_certificate(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path
) -> None:
    project.write_spec(PROPERTIES, claim="100")
    paths = tmp_path / "with.json", tmp_path / "without.json"
    for path, extra in zip(paths, (("--coarse",), ()), strict=True):
        given = ("--certificate", path, "--allow", "unknown", *extra)
        assert robspec("check", upsampled, project.spec, *given).status == 0
    for path, extra, said, mend in (
        (paths[0], (), "--coarse was given, and is not given here", "say so to `recheck` too: --coarse"),
        (paths[1], ("--coarse",), "--coarse was not given, and is given here", "question, leave out --coarse"),
    ):
        result = robspec("recheck", path, upsampled, project.spec, *extra)
        told = " ".join(result.err.split())
        assert (result.status, "E0804" in told, said in told, mend in told) == (1, True, True, True)
    # A forger who drops the word has no certificate of the other kind either.
    written = document.read(paths[0])
    del written["inputs"]["coarse"]
    paths[0].write_text(document.dumps(written))
    assert robspec("recheck", paths[0], upsampled, project.spec).status == 1
    written["inputs"]["coarse"] = "yes"
    paths[0].write_text(document.dumps(written))
    result = robspec("recheck", paths[0], upsampled, project.spec, "--coarse")
    assert (result.status, "E0802" in result.err) == (2, True)


def test_what_is_not_cut_has_no_certificate_of_cells(project: Project, robspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert robspec("check", project.model, project.spec, "--certificate", path).status in (0, 1, 3)
    written = document.read(path)
    written["inputs"]["coarse"] = True
    path.write_text(document.dumps(written))
    result = robspec("recheck", path, project.model, project.spec, "--coarse")
    assert (result.status, "E0804" in result.err) == (1, True)
    assert "does not end in a fixed up-sampling" in " ".join(result.err.split())


def test_deployed_arithmetic_is_not_rechecked_by_cells(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path
) -> None:
    project.write_spec(PROPERTIES, claim="100")
    path = tmp_path / "c.json"
    given = ("--coarse", "--certificate", path, "--allow", "unknown")
    assert robspec("check", upsampled, project.spec, *given).status == 0
    written = document.read(path)
    written["inputs"]["arithmetic"] = "deployed"
    path.write_text(document.dumps(written))
    result = robspec("recheck", path, upsampled, project.spec, "--coarse", "--arithmetic", "deployed")
    assert (result.status, "E0804" in result.err) == (1, True)
    assert "cells do not cover --arithmetic deployed" in " ".join(result.err.split())


def test_full_size_logits_are_not_made_where_counts_alone_are_certified(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = full_size_logits(monkeypatch)
    project.write_spec(PROPERTIES, claim="100")
    path = tmp_path / "c.json"
    given = ("--coarse", "--certificate", path, "--allow", "unknown")
    assert robspec("check", upsampled, project.spec, *given).status == 0
    assert not made
