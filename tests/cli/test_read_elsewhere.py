"""Images read where bounds are found: nobody can tell from the report who read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robspec.data import unread
from robspec.data.dataset import Dataset, open_dataset
from robspec.data.errors import FileChanged
from robspec.data.unread import Seen
from robspec.errors import SoundnessAlarm
from robspec.lower import compile_text
from robspec.session.answer import Answer
from robspec.session.worker import Task
from tests.cli.conftest import PROVED, SPEC, Brightness, Project, Run, export, write_images
from tests.cli.test_bounds_elsewhere import ASKED, FILES, Here, Here_, crew_killed, document, files, here

__all__ = ["here"]
WITHOUT_NOISE = ASKED[: ASKED.index("property noisy")]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that data sets of this process read, to decode them or for a digest."""
    found: list[str] = []
    read = Dataset._read

    def reading(self: Dataset, path: str, where: str) -> bytes:
        found.append(where)
        return read(self, path, where)

    monkeypatch.setattr(Dataset, "_read", reading)
    return found


def asked(root: Path, properties: str = WITHOUT_NOISE) -> tuple[Path, Path]:
    files(root)
    text = SPEC.format(claim="2", properties=properties).replace('  masks "masks/*.png"\n', FILES)
    (root / "spec.rspec").write_text(text)
    return export(Brightness(), root / "model.pt2"), root / "spec.rspec"


