"""Bounds found where the logits are: nobody can tell from the report who found them."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.errors import SoundnessAlarm
from robspec.lower import compile_text
from robspec.models.loading import load
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF
from robspec.session import check as checks
from robspec.session import job as jobs
from robspec.session.ahead import Ahead
from robspec.session.answer import Answer, read
from robspec.session.check import Options
from robspec.session.crew import Crew
from robspec.session.job import Job
from robspec.session.worker import Answerer, Setup, Task
from robspec.verify.census import Counted
from robspec.verify.evaluate import is_pooled
from robspec.verify.found import Extremes, Found, pools_of, portable
from robspec.verify.result import ImageResult
from tests.cli import test_certificate_detector as detector
from tests.cli import test_coarse, test_whole_images
from tests.cli.conftest import SIDE, SPEC, Brightness, Project, Run, export, write_images
from tests.tasks.detecting import SPEC as OBJECTS
from tests.tasks.detecting import Blob, Blobs, archive, write_data

ASKED = """
property accurate {
  metric pixel_accuracy
  norm l2
  budget 0 to 1 points 4
  require mean(worst_case) >= 0.1
}
property overlap {
  metric iou[bright] in region
  norm linf
  budget 0.05
  require mean(worst_case) >= 0.1
}
property average {
  metric mean_iou
  norm l2
  degraded when h <= 0.5 * h0 or (pixel_accuracy < 0.5 and stability < 0.9)
  require quantile(0.5, radius) >= 0.01
}
property steady {
  metric stability
  norm l1
  budget 2
  require worst_case >= 0.1 for 50% of images
}
property weighed {
  metric weighted recall[bright] in region
  norm l2
  budget 0.3
  require mean(worst_case) >= 0.1
}
property parts {
  metric object_recall(0.5)[bright]
  norm l2
  budget 0.5
  require mean(worst_case) >= 0.1
}
property all_pixels {
  metric pooled iou[bright]
  norm l2
  budget 0 to 1 points 3
  require worst_case >= 0.1
}
property all_far {
  metric pooled mean_iou
  norm l2
  degraded when h <= 0.5
  require radius >= 0.01
}
property all_parts {
  metric pooled object_recall(0.5)[bright]
  norm l2
  budget 0.5
  require worst_case >= 0.1
}
property noisy {
  metric pixel_accuracy
  norm l2
  budget 0.01
  by smoothing { sigma 0.25 samples 40 selection 5 alpha 0.01 }
  require mean(worst_case) >= 0.01
}
"""
FILES = '  masks "masks/*.png"\n  ignore 255\n  region "regions/*.png"\n  weights "weights/*.npy"\n'


class Narrow(torch.nn.Module):
    """One logit, the channel sum shifted to 0."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - 0.5).sum(1, keepdim=True) * 3**-0.5


def files(root: Path) -> None:
    """Regions, weights, ignored pixels, and an image that holds nothing that counts."""
    write_images(root, 5)
    rng = np.random.default_rng(1)
    for part in ("regions", "weights"):
        (root / part).mkdir()
    for i in range(5):
        region = rng.integers(0, 2, (SIDE, SIDE), dtype=np.uint8) * (i != 2)
        Image.fromarray(region.astype(np.uint8)).save(root / "regions" / f"im{i}.png")
        np.save(root / "weights" / f"im{i}.npy", rng.integers(0, 3, (SIDE, SIDE)) / 2)
        path = root / "masks" / f"im{i}.png"
        mask = np.array(Image.open(path))
        mask[rng.random(mask.shape) < (1.1 if i == 3 else 0.1)] = 255
        Image.fromarray(mask).save(path)


class Here:
    """Workers that are this process, behind the line that others are behind: pickled tasks, bytes for answers."""

    count, threads, beside = 2, 1, True

    def __init__(self, setup: Setup) -> None:
        self._setup, self.lost, self.logits, self.asked = setup, 0, 0, 0
        self._answerer = Answerer(load(setup.path, **setup.options), setup)

    def submit(self, task: Task, _names: Sequence[str]) -> Future[Answer | None]:
        self.asked += 1
        blob = self._answerer.answer(pickle.loads(pickle.dumps(task)))
        found = read(blob, task.tie(self._setup.about)) if blob else None
        self.lost += found is None
        self.logits += found is not None and found.logits is not None
        coming: Future[Answer | None] = Future()
        coming.set_result(found)
        return coming

    def processes(self) -> tuple[int, ...]:
        return ()

    def close(self) -> None:
        """Nothing is held."""


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    del found["seconds"]
    for comparison in (found.get("cross_check") or {}).get("comparisons", ()):
        comparison.pop("seconds", None)
    return found


