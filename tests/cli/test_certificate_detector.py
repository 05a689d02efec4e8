"""Certificates of detectors: confirmed as written, rejected when any field is forged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from robspec.recheck import document
from robspec.recheck.recheck import Derived, derive, inputs_of
from robspec.syntax.source import read_source
from tests.cli.conftest import Run
from tests.cli.test_certificate import every_forgery_is_found, leaves
from tests.tasks.detecting import BY_LOCATION, SPEC, Blob, Blobs, archive, write_data

COUNTED = """
metric found_less_wrong(k) = (2 * TP[k] + FN[k]) / (2 * TP[k] + 2 * FN[k] + FP[k])
"""
PROPERTIES = """property recalled {
  metric recall
  norm l2
  budget 0 to 3 points 3
  require mean(worst_case) >= 0
}
property counted {
  metric false_positives
  norm linf
  budget 0.5
  require worst_case <= 16 for all images
}
property missed_far {
  metric missed[car]
  norm l2
  degraded when h >= 1
  require radius >= 0.5 for 20% of images
}
property exact_enough {
  metric f_beta(2)
  norm l1
  degraded when h <= 0.5 * h0 or (precision < 0.5 and missed >= 1)
  require quantile(0.5, radius) >= 0.1
}
property confused {
  metric mislabelled
  norm l2
  budget 0 to 4 points 3
  require mean(worst_case) <= 9
}
property own {
  metric found_less_wrong[car]
  norm l2
  budget 1
  require mean(worst_case) >= 0.1
}
property together {
  metric pooled precision
  norm l2
  budget 0 to 3 points 3
  require worst_case >= 0
}
property together_far {
  metric pooled recall[car, truck]
  norm l2
  degraded when h <= 0.7
  require radius >= 0.1
}
property together_counted {
  metric pooled mislabelled
  norm l2
  budget 3
  require worst_case <= 9
}
"""
PRECISIONS = """property averaged {
  metric average_precision(0.5)[car]
  norm l2
  budget 0 to 1.5 points 2
  require worst_case >= 0
}
property averaged_over {
  metric mean_average_precision(0.5 to 0.95)
  norm l2
  budget 0.5
  require worst_case >= 0
}
property averaged_far {
  metric mean_average_precision(0.5)
  norm l2
  degraded when h <= 0.5
  require radius >= 0.1
}
"""
MOVING = SPEC.replace("boxes     frozen", "boxes     proved")
LIMITED = SPEC.replace("boxes     frozen", "boxes     frozen\n  limit     3")
KINDS = {
    "frozen": (SPEC, "fixed", PROPERTIES + PRECISIONS),
    "proved": (MOVING, "move", PROPERTIES + PRECISIONS),
    "location": (BY_LOCATION, "none", PROPERTIES),
    "limit": (LIMITED, "fixed", PROPERTIES + PRECISIONS),
}


class Made:
    """One project: files, and what its certificate says."""

    def __init__(self, folder: Path, kind: str) -> None:
        text, model, properties = KINDS[kind]
        self.folder, self.model = folder, folder / f"{model}.pt2"
        self.spec = folder / f"{kind}.rspec"
        self.spec.write_text(text.replace("language 1\n", f"language 1\n{COUNTED}").format(properties=properties))
        self.path = folder / f"{kind}.json"
        self._derived: Derived | None = None

    def write(self, robspec: Run) -> dict[str, Any]:
        """Check and write the certificate, once."""
        if not self.path.exists():
            result = robspec("check", self.model, self.spec, "--certificate", self.path)
            assert result.status in (0, 1, 3), result.err
        return document.read(self.path)

    def derived(self, written: dict[str, Any]) -> Derived:
        """What the files lead to, once."""
        if self._derived is None:
            inputs, params = inputs_of(written, str(self.path))
            self._derived = derive(inputs, params, self.model, read_source(self.spec), self.folder)
        return self._derived


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    folder = tmp_path_factory.mktemp("detectors")
    write_data(folder, [[Blob((0, 0)), Blob((2, 2), 1)], [Blob((3, 3), 0, 204)], []])
    for name, boxes in {"fixed": "fixed", "move": "move", "none": "none"}.items():
        archive(Blobs(boxes), folder / f"{name}.pt2")
    return {kind: Made(folder, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_is_confirmed(projects: dict[str, Made], kind: str, robspec: Run) -> None:
    made = projects[kind]
    written = made.write(robspec)
    result = robspec("recheck", made.path, made.model, made.spec)
    assert result.status == 0, result.err
    assert "confirmed: 3 images" in result.out
    verdicts = {p["name"]: p["verdict"] for p in written["properties"]}
    wanted = "PROVED, assuming frozen boxes, where they are computed" if kind in ("frozen", "limit") else "PROVED"
    assert verdicts["recalled"] == wanted
    assert ("frozen boxes" in result.out.splitlines()[-1]) == (kind in ("frozen", "limit"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_forged_field_is_rejected(projects: dict[str, Made], kind: str, robspec: Run) -> None:
    """Each leaf in turn, with the digest a forger would compute."""
    written = projects[kind].write(robspec)
    truth = projects[kind].derived(written)
    assert truth.differences(written) == []
    inputs = [("inputs", name) for name in ("batch_size", "forward", "assume_lipschitz")]
    paths = [path for path in leaves(written) if path != ("digest",) and path not in inputs]
    # Derivations of constants are forged with every other certificate; here one of each.
    paths = [path for path in paths if "derivation" not in path or path[1] < 1]
    every_forgery_is_found(truth, written, paths, len(paths) // 5)


def test_what_is_forged_in_the_files_is_rejected(projects: dict[str, Made], robspec: Run) -> None:
    """An annotation with one object less is another data set, and named as one."""
    made = projects["frozen"]
    made.write(robspec)
    path = made.folder / "annotations.json"
    text = path.read_text()
    path.write_text(text.replace('"iscrowd": 0', '"iscrowd": 1', 1))
    try:
        result = robspec("recheck", made.path, made.model, made.spec)
    finally:
        path.write_text(text)
    assert result.status == 1
    assert "sha256.files" in result.err
    assert "images[0].objects" in result.err


def test_a_certificate_of_frozen_boxes_is_none_of_proved_ones(projects: dict[str, Made], robspec: Run) -> None:
    """The detector is the specification's: what a certificate says of it is compared, and not taken."""
    written = copy.deepcopy(projects["frozen"].write(robspec))
    truth = projects["proved"].derived(projects["proved"].write(robspec))
    written["program"]["program"]["model"]["detector"]["boxes"] = "proved"
    for at, there, _ in truth.differences(written):
        if at.endswith("verdict"):
            assert "frozen" in there
            return
    raise AssertionError("the verdict is the same")
