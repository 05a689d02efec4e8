"""Images read where bounds are found: nobody can tell from the report who read them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robspec.data import unread
from robspec.data.dataset import Dataset, open_dataset
from robspec.data.errors import FileChanged, UnreadableFile
from robspec.data.unread import Seen
from robspec.errors import SoundnessAlarm
from robspec.lower import compile_text
from robspec.models.loading import load
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.session.answer import Answer, read
from robspec.session.cluster import Holder, installed
from robspec.session.job import Job
from robspec.session.remembered import identity
from robspec.session.worker import Answerer, Setup, Task
from robspec.store import Store
from robspec.store.remembering import Remembering
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
    ("options", "properties", "beside"),
    [
        (("--no-store",), ASKED, True),
        (("--no-store", "--cross-check", 1), PROVED, True),
        (("--store", "s.sqlite"), WITHOUT_NOISE, False),
    ],
)
def test_what_is_needed_here_is_read_here(
    options: tuple[object, ...],
    properties: str,
    beside: bool,
    tmp_path: Path,
    robspec: Run,
    here: Here_,
    told: list[tuple[tuple[str, ...], bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Here, "beside", beside)
    model, spec = asked(tmp_path, properties)
    options = tuple(tmp_path / str(o) if o == "s.sqlite" else o for o in options)
    given = ("check", model, spec, "-q", "--batch-size", 2, "--allow", "unknown", "--workers", 2, *options)
    result = robspec(*given, "--arithmetic", "exact")
    assert result.status in (0, 1), result.err
    assert [elsewhere for _, elsewhere in told] == [False, False, False]


def test_images_whose_logits_no_store_keeps_are_decoded_on_other_machines(
    tmp_path: Path,
    robspec: Run,
    here: Here_,
    told: list[tuple[tuple[str, ...], bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the first batch, whose logits are looked at, and the last, which is small enough to be kept."""
    model, spec = asked(tmp_path)
    monkeypatch.setattr(Here, "beside", False)
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


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on another machine, where another file lies under each path, as long as they compute."""
    submit = Here.submit

    def submitting(self: Here, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        folders = [tmp_path / part for part in ("images", "masks")]
        for folder in folders:
            folder.rename(folder.with_suffix(".here"))
            shutil.copytree(folder.with_suffix(".here"), folder)
            paths = sorted(folder.iterdir())
            for path in paths:
                shutil.copyfile(sorted(folder.with_suffix(".here").iterdir())[0], path)
        try:
            return submit(self, task, names)
        finally:
            for folder in folders:
                shutil.rmtree(folder)
                folder.with_suffix(".here").rename(folder)

    monkeypatch.setattr(Here, "submit", submitting)
    monkeypatch.setattr(Here, "beside", False)


@pytest.mark.parametrize("batch", [1, 2])
def test_another_file_under_the_same_path_is_never_certified_in_its_place(
    batch: int, tmp_path: Path, robspec: Run, here: Here_, told: list[tuple[tuple[str, ...], bool]], far: None
) -> None:
    model, spec = asked(tmp_path)
    given = ("check", model, spec, "-q", "--no-store", "--batch-size", batch, "--allow", "unknown")
    reports = []
    for name, more in (("alone", ()), ("far", ("--workers", 2))):
        path = tmp_path / f"{name}.json"
        result = robspec(*given, "--output", f"json={path}", *more)
        assert result.status in (0, 1), result.err
        reports.append(document(path))
    assert reports[0] == reports[1]
    assert [elsewhere for _, elsewhere in told] == [False, *[True] * (len(told) - 1)]
    assert not here[-1].lost


@pytest.mark.parametrize("fault", ["label", "cut"])
def test_what_is_wrong_is_said_as_here_by_another_machine(
    fault: str, project: Project, robspec: Run, here: Here_, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "beside", False)
    if fault == "label":
        Image.new("L", (8, 8), 9).save(project.root / "masks" / "im2.png")
    else:
        image = project.root / "images" / "im2.png"
        image.write_bytes(image.read_bytes()[:-30])
    given = ("check", project.model, project.spec, "-q", "--batch-size", 1, "--no-store")
    alone, found = robspec(*given), robspec(*given, "--workers", 2)
    assert "im2.png" in alone.err
    assert (found.status, found.err, found.out) == (alone.status, alone.err, alone.out) == (2, alone.err, "")


def test_held_files_are_opened_by_nobody_else(project: Project) -> None:
    data, alone = opened(project), opened(project)
    expected, digest = next(alone.batches(4)), alone.digest()
    (batch,) = unread.batches(data, 4)
    batch.hold()
    for path in data.paths.values():
        path.unlink()
    found, seen = unread.read(batch.told)
    assert not batch.read
    assert np.array_equal(found.arrays.images, expected.arrays.images)
    batch.take(seen)
    assert data.digest() == digest
    # A file that is not among them is not looked for.
    part = pickle.loads(batch.told)
    assert set(part.blobs) == set(data.paths)
    del part.blobs["images/im1.png"]
    with pytest.raises(KeyError, match="im1"):
        next(part.batches(4))


def test_of_two_files_that_are_wrong_the_first_is_named(project: Project) -> None:
    data = opened(project)
    image = project.root / "images" / "im1.png"
    image.write_bytes(image.read_bytes()[:-30])
    (project.root / "images" / "im2.png").unlink()
    (batch,) = unread.batches(data, 4)
    with pytest.raises(UnreadableFile, match=r"im1\.png"):
        batch.hold()


@pytest.mark.parametrize("name", ["robspec", "torch", "pil", "libjpeg_turbo"])
def test_a_machine_with_other_versions_computes_nothing(name: str, project: Project) -> None:
    model = load(project.model, input_shape=(3, 8, 8))
    setup = Setup(project.model, model.sha256, {"input_shape": (3, 8, 8)}, 1)
    assert Holder(setup, b"", installed()).answer(Task(np.zeros((1, 3, 8, 8), np.float32), True))
    with pytest.raises(ValueError, match=f"other versions than this one: {name} .* for 0$"):
        Holder(setup, b"", {**installed(), name: "0"})


def test_workers_look_into_the_store(
    tmp_path: Path, robspec: Run, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever filled it, by any number of processes, though each is killed once; the first one decodes one batch."""
    model, spec = asked(tmp_path)
    given = ("check", model, spec, "--batch-size", 1, "--allow", "unknown", "--arithmetic", "exact")
    alone = tmp_path / "alone.json"
    robspec(*given, "--no-store", "--output", f"json={alone}")
    killed = crew_killed(monkeypatch)
    for filling, others in ((0, (1, 3)), (2, (2, 0))):
        store = ("--resume", "--store", tmp_path / f"{filling}.sqlite")
        for count in (filling, *others):
            killed.clear()
            reads.clear()
            path = tmp_path / f"{filling}{count}.json"
            more = ("--workers", count) if count else ()
            first = not (tmp_path / f"{filling}.sqlite").exists()
            result = robspec(*given, *store, "--output", f"json={path}", *more)
            assert result.status in (0, 1), result.err
            assert f"logits of {0 if first else 5} batches" in result.err
            assert document(path) == document(alone)
            assert len(reads) == (4 if count else 20)
            assert bool(killed) == bool(count)