Here_ = list[Here]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here_:
    made: Here_ = []

    def crew(_options: Options, setup: Setup) -> Here:
        made.append(Here(setup))
        return made[-1]

    monkeypatch.setattr(checks, "_crew", crew)
    return made


def both(robspec: Run, here: Here_, model: Path, spec: Path, *rest: object, batch: int = 2) -> Here:
    """Check twice; the same document whoever finds the bounds."""
    given = ("check", model, spec, "-q", "--batch-size", batch, "--allow", "unknown", *rest)
    reports = []
    for name, more in (("alone.json", ()), ("beside.json", ("--workers", 2))):
        path = spec.parent / name
        result = robspec(*given, "--output", f"json={path}", *more)
        assert result.status in (0, 1), result.err
        reports.append(document(path))
    assert reports[0] == reports[1]
    assert not here[-1].lost
    return here[-1]


@pytest.mark.parametrize("module", [Brightness(), Narrow()])
@pytest.mark.parametrize("arithmetic", ["exact", "real"])
def test_every_kind_of_question(
    module: torch.nn.Module, arithmetic: str, tmp_path: Path, robspec: Run, here: Here_
) -> None:
    files(tmp_path)
    model, asked = export(module, tmp_path / "model.pt2"), ASKED
    if arithmetic == "real":
        asked = asked[: asked.index("property noisy")]
    text = SPEC.format(claim="2", properties=asked).replace('  masks "masks/*.png"\n', FILES)
    if isinstance(module, Narrow):
        text = text.replace("[2, 8, 8]", "[1, 8, 8]")
    (tmp_path / "spec.rspec").write_text(text)
    rest = ("--no-store", "--arithmetic", arithmetic)
    crew = both(robspec, here, model, tmp_path / "spec.rspec", *rest)
    # Three batches: the logits of the first alone came back.
    assert (crew.asked, crew.logits) == (3, 1)
    crew = both(robspec, here, model, tmp_path / "spec.rspec", *rest, "--pair-bound", batch=1)
    assert (crew.asked, crew.logits) == (5, 1)


def test_cells_of_coarse_logits(tmp_path: Path, robspec: Run, here: Here_) -> None:
    write_images(tmp_path)
    model = export(test_coarse.Coarse(), tmp_path / "coarse.pt2")
    (tmp_path / "spec.rspec").write_text(SPEC.format(claim="4", properties=test_coarse.PROPERTIES))
    crew = both(robspec, here, model, tmp_path / "spec.rspec", "--no-store", "--coarse")
    assert crew.logits == 1


folder = test_whole_images.folder


@pytest.mark.parametrize("name", ["c", "s"])
def test_images_judged_as_a_whole(name: str, folder: Path, robspec: Run, here: Here_) -> None:
    crew = both(robspec, here, folder / f"{name}.pt2", folder / f"{name}.rspec", "--no-store", batch=7)
    # Scores are ranked once all are known, by the first process.
    assert crew.logits == (1 if name == "c" else crew.asked)


@pytest.mark.parametrize("pooled", [False, True])
def test_detectors(pooled: bool, tmp_path: Path, robspec: Run, here: Here_) -> None:
    write_data(tmp_path, [[Blob((0, 0)), Blob((2, 2))], [Blob((1, 1), 1)], [Blob((3, 3), 0, 204)], []])
    model = archive(Blobs("move"), tmp_path / "move.pt2")
    each = detector.PROPERTIES[: detector.PROPERTIES.index("property together")]
    asked = detector.PROPERTIES + detector.PRECISIONS if pooled else each
    text = OBJECTS.format(properties=asked).replace("language 1\n", f"language 1\n{detector.COUNTED}\n")
    (tmp_path / "spec.rspec").write_text(text)
    crew = both(robspec, here, model, tmp_path / "spec.rspec", "--no-store")
    assert crew.logits == (crew.asked if pooled else 1)


