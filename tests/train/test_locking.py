"""One run at a time in a folder: real processes, one of them killed outright."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robspec import extras
from robspec.data.errors import EmptyDataSet
from robspec.models.errors import UnwritableOutput
from robspec.train import locking
from robspec.train.checkpoint import NAME as CHECKPOINT
from robspec.train.config import read_config
from robspec.train.errors import FolderInUse, SceneGenerator
from robspec.train.locking import NAME, locked
from robspec.train.run import train

from .conftest import CONFIG, Lines

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LONG = CONFIG.replace("epochs = 2", "epochs = 5000").replace("[validation]", "[validation]\nevery = 5000")
PRIVATE = """
[run]
epochs = 5000
batch = 4
threads = 1
checkpoint_steps = 2
[model]
architecture = "patches"
channels = [4]
depths = [1]
[data]
input = [3, 16, 16]
classes = ["dark", "bright"]
train_images = "train/images/*.png"
train_masks = "train/masks/*.png"
val_images = "val/images/*.png"
val_masks = "val/masks/*.png"
[validation]
every = 5000
[privacy]
noise = 1000
norm_bound = 3
"""


def started(folder: Path, log: str) -> subprocess.Popen[bytes]:
    """A run that is in the middle of its training."""
    command = [sys.executable, "-m", "robspec", "train", "config.toml", "--out", "run"]
    quiet = subprocess.DEVNULL
    path, before = folder / "run" / log, 0
    if path.exists():  # of an earlier run
        before = path.stat().st_mtime_ns
    running = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=quiet, stderr=quiet)
    began = time.monotonic()
    while not path.exists() or path.stat().st_mtime_ns == before:
        assert running.poll() is None
        assert time.monotonic() - began < 120
        time.sleep(0.01)
    return running


def asked(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robspec", "train", "config.toml", "--out", "run", *options]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("private", [False, True], ids=["ordinary", "private"])
def test_a_second_process_is_refused_and_a_killed_one_locks_nothing(folder: Path, private: bool) -> None:
    if private and extras.missing("private"):
        pytest.skip("needs dp-accounting")
    (folder / "config.toml").write_text(PRIVATE if private else LONG)
    log = "privacy.json" if private else CHECKPOINT
    first = started(folder, log)
    try:
        for options in ((), ("--fresh",)):
            second = asked(folder, *options)
            assert second.returncode == 2
            assert "error[E0707]" in second.stderr
            assert "name another --out" in " ".join(second.stderr.split())
            assert "Traceback" not in second.stderr
            assert (folder / "run" / log).exists(), "--fresh took the files of a run that goes on"
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (folder / "run" / NAME).exists()
    if private:
        charged = json.loads((folder / "run" / "privacy.json").read_text())["charged"]
    again = started(folder, log)
    try:
        assert again.poll() is None
        assert asked(folder).returncode == 2, "the run that goes on holds the lock as the first did"
    finally:
        again.send_signal(signal.SIGKILL)
        again.wait()
    if private:
        assert json.loads((folder / "run" / "privacy.json").read_text())["charged"] >= charged > 0


def test_what_a_run_that_ended_leaves_is_no_lock(folder: Path) -> None:
    train(read_config(folder / "config.toml"), folder / "out", None, Lines())
    assert not (folder / "out" / NAME).exists()
    train(read_config(folder / "config.toml"), folder / "out", None, Lines())


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        with pytest.raises(FolderInUse), locked(tmp_path / "a"):
            pass
        (tmp_path / "link").symlink_to(tmp_path / "a")
        with pytest.raises(FolderInUse), locked(tmp_path / "link"):
            pass
    with locked(tmp_path / "a"):
        assert (tmp_path / "a" / NAME).exists()
    assert (tmp_path / "a").is_dir()


def test_locks_are_removed_and_never_held_twice(tmp_path: Path) -> None:
    """Threads that come and go: the file is removed each time, and each time made again."""
    inside, most, taken = [0], [0], [0]
    guard = threading.Lock()
    end = time.monotonic() + 1.5

    def work() -> None:
        while time.monotonic() < end:
            try:
                with locked(tmp_path / "run"):
                    with guard:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                        taken[0] += 1
                    time.sleep(0)
                    with guard:
                        inside[0] -= 1
            except (FolderInUse, UnwritableOutput):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most[0] == 1
    assert taken[0] > 10


def test_a_run_that_fails_leaves_nothing(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("train/images", "nothing"))
    with pytest.raises(EmptyDataSet):
        train(read_config(folder / "config.toml"), folder / "deep" / "out", None, Lines())
    assert not (folder / "deep").exists()
    (folder / "mine").mkdir()
    with pytest.raises(EmptyDataSet):
        train(read_config(folder / "config.toml"), folder / "mine", None, Lines())
    assert list((folder / "mine").iterdir()) == []


def test_a_part_of_a_drawn_set_is_removed(folder: Path) -> None:
    masks = 'train_images = "train/images/*.png"\ntrain_masks = "train/masks/*.png"'
    (folder / "drawn.toml").write_text(CONFIG.replace(masks, "train_scenes = 5"))

    def scene(seed: int, size: int):  # type: ignore[no-untyped-def]
        import numpy as np

        if seed == 1_000_003:
            raise ValueError("no scene")
        return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)

    with pytest.raises(SceneGenerator, match="no scene"):
        train(read_config(folder / "drawn.toml"), folder / "out", scene, Lines())
    assert not (folder / "out").exists()


def test_a_lock_that_cannot_be_opened_or_had_is_not_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another user's run that was killed, or on a file system without locks."""
    (tmp_path / "run" / NAME).mkdir(parents=True)
    with pytest.raises(UnwritableOutput, match="cannot be used"), locked(tmp_path / "run"):
        pass

    def unsupported(_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking, "_lock", unsupported)
    with pytest.raises(UnwritableOutput, match="not supported"), locked(tmp_path / "other"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableOutput, match="cannot be used"), locked(tmp_path / "file" / "run"):
        pass