def test_a_changed_image_is_looked_up_by_what_it_is_now(project: Project, robspec: Run) -> None:
    given = ("check", project.model, project.spec, "--batch-size", 1)
    store = ("--resume", "--store", project.root / "s.sqlite")
    robspec(*given, *store, "--workers", 2)
    image = project.root / "images" / "im2.png"
    pixels = np.array(Image.open(image))
    Image.fromarray(255 - pixels).save(image)
    documents = []
    for more in ((*store, "--workers", 2), ("--no-store",)):
        path = project.root / "found.json"
        told = robspec(*given, *more, "--output", f"json={path}").err
        assert ("logits of 3 batches" in told) == ("--workers" in more)
        documents.append(document(path))
    assert documents[0] == documents[1]


def test_what_a_worker_says_of_the_store(project: Project) -> None:
    path, model = project.root / "s.sqlite", load(project.model, input_shape=(3, 8, 8))
    setup = Setup(project.model, model.sha256, {}, 1, store=path)
    (batch,) = unread.batches(opened(project), 4)
    task = Task(None, False, job="", names=batch.names, unread=batch.told, kept=True)
    images = batch.images
    expected, key = model.logits(images), Remembering(model, Store(path), identity(model)).key(images)
    job = _job(project)

    def said(asked: Task) -> Answer:
        return read(Answerer(model, setup).answer(asked), asked.tie(setup.about))

    asked = replace(task, job=job)
    new = said(asked)
    assert new.logits is not None
    assert (new.known, new.key, np.array_equal(new.logits, expected.numpy())) == (False, key, True)
    Remembering(model, Store(path), identity(model)).keep_under(new.key, new.logits)
    old = said(asked)
    assert (old.known, old.key, old.logits) == (True, b"", None)
    assert old.found is not None
    assert new.found is not None
    assert old.found.answers == new.found.answers
    # What nobody keeps is not looked up, nor what was looked up by whoever asks.
    assert not said(replace(asked, kept=False)).known
    given = replace(asked, unread=b"", images=images.numpy(), labels=batch.labels.numpy())  # type: ignore[union-attr]
    assert not said(given).known
    # Pixels that differ in a bit are others.
    pixels = images.clone()
    pixels.numpy()[3, 2, 7, 7] = np.nextafter(pixels.numpy()[3, 2, 7, 7], np.float32(2))
    assert Remembering(model, Store(path), identity(model)).key(pixels) != key


def _job(project: Project) -> str:
    program, _ = compile_text(project.spec.read_text())
    assert program is not None
    unit = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
    return Job(program, (unit,) * len(program.properties), "auto", False).text()