@pytest.mark.parametrize("option", [("--cross-check", 3), ("--certificate", "c.json")])
def test_what_observes_logits_is_given_them(
    option: tuple[object, ...], project: Project, robspec: Run, here: Here_
) -> None:
    crew = both(robspec, here, project.model, project.spec, "--no-store", *option)
    assert crew.logits == crew.asked == 2


def test_logits_for_the_store_and_from_it(project: Project, robspec: Run, here: Here_) -> None:
    store = ("--store", project.root / "s.sqlite", "--resume")
    path = project.root / "out.json"
    given = ("check", project.model, project.spec, "--batch-size", 1, "--output", f"json={path}", *store)
    told = robspec(*given, "--workers", 2).err
    assert "logits of 0 batches" in told
    first = document(path)
    assert here[-1].logits == 4
    # They are known now: workers are sent them, and run nothing.
    told = robspec(*given, "--workers", 2).err
    assert "logits of 4 batches" in told
    assert (here[-1].asked, here[-1].logits) == (4, 0)
    assert document(path) == first
    assert "logits of 4 batches" in robspec(*given).err
    assert document(path) == first


def test_only_what_a_store_would_keep_is_sent_for_it(
    project: Project, robspec: Run, here: Here_, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robspec.store.remembering.LARGEST", 100)
    both(robspec, here, project.model, project.spec, "--store", project.root / "s.sqlite", batch=1)
    assert here[-1].logits == 1


def crew_killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill every worker once the second image is answered, and list them; once more where the list is cleared."""
    submit, killed = Crew.submit, list[int]()

    def killing(self: Crew, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        coming = submit(self, task, names)
        if not killed and names[0].endswith("im1.png"):
            coming.result()
            killed.extend(self.processes())
            for process in killed:
                os.kill(process, signal.SIGKILL)
        return coming

    monkeypatch.setattr(Crew, "submit", killing)
    return killed


def test_from_any_number_of_processes_though_one_is_killed(
    tmp_path: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path)
    model, spec = export(Brightness(), tmp_path / "model.pt2"), tmp_path / "spec.rspec"
    text = SPEC.format(claim="1.01", properties=ASKED).replace('  masks "masks/*.png"\n', FILES)
    spec.write_text(text)
    given = ("check", model, spec, "-q", "--no-store", "--batch-size", 1, "--allow", "unknown")
    killed = crew_killed(monkeypatch)
    reports = []
    for count in (None, 1, 2, 3):
        path = tmp_path / f"{count}.json"
        killed.clear()
        more = () if count is None else ("--workers", count)
        result = robspec(*given, "--output", f"json={path}", *more)
        assert result.status in (0, 1), result.err
        assert bool(killed) == (count is not None)
        reports.append(document(path))
    assert all(report == reports[0] for report in reports)


class Diverging(torch.nn.Module):
    """Not a number on an image whose first pixel is 0."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image - 0.5).sum(1, keepdim=True) * 6**-0.5
        return torch.cat([-s, s], 1) / image[:, :1, :1, :1].sign()


def test_an_error_in_an_image_is_the_same(tmp_path: Path, robspec: Run, here: Here_) -> None:
    write_images(tmp_path)
    path = tmp_path / "images" / "im2.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] = 0
    Image.fromarray(pixels).save(path)
    model, spec = export(Diverging(), tmp_path / "model.pt2"), tmp_path / "spec.rspec"
    asked = ASKED[: ASKED.index("property overlap")]
    spec.write_text(SPEC.format(claim="1.01", properties=asked).replace("  lipschitz l2 <= 1.01\n", ""))
    given = ("check", model, spec, "-q", "--no-store", "--batch-size", 1, "--assume-lipschitz", 1)
    alone = robspec(*given)
    found = robspec(*given, "--workers", 2)
    assert "E0401" in alone.err
    assert "im2.png" in alone.err
    assert (found.status, found.err, found.out) == (alone.status, alone.err, alone.out) == (2, alone.err, "")
    assert here[-1].lost == 1


def test_an_answer_to_another_question_is_no_answer(project: Project) -> None:
    model = load(project.model, input_shape=(3, 8, 8))
    setup = Setup(project.model, model.sha256, {}, 1)
    task = Task(torch.rand(2, 3, 8, 8).numpy(), True, names=("a", "b"), labels=np.zeros((2, 8, 8), np.int64))
    blob = Answerer(model, setup).answer(task)
    assert read(blob, task.tie(setup.about)).logits is not None
    assert task.labels is not None
    pixels, labels = task.images.copy(), task.labels.copy()
    pixels[1, 2, 7, 7] = np.nextafter(pixels[1, 2, 7, 7], np.float32(2))
    labels[1, 7, 7] = 1
    others = [
        replace(task, images=pixels),
        replace(task, images=task.images.reshape(2, 3, 4, 16)),
        replace(task, labels=labels),
        replace(task, labels=None, region=task.labels),
        replace(task, names=("a", "c")),
        replace(task, job="{}"),
        replace(task, known=task.images),
    ]
    ties = {other.tie(setup.about) for other in (task, *others)}
    ties |= {task.tie(replace(setup, **{name: value}).about) for name, value in _OTHER.items()}
    assert len(ties) == 1 + len(others) + len(_OTHER)
    for tie in ties - {task.tie(setup.about)}:
        with pytest.raises(SoundnessAlarm, match="other images"):
            read(blob, tie)


_OTHER: dict[str, Any] = {"sha256": "1" * 64, "function": "1", "coarse": True}


def test_a_job_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SPEC.format(claim="1", properties=ASKED).replace('  masks "masks/*.png"\n', FILES)
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    third = Fraction(1, 3) + Fraction(1, 2**1074)
    plain = Constant(third, L2, L2, ConstantStatus.PROVED, "note \u03b5", rounding=third / 7, coarse=third**2)
    odd = Constant(third, LINF, L1, ConstantStatus.ASSUMED, boxes=third, assuming="x", boxes_rounding=third)
    constants = tuple(
        p.smoothing.standing if p.smoothing else (odd if i % 2 else plain) for i, p in enumerate(program.properties)
    )
    job = Job(program, constants, "auto", True)
    assert jobs.read(job.text()) == job
    monkeypatch.setattr(jobs, "read", lambda _: replace(job, pair_bound=False))
    with pytest.raises(SoundnessAlarm, match="not what was established"):
        job.text()


def test_numbers_of_any_length_cross_the_line() -> None:
    long = Fraction(10**9000 + 1, 3**9000)
    rows = [
        [ImageResult("a\n\u03b5", long, (-long, float("inf"), None), (None, Fraction(0)), (Fraction(-1, 3),))],
        [],
    ]
    counted = Counted((0, 2), (2**70, 1), 9, 3, (0,), ((5, 4, (1,), (2, 2)), (1, 1, (), ())))
    arrays = [np.array([[1, -2]]), np.empty(0), np.array([5e-324, np.nan, -0.0])]
    found = Found(rows, [], counted, iter(arrays), Extremes(1, -0.0, float("inf")))
    again = read(Answer(found=found).written(b"1"), b"1").found
    assert again is not None
    assert (again.answers, again.full, again.counted) == (rows, [], counted)
    assert [a.tobytes() for a in again.pooled] == [a.tobytes() for a in arrays]
    assert str(again.extremes) == str(found.extremes)


def test_what_needs_every_logit_is_known_beforehand() -> None:
    for text, near in (
        (SPEC.format(claim="1", properties=ASKED).replace('  masks "masks/*.png"\n', FILES), False),
        (test_whole_images.CLASSIFY, False),
        (test_whole_images.SCORES, True),
        (OBJECTS.format(properties=detector.PRECISIONS), True),
    ):
        program, diagnostics = compile_text(text)
        assert program is not None, diagnostics
        assert portable(program) != near
        unit = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
        pools = pools_of(program, [unit] * len(program.properties))
        try:
            if near:
                assert any(map(is_pooled, program.properties))
                with pytest.raises(ValueError, match="logits of every image"):
                    pools.take(iter(()), None)
        finally:
            pools.close()


def test_nothing_is_known_of_a_batch_that_was_not_streamed(project: Project) -> None:
    model = load(project.model, input_shape=(3, 8, 8))
    program, _ = compile_text(project.spec.read_text())
    assert program is not None
    here = Here(Setup(project.model, model.sha256, {"input_shape": (3, 8, 8)}, 1))
    ahead = Ahead(program, model, [], here, None, apart=True)  # type: ignore[arg-type]
    assert ahead.found(Task(np.zeros((1, 3, 8, 8), np.float32), True).batch()) is None
