"""`--device`: what is refused without a GPU, what with one, and the whole path on one that is simulated."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robspec as package
from robspec import report as formats
from robspec.bounds import _ranks
from robspec.bounds.context import Context
from robspec.data.dataset import Arrays, Batch
from robspec.kernels.knapsack import Backend
from robspec.models.loading import load
from robspec.session import check as checks
from robspec.session import device
from robspec.session.check import Options
from robspec.session.crew import Crew
from robspec.session.opening import open_session
from robspec.session.worker import Setup, Task
from robspec.store import Store
from robspec.verify import backend as backends
from robspec.verify import seen
from robspec.verify.errors import BackendUnavailableError, DeviceUnavailable, OptionValueError, WorkerLost
from tests.cli import test_certificate_detector as detector
from tests.cli import test_whole_images
from tests.cli.conftest import PROVED, SPEC, Brightness, Project, Run, export
from tests.cli.test_bounds_elsewhere import ASKED, FILES, Here, Here_, Narrow, document, files
from tests.kernels.available import TRITON
from tests.simulated import CUDA, Far, simulated
from tests.tasks.detecting import SPEC as OBJECTS
from tests.tasks.detecting import Blob, Blobs, archive, write_data

folder = test_whole_images.folder
ABSENT = not torch.cuda.is_available()
INTERPRETED = bool(TRITON) and ABSENT  # tests/conftest.py
ROUNDED = "of whose rounding nothing is proved"


@pytest.mark.skipif(not ABSENT, reason="there is a GPU")
@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there(asked: str, project: Project, robspec: Run) -> None:
    found = robspec("check", project.root / "no.pt2", project.spec, "--device", asked)
    # Before the model is even looked for.
    assert found.status == 2
    assert "error[E0408]" in found.err
    assert f"{asked} cannot be used" in found.err
    assert "--device cpu" in found.err
    with pytest.raises(DeviceUnavailable):
        package.check(project.model, project.spec, device=asked)


def test_a_device_with_a_wrong_number() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cuda, "is_built", lambda: True)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        assert "finds 2 CUDA devices" in device.missing(2)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert "finds no CUDA device" in device.missing(0)


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:-1", "cpu:0", "", "CUDA", "cuda:1000", "cuda:0\n"])
def test_what_names_no_device(asked: str) -> None:
    with pytest.raises(OptionValueError, match="--device"):
        Options(device=asked)


def test_auto_says_that_it_took_the_cpu(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "missing", lambda _: "nobody brought one")
    report = package.check(project.model, project.spec, device="auto")
    assert (report.device, report.arithmetic) == ("cpu", "real")
    assert "device: cpu, as --device auto finds no other: nobody brought one" in report.notes
    plain = package.check(project.model, project.spec)
    assert not any(line.startswith("device:") for line in plain.notes)
    assert plain.properties == report.properties


REFUSED: dict[str, dict[str, Any]] = {
    "--arithmetic": {"arithmetic": "real"},
    "--arithmetic ": {"arithmetic": "deployed"},
    "--certificate": {"certificate": True},
    "--coarse": {"coarse": True},
    "--ray": {"ray": "auto", "device": "cuda:1"},
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("asked", ["cuda", "auto"])
def test_what_a_device_does_not_do_is_refused_by_name(name: str, asked: str, project: Project) -> None:
    options = {"device": asked, **REFUSED[name]}
    with simulated(2) as ran, pytest.raises(OptionValueError) as refusal:
        package.check(project.model, project.spec, **options)
    assert refusal.value.where == name.strip()
    assert not ran
    if options["device"] != "auto":  # no device is needed to say so
        with pytest.raises(OptionValueError, match=name.strip()):
            package.check(project.model, project.spec, **options)


def test_rounding_is_never_proved_of_a_device(project: Project) -> None:
    program = package.compile(project.spec)
    rest = {"data": None, "arch": None, "key": None, "prefix": "", "assume": None, "backend": "cpu"}
    for arithmetic in ("real", "deployed"):
        with simulated(), pytest.raises(ValueError, match="nothing is proved"):
            open_session(
                program, project.model, project.spec, forward="model", arithmetic=arithmetic, device="cuda:0", **rest
            )


@pytest.fixture(params=["triton", "cpu"])
def gpu(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[torch.device]]]:
    """A simulated GPU, with Triton interpreted on its tensors, or without Triton; what `auto` takes there."""
    if request.param == "triton" and not INTERPRETED:
        pytest.skip("there is no Triton that is interpreted")
    with simulated(interpreted=request.param == "triton") as ran:
        yield request.param, ran


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here_:
    """A crew that is this process, its one worker on the first device."""
    made: Here_ = []

    def crew(_options: Options, setup: Setup) -> Here:
        assert setup.options["device"] == "cuda"
        made.append(Here(device.given(setup, 0)))
        return made[-1]

    def chosen(name: str, kind: str = "cpu") -> Backend:
        assert kind == "cuda"
        return backends.choose(name, kind)

    monkeypatch.setattr(checks, "_crew", crew)
    monkeypatch.setattr("robspec.session.worker.choose", chosen)
    return made


def alike(
    robspec: Run, gpu: tuple[str, list[torch.device]], model: Path, spec: Path, *rest: object, far: object = ()
) -> dict[str, Any]:
    """Check on the CPU as exact, and on the device: the same bits give the same document."""
    reports = []
    backend, ran = gpu
    given = ("check", model, spec, "-q", "--allow", "unknown", "--no-store", *rest)
    for name, more in (("near", ("--arithmetic", "exact")), ("far", ("--device", "cuda", *far))):
        ran.clear()
        path = spec.parent / f"{name}.json"
        result = robspec(*given, "--output", f"json={path}", *more)
        assert result.status in (0, 1), result.err
        reports.append(document(path))
        assert {place.type for place in ran} == {"cpu" if name == "near" else "cuda"}
    near, far_ = reports
    assert (near.pop("device"), far_.pop("device")) == ("cpu", "cuda:0")
    near.pop("backend")
    assert far_.pop("backend") == backend
    (about,) = [line for line in far_["notes"] if line.startswith("arithmetic:")]
    assert about.startswith("arithmetic: forward pass in float32 taken as exact")
    assert ROUNDED in about
    (told,) = [line for line in far_["notes"] if line.startswith("device:")]
    assert "cuda:0 (simulated 0)" in told
    assert [line for line in near["notes"] if not line.startswith("arithmetic:")] == [
        line for line in far_["notes"] if line not in (about, told)
    ]
    del near["notes"], far_["notes"]
    assert near == far_
    return far_


WITHIN = """
property within {
  metric pixel_accuracy in [bright]
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.1
}
"""


@pytest.mark.parametrize("module", [Brightness(), Narrow()])
def test_every_kind_of_question(
    module: torch.nn.Module, gpu: tuple[str, list[torch.device]], tmp_path: Path, robspec: Run, here: Here_
) -> None:
    files(tmp_path)
    model, spec = export(module, tmp_path / "model.pt2"), tmp_path / "spec.rspec"
    text = SPEC.format(claim="2", properties=ASKED + WITHIN).replace('  masks "masks/*.png"\n', FILES)
    spec.write_text(text.replace("[2, 8, 8]", "[1, 8, 8]") if isinstance(module, Narrow) else text)
    alike(robspec, gpu, model, spec, "--pair-bound", "--batch-size", 2)
    alike(robspec, gpu, model, spec, "--batch-size", 2, far=("--workers", 2))
    assert (here[-1].asked, here[-1].lost) == (3, 0)


@pytest.mark.parametrize("name", ["c", "s"])
def test_images_judged_as_a_whole(
    name: str,
    gpu: tuple[str, list[torch.device]],
    folder: Path,
    robspec: Run,
    here: Here_,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reduced = _ranks.reduced

    def near(logits: torch.Tensor, labels: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        assert not isinstance(logits, Far)
        assert not isinstance(labels, Far)
        return reduced(logits, labels, *rest, **named)

    monkeypatch.setattr(_ranks, "reduced", near)
    given = (robspec, gpu, folder / f"{name}.pt2", folder / f"{name}.rspec", "--batch-size", 7)
    alike(*given)
    alike(*given, far=("--workers", 2))
    assert not here[-1].lost


@pytest.mark.parametrize("pooled", [False, True])
def test_detectors(
    pooled: bool, gpu: tuple[str, list[torch.device]], tmp_path: Path, robspec: Run, here: Here_
) -> None:
    write_data(tmp_path, [[Blob((0, 0)), Blob((2, 2))], [Blob((1, 1), 1)], [Blob((3, 3), 0, 204)], []])
    model = archive(Blobs("move"), tmp_path / "move.pt2")
    each = detector.PROPERTIES[: detector.PROPERTIES.index("property together")]
    asked = detector.PROPERTIES + detector.PRECISIONS if pooled else each
    text = OBJECTS.format(properties=asked).replace("language 1\n", f"language 1\n{detector.COUNTED}\n")
    (tmp_path / "spec.rspec").write_text(text)
    alike(robspec, gpu, model, tmp_path / "spec.rspec")
    alike(robspec, gpu, model, tmp_path / "spec.rspec", far=("--workers", 2))
    assert not here[-1].lost


@pytest.mark.parametrize(
    "option",
    [
        ("--cross-check", 2),
        ("--attack", 3),
        ("--attack", 3, "--attack-method", "bisection"),
    ],
)
def test_what_looks_at_logits(
    option: tuple[object, ...], gpu: tuple[str, list[torch.device]], project: Project, robspec: Run
) -> None:
    # An UNKNOWN one, so that reasons are looked for as well.
    project.write_spec(PROVED + UNDECIDED)
    found = alike(robspec, gpu, project.model, project.spec, *option, "--witness-dir", project.root / "w")
    verdicts = [r["verdict"] for p in found["properties"] for r in p["requirements"]]
    assert ("REFUTED" if option[0] == "--attack" else "UNKNOWN") in verdicts


UNDECIDED = """
property single {
  metric pixel_accuracy
  norm l2
  budget 2
  require worst_case >= 0.9 for all images
}
"""


class Entrywise(torch.nn.Module):
    """Nothing that is added up: the same bits on every device that rounds as IEEE 754 says."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image[:, :1] - 0.5) * 0.75 + (image[:, 1:2] - image[:, 2:]) * 0.25
        return torch.cat([-s, s], 1)


