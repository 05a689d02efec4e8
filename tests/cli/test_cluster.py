"""Actors of a Ray cluster run the model; nobody can tell from what is found, not even when one is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ray", reason="Ray is an extra of its own, `cluster`")

from robspec.data.unread import Unread
from robspec.models.loading import load
from robspec.session.answer import Answer
from robspec.session.cluster import Cluster, installed
from robspec.session.crew import threads
from robspec.session.worker import Setup, Task
from robspec.verify.errors import DeviceUnavailable, NoCluster, OptionValueError, WorkerLost
from tests.cli.conftest import PROVED, Project, Run
from tests.cli.test_bounds_elsewhere import document
from tests.cli.test_read_elsewhere import asked
from tests.cli.test_store import checked
from tests.cli.test_workers import EVERYTHING


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster for all tests of this file: starting one takes longer than they do."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.getcwd())
        ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def test_the_same_document_though_an_actor_is_killed(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_spec(EVERYTHING)
    rest = ("--no-store", "--batch-size", 1, "--allow", "unknown")
    alone, _ = checked(robspec, project, "alone.json", *rest)
    submit, killed = Cluster.submit, list[int]()

    def killing(self: Cluster, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        if not killed:
            killed.append(self.processes()[0])
            coming = submit(self, task, names)
            os.kill(killed[0], signal.SIGKILL)
            return coming
        return submit(self, task, names)

    monkeypatch.setattr(Cluster, "submit", killing)
    found, _ = checked(robspec, project, "two.json", *rest, "--ray", "auto", "--workers", 2)
    assert len(killed) == 1
    assert found == alone


def test_what_lay_here_is_certified_though_other_files_lie_there_when_actors_compute(
    tmp_path: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = asked(tmp_path)
    given = ("check", model, spec, "-q", "--no-store", "--batch-size", 1, "--allow", "unknown")
    hold, held = Unread.hold, list[str]()

    def replacing(self: Unread) -> None:
        hold(self)
        for name, path in self._part.paths.items():
            held.append(name)
            path.write_bytes((tmp_path / Path(name).parent / f"im0{path.suffix}").read_bytes())

    monkeypatch.setattr(Unread, "hold", replacing)
    reports = []
    for name, more in (("alone", ()), ("far", ("--ray", "auto", "--workers", 2))):
        path = tmp_path / f"{name}.json"
        result = robspec(*given, "--output", f"json={path}", *more)
        assert result.status in (0, 1), result.err
        reports.append(document(path))
    assert reports[0] == reports[1]
    assert len(held) == 16
    # What is asked now is another question.
    assert robspec(*given, "--output", f"json={path}").status in (0, 1)
    assert document(path) != reports[0]


def test_an_actor_with_other_versions_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robspec.session.cluster.installed", lambda: {**installed(), "pil": "0.1"})
    crew = Cluster("auto", 1, Setup(project.model, "", {"input_shape": (3, 8, 8)}, threads()))
    with pytest.raises(WorkerLost, match=r"other versions than this one: pil .* for 0\.1"):
        crew.submit(Task(np.zeros((1, 3, 8, 8), np.float32), True), ("im0.png",)).result()
    crew.close()


def test_ray_leaves_signals_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def disturbing(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ConnectionError("none")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", disturbing)
    with pytest.raises(NoCluster):
        Cluster("auto", 1, Setup(project.model, "", {}, threads()))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_cluster_that_has_ended_is_not_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    asked: list[str] = []

    def init(address: str, **_: object) -> None:
        asked.append(address)
        raise RuntimeError("enough")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    # A process of it is still there.
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", lambda: frozenset({"127.0.0.1:9"}))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    began = time.monotonic()
    with pytest.raises(NoCluster):
        Cluster("auto", 1, Setup(project.model, "", {}, threads()))
    assert asked == ["local"]
    assert time.monotonic() - began < 30


def test_more_actors_than_there_are_processors(project: Project) -> None:
    with pytest.raises(OptionValueError, match="2 at most"):
        Cluster("auto", 3, Setup(project.model, "", {}, 1))


@pytest.fixture
def far(project: Project) -> Setup:
    """A model to be loaded on GPUs; the cluster is told that there are two, and there is none."""
    return Setup(project.model, load(project.model).sha256, {"device": "cuda"}, threads())


def test_each_actor_has_a_gpu_of_its_own(far: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Seeing:
        """Holds nothing, and tells what Ray shows it; as it is local, actors are sent it whole."""

        def __init__(self, setup: Setup, blob: bytes, wanted: dict[str, str]) -> None:
            pass

        def lacks(self) -> str:
            return ""

        def shown(self) -> str | None:
            return os.environ.get("CUDA_VISIBLE_DEVICES")

    monkeypatch.setattr("robspec.session.cluster.Holder", Seeing)
    crew = Cluster("auto", None, far)
    assert crew.count == 2
    assert sorted(ray.get([actor.shown.remote() for actor in crew._actors])) == ["0", "1"]
    crew.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_actors_without_the_gpu_that_they_are_given_are_one_error(far: Setup, project: Project, robspec: Run) -> None:
    with pytest.raises(DeviceUnavailable, match="2 of 2 actors cannot use the GPU") as refusal:
        Cluster("auto", None, far)
    assert "built without CUDA, on " in refusal.value.what
    # The first process needs one as well, and says so first.
    found = robspec("check", project.model, project.spec, "--ray", "auto", "--device", "cuda")
    assert (found.status, "error[E0408]" in found.err, "actors" in found.err) == (2, True, False)


def test_more_actors_than_there_are_gpus(far: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    with pytest.raises(OptionValueError, match=r"3 actors of 1 GPUs each .* has 2 GPUs") as refusal:
        Cluster("auto", 3, far)
    assert refusal.value.mend == "ask for 2 at most, or say --device cpu"
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(OptionValueError, match="has 0 GPUs") as refusal:
        Cluster("auto", None, far)
    assert refusal.value.mend == "say --device cpu"
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0, "GPU": 2.0})
    with pytest.raises(OptionValueError, match="has 1 CPUs"):
        Cluster("auto", 2, far)


def test_an_actor_that_cannot_load_the_model_is_named(project: Project) -> None:
    crew = Cluster("auto", 1, Setup(project.model, "0" * 64, {"input_shape": (3, 8, 8)}, threads()))
    with pytest.raises(WorkerLost, match="im0"):
        crew.submit(Task(np.zeros((1, 3, 8, 8), np.float32), True), ("im0.png",)).result()
    crew.close()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere"])
def test_no_cluster_at_an_address(address: str, project: Project, robspec: Run) -> None:
    import ray

    ray.shutdown()
    project.write_spec(PROVED)
    found = robspec("check", project.model, project.spec, "--ray", address, "--workers", 1)
    assert found.status == 2
    assert NoCluster.code in found.err
