"""A check that was killed goes on where it stopped, and a change of eps needs no forward pass."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from robspec.models.loading import LoadedModel
from tests.cli.conftest import PROVED, Project, Run

JSON = ("--format", "json")
UNDECIDED = """
property single {
  metric pixel_accuracy
  norm l2
  budget 2
  require worst_case >= 0.9 for all images
}
property together {
  metric pooled mean_iou
  norm l2
  budget 2
  require worst_case >= 0.9
}
"""


def document(path: Path) -> dict[str, Any]:
    """A report without the seconds it took."""
    found: dict[str, Any] = json.loads(path.read_text())
    del found["seconds"]
    return found


def checked(robspec: Run, project: Project, name: str, *options: object) -> tuple[dict[str, Any], str]:
    path = project.root / name
    result = robspec("check", project.model, project.spec, "-q", "--output", f"json={path}", *options)
    assert result.status == 0, result.err
    return document(path), result.err


def test_a_changed_budget_needs_no_forward_pass(project: Project, robspec: Run) -> None:
    store = ("--store", project.root / "s.sqlite", "--batch-size", 1, "--resume")
    first, told = checked(robspec, project, "a.json", *store)
    assert "logits of 0 batches" in told
    again, told = checked(robspec, project, "b.json", *store)
    assert "logits of 4 batches" in told
    assert again == first
    project.write_spec(PROVED.replace("budget 0.1", "budget 0.2"))
    _, told = checked(robspec, project, "c.json", *store)
    assert "logits of 4 batches" in told
    plain, _ = checked(robspec, project, "d.json", "--no-store", "--batch-size", 1)
    kept, _ = checked(robspec, project, "e.json", *store)
    assert kept == plain
    _, told = checked(robspec, project, "f.json", *store, "--arithmetic", "exact")
    assert "logits of 0 batches" in told


def test_contradictions(project: Project, robspec: Run) -> None:
    assert robspec("check", project.model, project.spec, "--no-store", "--resume").status == 2


def test_a_store_that_cannot_be_used_is_said_and_changes_nothing(project: Project, robspec: Run) -> None:
    (project.root / "file").write_text("")
    report, _ = checked(robspec, project, "a.json", "--store", project.root / "file" / "s.sqlite")
    assert [r["code"] for r in report["remarks"]][-1] == "store-off"


@pytest.mark.parametrize("delay", [2.0, 4.0])
def test_killed_and_asked_again(project: Project, robspec: Run, delay: float) -> None:
    """Wherever it is killed, the next run ends with the same report as one that was left alone."""
    store = ("--store", str(project.root / "s.sqlite"), "--batch-size", "1")
    command = [sys.executable, "-m", "robspec", "check", str(project.model), str(project.spec), *store]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checked(robspec, project, "a.json", *store)[0] == checked(robspec, project, "b.json", "--no-store")[0]


def test_the_cache_is_listed_pruned_and_cleared(project: Project, robspec: Run) -> None:
    store = project.root / "s.sqlite"
    checked(robspec, project, "a.json", "--store", store, "--batch-size", 2)
    assert robspec("cache", "--store", store).out.startswith("logits: 3 batches, ")  # and one image by itself
    assert robspec("cache", "--store", store, "--prune", "1G").out.startswith("dropped 0 batches")
    for size in ("1g", "1 GiB", "1GB"):
        assert robspec("cache", "--store", store, "--prune", size).out.startswith("dropped 0 batches")
    assert robspec("cache", "--store", store, "--prune", "0").out.startswith("dropped 3 batches")
    assert robspec("cache", "--store", store).out == f"nothing is kept in {store}\n"
    assert robspec("cache", "--store", store, "--prune", "some").status == 2
    assert "--> robspec cache" in robspec("cache", "--prune").err
    assert robspec("cache", "--store", store, "--clear").out.startswith("removed ")
    assert not store.exists()
    assert f"there is no store at {store}" in robspec("cache", "--store", store).err
    assert robspec("cache", "--store", store, "--clear").status == 0
    assert robspec("cache").status == 0


def test_an_attack_that_was_stopped_goes_on_with_what_it_tried(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To the same report as one that was left alone, and without the gradients that were taken before."""
    project.write_spec(UNDECIDED)
    gradients, stop_at = 0, 16
    real = LoadedModel.differentiable

    def counted(self: LoadedModel, images: torch.Tensor) -> torch.Tensor:
        nonlocal gradients
        gradients += 1
        if gradients == stop_at:
            raise KeyboardInterrupt
        return real(self, images)

    monkeypatch.setattr(LoadedModel, "differentiable", counted)

    def attacked(*options: object) -> dict[str, Any]:
        nonlocal gradients
        gradients = 0
        path, witnesses = tmp_path / "report.json", ("--witness-dir", tmp_path / "w")
        robspec(
            "check", project.model, project.spec, "-q", "--attack", 10, "--output", path, *JSON, *witnesses, *options
        )
        return document(path)

    store = ("--store", tmp_path / "s.sqlite")
    assert not attacked(*store)["complete"]
    stop_at = 0
    again = attacked(*store)
    went_on = gradients
    alone = attacked("--no-store")
    assert again == alone
    assert went_on < gradients
    assert attacked(*store) == alone
    assert gradients == 2  # what a gradient takes is measured before anything else
    assert robspec("cache", "--store", tmp_path / "s.sqlite").out.startswith("attacks: 2 batches, ")