@pytest.mark.skipif(ABSENT, reason="there is no GPU")
@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_on_a_gpu(backend: str, tmp_path: Path, robspec: Run) -> None:
    """Has never run: written for a machine that has one."""
    files(tmp_path)
    model, spec = export(Entrywise(), tmp_path / "model.pt2"), tmp_path / "spec.rspec"
    spec.write_text(SPEC.format(claim="2", properties=ASKED).replace('  masks "masks/*.png"\n', FILES))
    reports = []
    for more in (("--arithmetic", "exact"), ("--device", "cuda", "--backend", backend), ("--workers", 2)):
        path = tmp_path / "report.json"
        more = (*more, "--device", "cuda") if more[0] == "--workers" else more
        given = ("check", model, spec, "-q", "--allow", "unknown", "--no-store", "--output", f"json={path}", *more)
        result = robspec(*given)
        assert result.status in (0, 1), result.err
        reports.append({k: v for k, v in document(path).items() if k not in ("notes", "backend", "device")})
    assert reports.count(reports[0]) == 3


def test_pictures(gpu: tuple[str, list[torch.device]], project: Project, robspec: Run) -> None:
    pages = []
    for name, more in (("near", ("--arithmetic", "exact")), ("far", ("--device", "cuda"))):
        path = project.root / name / "page.html"
        path.parent.mkdir()
        result = robspec("check", project.model, project.spec, "-q", "--no-store", "--output", f"html={path}", *more)
        assert result.status == 0, result.err
        pages.append({p.name: p.read_bytes() for p in path.parent.rglob("*.png")})
    assert pages[0] == pages[1]
    assert pages[0]