def test_from_any_number_of_processes_though_one_is_killed(
    tmp_path: Path, robspec: Run, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = asked(tmp_path)
    given = ("check", model, spec, "-q", "--no-store", "--batch-size", 1, "--allow", "unknown")
    killed = crew_killed(monkeypatch)
    reports, read = [], []
    for count in range(4):
        killed.clear()
        reads.clear()
        path = tmp_path / f"{count}.json"
        result = robspec(*given, "--output", f"json={path}", *(("--workers", count) if count else ()))
        assert result.status in (0, 1), result.err
        assert bool(killed) == (count > 0)
        reports.append(document(path))
        read.append(len(reads))
    assert reports.count(reports[0]) == 4
    # Image, mask, region and weights of all without workers; of the first alone with some, for the digest too.
    assert read == [20, 4, 4, 4]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], bool]]:
    """The images of each batch that workers are asked for, and whether they are to read them."""
    found: list[tuple[tuple[str, ...], bool]] = []
    submit = Here.submit

    def telling(self: Here, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        found.append((task.names, bool(task.unread)))
        assert bool(task.unread) == (task.images is None)
        return submit(self, task, names)

    monkeypatch.setattr(Here, "submit", telling)
    return found


@pytest.mark.parametrize(
    ("options", "properties"),
    [
        (("--no-store",), ASKED),
        (("--no-store", "--cross-check", 1), PROVED),
        (("--store", "s.sqlite"), WITHOUT_NOISE),
    ],
)
def test_what_is_needed_here_is_read_here(
    options: tuple[object, ...],
    properties: str,
    tmp_path: Path,
    robspec: Run,
    here: Here_,
    told: list[tuple[tuple[str, ...], bool]],
) -> None:
    model, spec = asked(tmp_path, properties)
    options = tuple(tmp_path / str(o) if o == "s.sqlite" else o for o in options)
    given = ("check", model, spec, "-q", "--batch-size", 2, "--allow", "unknown", "--workers", 2, *options)
    result = robspec(*given, "--arithmetic", "exact")
    assert result.status in (0, 1), result.err
    assert [elsewhere for _, elsewhere in told] == [False, False, False]


def test_images_whose_logits_no_store_keeps_are_read_elsewhere(
    tmp_path: Path,
    robspec: Run,
    here: Here_,
    told: list[tuple[tuple[str, ...], bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the first batch, whose logits are looked at, and the last, which is small enough to be kept."""
    model, spec = asked(tmp_path)
    monkeypatch.setattr("robspec.session.ahead.LARGEST", 2 * 2 * 64)
    given = ("check", model, spec, "-q", "--batch-size", 2, "--allow", "unknown", "--store", tmp_path / "s.sqlite")
    assert robspec(*given, "--workers", 2).status in (0, 1)
    assert [elsewhere for _, elsewhere in told] == [False, True, False]
    assert told[1][0] == ("images/im2.png", "images/im3.png")


@pytest.mark.parametrize("fault", ["none", "label", "cut", "twice"])
def test_what_is_wrong_with_an_image_is_said_as_without_workers(fault: str, project: Project, robspec: Run) -> None:
    write_images(project.root, 6)
    image = project.root / "images" / "im4.png"
    if fault == "label":
        Image.new("L", (8, 8), 9).save(project.root / "masks" / "im4.png")
    elif fault == "cut":
        image.write_bytes(image.read_bytes()[:-30])
    elif fault == "twice":
        image.write_bytes((project.root / "images" / "im1.png").read_bytes())
    confident = "  require mean(worst_case) >= 0.1 with confidence 0.9\n"
    text = f"property p {{\n  metric pixel_accuracy\n  norm l2\n  budget 0.1\n{confident}}}\n"
    project.spec.write_text(SPEC.format(claim="1.01", properties=text))
    given = ("check", project.model, project.spec, "-q", "--batch-size", 1, "--no-store", "--allow", "unknown")
    results = [robspec(*given, *more) for more in ((), ("--workers", 2))]
    assert results[0].err == results[1].err
    if fault != "none":
        assert "im4.png" in results[0].err
        assert {r.status for r in results} == {2}


def opened(project: Project) -> Dataset:
    program, _ = compile_text(project.spec.read_text())
    assert program is not None
    return open_dataset(program.data, program.model, project.root)


def test_what_was_read_elsewhere_counts_as_read(project: Project) -> None:
    data, alone = opened(project), opened(project)
    assert unread.portable(data)
    for batch, other in zip(unread.batches(data, 3), alone.batches(3), strict=True):
        assert batch.names == other.names
        told, seen = unread.read(batch.told)
        assert not batch.read
        assert np.array_equal(told.arrays.images, other.arrays.images)
        assert np.array_equal(told.arrays.labels, other.arrays.labels)  # type: ignore[arg-type]
        batch.take(seen)
    # No file is read again for the digest: one that is gone is not missed.
    (project.root / "images" / "im0.png").unlink()
    assert data.digest() == alone.digest()


def test_a_file_that_changed_between_two_processes_is_refused(project: Project) -> None:
    data = opened(project)
    (batch,) = unread.batches(data, 4)
    _, seen = unread.read(batch.told)
    batch.take(seen)
    mask = project.root / "masks" / "im1.png"
    Image.new("L", (8, 8), 1).save(mask)
    (again,) = unread.batches(data, 4)
    # Whoever reads it is told what it was.
    with pytest.raises(FileChanged):
        unread.read(again.told)
    fresh = opened(project)
    (batch,) = unread.batches(fresh, 4)
    _, seen = unread.read(batch.told)
    (other,) = unread.batches(data, 4)
    with pytest.raises(FileChanged, match=r"im1\.png"):
        other.take(seen)


def test_an_answer_about_other_files_is_refused(project: Project) -> None:
    (batch,) = unread.batches(opened(project), 4)
    _, seen = unread.read(batch.told)
    with pytest.raises(SoundnessAlarm, match="other files"):
        batch.take(Seen(seen.contents[:-1], seen.files))
    with pytest.raises(SoundnessAlarm, match="other files"):
        batch.take(Seen(seen.contents, {**seen.files, "elsewhere.png": "00"}))


def test_the_tie_names_what_is_to_be_read(project: Project) -> None:
    first, second = unread.batches(opened(project), 2)
    ties = {Task(None, False, names=b.names, unread=b.told).tie("m") for b in (first, second)}
    assert len(ties) == 2
    renamed = Task(None, False, names=first.names, unread=second.told).tie("m")
    assert renamed not in ties
