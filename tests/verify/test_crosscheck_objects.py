"""The cross-check of detectors: attacks within reach, judged by the oracle; a false bound is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from robspec.api import check
from robspec.bounds.dataset import DatasetBound
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
  budget 2.5
  require worst_case >= 0
}
property e {
  metric pooled f_beta(2)
  norm l2
  degraded when h <= 0.5
  require radius >= 0.1
}
property f {
  metric pooled mislabelled
  norm l2
  budget 5
  require worst_case <= 9
}
property g {
  metric recall
  norm l2
  degraded when h <= 0.5 and (missed >= 2 or false_positives >= 1)
  require radius >= 0.1 for all images
}
"""
AVERAGED = """property h {
  metric average_precision(0.5)[car]
  norm l2
  budget 2.5
  require worst_case >= 0
}
property i {
  metric mean_average_precision(0.5)
  norm l2
  degraded when h <= 0.5
  require radius >= 0.1
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crosschecked")
    write_data(root, [[Blob((0, 0)), Blob((2, 2), 1, 200)], [Blob((3, 3), 0, 204)], []])
    archive(Blobs(), root / "fixed.pt2")
    archive(Blobs("none"), root / "none.pt2")
    return root


def run(folder: Path, spec: str, model: str, wanted: str = "abcdefghi") -> CheckReport:
    path = folder / "spec.rspec"
    texts = (PROPERTIES + (AVERAGED if "overlap" in spec else "")).split("property ")[1:]
    path.write_text(spec.format(properties="".join(f"property {text}" for text in texts if text[0] in wanted)))
    return check(folder / f"{model}.pt2", path, cross_check=3)


@pytest.mark.parametrize(("spec", "model"), [(SPEC, "fixed"), (BY_LOCATION, "none")])
def test_what_is_certified_is_attained_here(folder: Path, spec: str, model: str) -> None:
    found = run(folder, spec, model).cross_check
    assert found is not None
    assert not found.disagreements
    solved = [c for c in found.comparisons if c.agreed]
    assert {c.property for c in solved} == set("abcdefghi" if "overlap" in spec else "abcdefg")
    # Cells do not overlap: what the bound leaves possible, the program finds.
    worst = [c for c in solved if "worst case" in c.what and c.bound != "undefined" and c.property not in "hi"]
    assert all(c.optimum == f"attained {c.bound}" for c in worst)
    assert len({c.bound for c in worst}) >= 3
    assert {c.image for c in solved if c.property in "dehi"} <= {"3 images together"}


def test_a_bound_that_is_too_good_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = crosscheck_objects._compared

    def boasting(name, prop, constant, image, result):  # type: ignore[no-untyped-def]
        better = tuple(None if c is None else c * F(3, 2) for c in result.certified)
        yield from honest(name, prop, constant, image, replace(result, certified=better))

    monkeypatch.setattr(crosscheck_objects, "_compared", boasting)
    found = run(folder, SPEC, "fixed", "acg").cross_check
    assert found is not None
    assert {c.property for c in found.disagreements} == set("acg")
    assert all("UNSOUND" in c.note for c in found.disagreements)


def test_a_bound_of_all_images_that_is_too_good_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is certified of pooled metrics and averages is made better by a half; attacks attain worse."""

    class Boasting:
        def __init__(self, pool: DatasetBound) -> None:
            self._pool = pool
            self.add, self.clean, self.close = pool.add, pool.clean, pool.close

        def worst_case(self, budgets: Sequence[Fraction]) -> list[Fraction | None]:
            lower = self._pool.metric.lower_is_better  # type: ignore[attr-defined]
            return [v if v is None else v / 2 if lower else v + F(1, 8) for v in self._pool.worst_case(budgets)]

        def radius(self, gamma: Fraction | None, *, strict: bool) -> Fraction | float | None:
            found = self._pool.radius(gamma, strict=strict)
            return found if found is None else found * F(3, 2)

    honest = crosscheck_objects.open_dataset_bound
    monkeypatch.setattr(crosscheck_objects, "open_dataset_bound", lambda *given: Boasting(honest(*given)))
    found = run(folder, SPEC, "fixed", "defhi").cross_check
    assert found is not None
    assert {c.property for c in found.disagreements} == set("defhi")


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