def test_every_format_says_that_it_is_taken_as_exact(project: Project) -> None:
    with simulated():
        report = package.check(project.model, project.spec, device="cuda:0")
    assert (report.device, report.arithmetic) == ("cuda:0", "exact")
    names = [p.stem for p in Path(formats.__file__).parent.glob("[a-z]*.py")]
    assert len(names) > 6
    for name in names:
        text = " ".join("".join(formats.pieces(name, report)).split())
        assert ROUNDED in text, name
        assert "of the rounding of its kernels nothing is proved" in text, name


def test_exact_where_it_was_asked_for_is_said_too(project: Project) -> None:
    with simulated():
        report = package.check(project.model, project.spec, device="cuda", arithmetic="exact", forward="float64")
    assert "arithmetic: forward pass in float64 taken as exact" in report.notes
    assert any("of the rounding of its kernels nothing is proved" in line for line in report.notes)


def test_logits_of_a_device_are_neither_kept_nor_taken_from_what_is_kept(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.root / "s.sqlite"
    given = ("check", project.model, project.spec, "--store", path, "--batch-size", 1, "--resume")
    with simulated() as ran:
        for _ in range(2):
            ran.clear()
            assert "logits of 0 batches" in robspec(*given, "--device", "cuda").err
            assert len(ran) == 6  # four images, and one alone and in company
        assert not path.exists()
        assert robspec(*given, "--arithmetic", "exact").status == 0
        store = Store(path)
        kept = store.summary()
        store.close()
        ran.clear()
        assert "logits of 0 batches" in robspec(*given, "--device", "cuda").err
        assert len(ran) == 6
        store = Store(path)
        assert store.summary() == kept
        store.close()


def test_a_report_of_a_device_is_worse_than_one_about_the_reals(project: Project, robspec: Run) -> None:
    base = project.root / "base.json"
    given = ("check", project.model, project.spec, "--no-store", "--baseline", base)
    assert robspec(*given, "--update-baseline").status == 0
    with simulated():
        assert "worse: arithmetic: real before" in robspec(*given, "--device", "cuda").err


def test_several_data_sets_share_the_device(project: Project, robspec: Run) -> None:
    text = SPEC.format(claim="1.0001", properties=PROVED)
    block = 'data other {\n  images "images/*.png"\n  masks "masks/*.png"\n}\n'
    project.spec.write_text(text.replace("property far {", f"{block}property far {{\n  use other") + "use val\n")
    with simulated() as ran:
        report = package.check(project.model, project.spec, device="auto")
    assert report.device == "cuda:0"
    assert {place.type for place in ran} == {"cuda"}
    assert sum(line.startswith("device:") for line in report.notes) == 1


def test_too_little_memory_is_one_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    with simulated():
        monkeypatch.setattr("robspec.function.running.Runner.images_to_logits", full)
        with pytest.raises(DeviceUnavailable, match="too small: tried to allocate 3 GiB"):
            package.check(project.model, project.spec, device="cuda")


class Counting(torch.nn.Module):
    """Makes tensors of its own, on the device that the file names and on the one that it leaves open."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(8, dtype=torch.float32)[:, None] / 64
        s = (image - 0.5).sum(1, keepdim=True) * 6**-0.5 + rows + torch.ones(image.shape[0], 1, 1, 1)
        return torch.cat([-s, s.to("cpu")], 1)


def test_constants_follow_the_network(tmp_path: Path) -> None:
    path = export(Counting(), tmp_path / "counting.pt2")
    images = torch.rand(3, 3, 8, 8)
    expected = load(path).logits(images)
    with simulated():
        found = load(path, device="cuda:0").logits(images)
        assert isinstance(found, Far)
        assert torch.equal(found.cpu(), expected)
        # What names no device makes its result where the network runs.
        model, taken = load(path), 0
        for node in model.program.graph.nodes:
            taken += "device" in node.kwargs
            node.kwargs = {k: v for k, v in node.kwargs.items() if k != "device"}
        assert taken
        bare = replace(model, device=CUDA)
        assert torch.equal(bare.run_in(torch.float64).logits(images).cpu(), load(path).in_double().logits(images))


def test_the_simulated_device_mixes_nothing() -> None:
    with simulated():
        far = torch.rand(2, 3).to("cuda:0")
        for mistake in (lambda: far + torch.ones(2, 3), lambda: far.numpy(), lambda: far[torch.tensor([0])]):
            with pytest.raises((RuntimeError, TypeError)):
                mistake()
        assert far.cpu().numpy().shape == (2, 3)


class _Line:
    """A worker that tells which device it was to use, and ends."""

    started: set[tuple[int, str]]

    def __init__(self, setup: Setup) -> None:
        self.started.add((threading.get_ident(), setup.options["device"]))
        self.connection = self

    def send(self, _task: Task) -> None:
        time.sleep(0.02)
        raise BrokenPipeError

    def end(self) -> int:
        return -9


@pytest.mark.parametrize(("shared", "expected"), [("cuda", "001"), ("cuda:1", "111"), ("cpu", "uuu")])
def test_each_worker_has_the_next_device(
    shared: str, expected: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("robspec.session.crew._Worker", _Line)
    monkeypatch.setattr(_Line, "started", set(), raising=False)
    crew = Crew(3, Setup(project.model, "", {"device": shared}, 1))
    for answer in [crew.submit(Task(None, True), (name,)) for name in "abcdefghijkl"]:
        with pytest.raises(WorkerLost):
            answer.result()
    crew.close()
    # Twelve tasks, each three times: who is started again has the device that it had.
    assert "".join(sorted(name[-1] for _, name in _Line.started)) == expected
    assert [device.nth(shared, n)[-1] for n in range(4)] == list({"cuda": "0101"}.get(shared, expected + expected[0]))


def test_a_backend_for_where_logits_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.rand(1, 2, 2, 2)
    with simulated(interpreted=False):
        chosen = backends.choose("auto", "cuda")
        assert chosen.name == "cpu"
        assert not isinstance(backends.within_reach(chosen, logits.to("cuda:0")), Far)
        program = package.compile(SPEC.format(claim=1, properties=PROVED))
        batch = Batch(Arrays(("a",), np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 2, 2), np.int64)))
        context = seen.context(program, chosen, None, logits.to("cuda:0"), batch)
        assert not isinstance(context.logits, Far)
        assert not isinstance(context.labels, Far)
        with pytest.raises(BackendUnavailableError, match="left out"):
            backends.choose("triton", "cuda")
    if INTERPRETED:
        with simulated():
            chosen = backends.choose("auto", "cuda")
            assert chosen.name == "triton"
            assert isinstance(backends.within_reach(chosen, logits.to("cuda:0")), Far)


def test_what_is_annotated_goes_where_the_logits_are() -> None:
    with simulated():
        beside = (torch.zeros(1, 2, 2, dtype=torch.int64), None, torch.ones(1, 2, 2, dtype=torch.bool), None)
        context = Context(backends.choose("cpu"), torch.rand(1, 2, 2, 2).to("cuda:0"), *beside)
        assert isinstance(context.labels, Far)
        assert isinstance(context.region, Far)


def test_nothing_is_remembered_of_a_model_on_a_device(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    program, store = package.compile(project.spec), project.root / "s.sqlite"
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        answers = [checks._simple(program, Options(store=store, device=asked)) for asked in ("cpu", "auto", "cuda")]
    assert answers == [True, False, False]
