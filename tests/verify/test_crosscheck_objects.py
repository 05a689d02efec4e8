"""The cross-check of detectors: attacks within reach, judged by the oracle; a false bound is noticed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from robspec.api import check
from robspec.oracle import objects
from robspec.oracle.detections import Annotated, box
from robspec.verify import crosscheck_objects
from robspec.verify.result import CheckReport
from tests.examples import examples
from tests.property import random_scenes
from tests.property.exhausted_scenes import certified_mistakes, draw
from tests.tasks.detecting import BY_LOCATION, SPEC, Blob, Blobs, archive, write_data
from tests.tasks.test_detection import metric

F = Fraction
pytest.importorskip("cvxpy")
PROPERTIES = """property a {
  metric recall
  norm l2
  budget 0 to 3 points 3
  require mean(worst_case) >= 0
}
property b {
  metric false_positives
  norm l2
  budget 2.5
  require worst_case <= 9 for all images
}
property c {
  metric mislabelled
  norm l2
  degraded when h >= 1
  require radius >= 0.1 for all images
}
property d {
  metric pooled recall
  norm l2
  budget 1
  require worst_case >= 0
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crosschecked")
    write_data(root, [[Blob((0, 0)), Blob((2, 2), 1, 200)], [Blob((3, 3), 0, 204)], []])
    archive(Blobs(), root / "fixed.pt2")
    archive(Blobs("none"), root / "none.pt2")
    return root


def run(folder: Path, spec: str, model: str) -> CheckReport:
    path = folder / "spec.rspec"
    path.write_text(spec.format(properties=PROPERTIES))
    return check(folder / f"{model}.pt2", path, cross_check=3)


@pytest.mark.parametrize(("spec", "model"), [(SPEC, "fixed"), (BY_LOCATION, "none")])
def test_what_is_certified_is_attained_here(folder: Path, spec: str, model: str) -> None:
    found = run(folder, spec, model).cross_check
    assert found is not None
    assert not found.disagreements
    solved = [c for c in found.comparisons if c.agreed]
    assert {c.property for c in solved} == {"a", "b", "c"}
    # Cells do not overlap: what the bound leaves possible, the program finds.
    worst = [c for c in solved if "worst case" in c.what and c.bound != "undefined"]
    assert all(c.optimum == f"attained {c.bound}" for c in worst)
    assert len({c.bound for c in worst}) >= 3


def test_a_bound_that_is_too_good_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = crosscheck_objects._compared

    def boasting(name, prop, constant, image, result):  # type: ignore[no-untyped-def]
        better = tuple(None if c is None else c * F(3, 2) for c in result.certified)
        yield from honest(name, prop, constant, image, replace(result, certified=better))

    monkeypatch.setattr(crosscheck_objects, "_compared", boasting)
    found = run(folder, SPEC, "fixed").cross_check
    assert found is not None
    assert {c.property for c in found.disagreements} >= {"a", "c"}
    assert all("UNSOUND" in c.note for c in found.disagreements)


def test_on_random_scenes_its_attacks_are_no_worse_than_certified() -> None:
    asked = {
        "missed": metric("missed"),
        "false_positives": metric("false_positives"),
        "mislabelled": metric("mislabelled"),
    }
    attained = total = 0
    for seed in range(examples(10)):
        scene = draw(seed, 5)
        if len(scene.scores) < 2:
            continue
        ledger = random_scenes.certified(scene)
        allowed = list(random_scenes.spent(ledger))
        bounds = {
            "missed": max(fn for _, _, fn in allowed),
            "false_positives": max(fp for _, fp, _ in allowed),
            "mislabelled": certified_mistakes(scene),
        }
        image = objects.Image(
            tuple(tuple(F(z, 4) for z in row) for row in scene.scores),
            tuple(box([float(c) for c in b]) for b in scene.boxes),
            (),
            tuple(
                (k, Annotated(box([float(c) for c in b]), crowd, ignored)) for k, b, crowd, ignored in scene.objects
            ),
            replace(DETECTOR, nms=scene.nms, overlap=scene.overlap),
            F(random_scenes.THETA),
            None if scene.norm is None else int(scene.norm),
        )
        for name, wanted in asked.items():
            found = objects.worst(wanted, image, scene.eps)
            assert found is not None
            assert found[0] <= bounds[name], (seed, name)
            attained += found[0] == bounds[name]
            total += 1
    assert attained >= total // 2


DETECTOR = objects.Detector("score", F(random_scenes.THETA), None, "overlap", F(1, 2), 1, "frozen")
