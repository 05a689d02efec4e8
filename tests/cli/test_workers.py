"""Further processes run the model; nobody can tell from what is found."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data.dataset import Arrays, Batch
from robspec.data.errors import LabelOutOfRange
from robspec.lipschitz.cache import key
from robspec.lower import compile_text
from robspec.models.loading import load
from robspec.semantics.norm import L2
from robspec.session.ahead import Ahead
from robspec.session.answer import Answer, packed, read, unpacked
from robspec.session.crew import TRIES, Crew, threads
from robspec.session.worker import Answerer, Setup, Task, same
from robspec.smoothing.sampling import sample
from robspec.store import Store
from robspec.verify.errors import WorkerLost
from robspec.verify.smoothed import asked, chunk
from tests.cli.conftest import PROVED, SPEC, Project, Run, export
from tests.cli.test_store import checked

EVERYTHING = (
    PROVED
    + """
property all_pixels {
  metric pooled iou[bright]
  norm l2
  budget 0.1
  require worst_case >= 0.5
}
property noisy {
  metric pixel_accuracy
  norm l2
  budget 0.01
  by smoothing { sigma 0.25 samples 40 selection 5 alpha 0.01 }
  require mean(worst_case) >= 0.01
}
"""
)


def test_the_same_document_from_any_number(project: Project, robspec: Run) -> None:
    project.write_spec(EVERYTHING)
    alone, _ = checked(robspec, project, "alone.json", "--no-store", "--batch-size", 1, "--allow", "unknown")
    for count in (1, 3):
        store = ("--no-store",) if count < 3 else ("--store", project.root / "s.sqlite", "--resume")
        name = f"{count}.json"
        found, _ = checked(
            robspec, project, name, "--batch-size", 1, "--workers", count, *store, "--allow", "unknown"
        )
        assert found == alone
    # Logits that are known are asked of nobody.
    project.write_spec(PROVED)
    # What is asked with `by smoothing` was run in float32.
    given = ("--batch-size", 1, "--workers", 2, "--arithmetic", "exact")
    _, told = checked(robspec, project, "again.json", *store, *given)
    assert "logits of 4 batches" in told


def test_the_same_bits_of_images_in_colour(project: Project, robspec: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    convolved = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3, padding=1)
    )
    project = replace(project, model=export(convolved.eval(), tmp_path / "convolved.pt2"))
    asked = (
        "property far {\n metric stability\n norm l2\n degraded when h <= 0.5\n require radius >= 0 for all images\n}"
    )
    project.spec.write_text(SPEC.format(claim=100, properties=asked))
    for arithmetic in ("exact", "real"):
        given = ("--no-store", "--arithmetic", arithmetic)
        alone, _ = checked(robspec, project, "alone.json", *given)
        found, _ = checked(robspec, project, "found.json", *given, "--workers", 1)
        assert found == alone


def test_an_image_that_cannot_be_read_stops_the_run_where_it_lies(project: Project, robspec: Run) -> None:
    Image.new("L", (8, 8), 9).save(project.root / "masks" / "im2.png")
    asked = (
        "check",
        project.model,
        project.spec,
        "--batch-size",
        1,
        "--store",
        project.root / "s.sqlite",
        "--resume",
    )
    stopped = robspec(*asked, "--workers", 2)
    assert stopped.status == 2
    assert "im2.png" in stopped.err
    with closing(Store(project.root / "s.sqlite")) as store:
        # What lay before it was kept, and the first image in the company of two mirrored ones.
        assert store.summary()["logits"][0] == 3
    assert robspec(*asked).err == stopped.err


@pytest.fixture
def crew(project: Project) -> Crew:
    model = load(project.model, input_shape=(3, 8, 8))
    return Crew(1, Setup(project.model, model.sha256, {"input_shape": (3, 8, 8)}, threads()))


def test_a_killed_worker_costs_a_retry(crew: Crew, project: Project) -> None:
    task = Task(torch.rand(2, 3, 8, 8).numpy(), True)
    try:
        first = crew.submit(task, ("a", "b")).result()
        (process,) = crew.processes()
        os.kill(process, signal.SIGKILL)
        again = crew.submit(task, ("a", "b")).result()
        assert crew.processes() != (process,)
        assert first is not None
        assert again is not None
        expected = load(project.model, input_shape=(3, 8, 8)).logits(torch.from_numpy(task.images))
        for found in (first, again):
            assert found.logits is not None
            assert torch.equal(torch.from_numpy(found.logits), expected)
        # What raises an error is left to who asked.
        assert crew.submit(Task(torch.rand(1, 3, 4, 4).numpy(), True), ("c",)).result() is None
    finally:
        crew.close()
    assert not crew.processes()


class _Line:
    """A worker that ends whenever it is given something."""

    started = 0

    def __init__(self, _setup: Setup) -> None:
        type(self).started += 1
        self.connection = self

    def send(self, _task: Task) -> None:
        raise BrokenPipeError

    def end(self) -> int:
        return -9


def test_a_worker_that_ends_again_and_again_stops_the_run(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robspec.session.crew._Worker", _Line)
    coming = crew.submit(Task(torch.rand(1, 3, 8, 8).numpy(), True), ("im0.png", "im1.png"))
    with pytest.raises(WorkerLost, match=r"by signal 9, 3 times\n.*im0\.png to im1\.png"):
        coming.result()
    assert _Line.started == TRIES
    crew.close()


def test_arrays_cross_the_line_unchanged() -> None:
    arrays = [torch.rand(2, 3).numpy(), torch.zeros(0, 2, dtype=torch.int64).numpy(), torch.rand(()).numpy()]
    assert [a.tobytes() for a in unpacked(packed(arrays))] == [a.tobytes() for a in arrays]
    assert [a.dtype for a in unpacked(packed(arrays))] == [a.dtype for a in arrays]
    assert not unpacked(b"")


class _Network:
    """A network of two outputs whose numbers follow from its images."""

    input_shape, output_shape, sha256 = (3, 8, 8), (2, 1, 64), "0"

    def __init__(self, factor: float, second: _Network | None = None) -> None:
        self.factor, self.second, self.calls = factor, second, 0

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (images[:, :2] * self.factor).flatten(2)[:, :, None]


class _Here:
    """A crew whose only worker is this process; it fails on bright images."""

    count, beside = 1, True

    def __init__(self, model: _Network) -> None:
        self._setup = Setup(Path(), "0", {}, 1)
        self._answerer = Answerer(model, self._setup)  # type: ignore[arg-type]

    def submit(self, task: Task, _names: Sequence[str]) -> Future[Answer | None]:
        coming: Future[Answer | None] = Future()
        bright = bool((task.images > 2).any())
        blob = b"" if bright else self._answerer.answer(task)
        coming.set_result(read(blob, task.tie(self._setup.about)) if blob else None)
        return coming


def test_boxes_and_samples_come_from_workers_and_failures_are_computed_here() -> None:
    spec = SPEC.format(claim="1", properties=EVERYTHING)
    program, diagnostics = compile_text(spec)
    assert program is not None, diagnostics
    near, far = _Network(1.5, _Network(0.5)), _Network(1.5, _Network(0.5))
    images = [torch.rand(2, 3, 8, 8).numpy() + np.float32(2 * (i == 2)) for i in range(4)]
    batches = [Batch(Arrays((f"{i}a", f"{i}b"), images[i], None)) for i in range(4)]

    class Source:
        def __len__(self) -> int:
            return 8

        def batches(self, size: int) -> Iterator[Batch]:
            assert size == 2
            yield from batches
            raise LabelOutOfRange("last.png", "it is wrong", "mend it")

    ahead = Ahead(program, near, Source(), _Here(far), None, apart=True)  # type: ignore[arg-type]
    stream = ahead.batches(2)
    for batch in islice(stream, 4):
        assert torch.equal(ahead.logits(batch.images), _Network(1.5).logits(batch.images))
        assert ahead.second is not None
        assert torch.equal(ahead.second.logits(batch.images), _Network(0.5).logits(batch.images))
        for image in batch.images:
            for smoothing in asked(program):
                size = chunk(program, apart=True)
                found, expected = (
                    draw(_Network(1.5), image, smoothing, size)  # type: ignore[arg-type]
                    for draw in (ahead.sample, sample)
                )
                assert found.hits.tobytes() == expected.hits.tobytes()
                assert found.chosen.tobytes() == expected.chosen.tobytes()
    with pytest.raises(LabelOutOfRange, match=r"last\.png"):
        next(stream)
    assert near.second is not None
    assert (near.calls, near.second.calls) == (1, 1)


def test_a_worker_that_built_another_network_computes_nothing(project: Project) -> None:
    model = load(project.model, input_shape=(3, 8, 8))
    right = Setup(project.model, model.sha256, {}, 1, key(model.program, L2, L2))
    assert same(model, right)
    assert not same(model, replace(right, function="0" * 64))
    assert not same(model, replace(right, sha256="0" * 64))
