"""A run from images to a certified model: the same bits every time, interrupted or not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from robspec import stopping
from robspec.data.errors import EmptyDataSet
from robspec.models.loading import load
from robspec.syntax import format_file, parse
from robspec.syntax.source import read_source
from robspec.train.checkpoint import NAME
from robspec.train.config import read_config
from robspec.train.errors import CheckpointMismatch, SceneGenerator, TrainingDiverged
from robspec.train.run import train

from .conftest import CONFIG, Lines

STEPS = 6
FOLDERS = 'train_images = "train/images/*.png"\ntrain_masks = "train/masks/*.png"'


def tensors(path: Path) -> dict[str, torch.Tensor]:
    found = torch.load(path / NAME, weights_only=True)
    moments = {f"{k}.{n}": v for k, s in found["optimizer"]["state"].items() for n, v in s.items()}
    return {**found["network"], **moments}


def same(first: Path, second: Path) -> bool:
    a, b = tensors(first), tensors(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def whole(folder: Path) -> Path:
    """An uninterrupted run."""
    train(read_config(folder / "config.toml"), folder / "whole", None, Lines())
    return folder / "whole"


class Stop(Exception):
    """Raised in the middle of a run."""


class Signalled(Lines):
    """A console at which SIGTERM comes in the middle of training."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        with super().bar(title, total) as told:

            def signalled(done: int) -> None:
                told(done)
                if title == "training" and self.bars[title][0] == self.after and done:
                    signal.raise_signal(signal.SIGTERM)

            yield signalled


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_signal_lets_the_step_end_and_is_gone_on_from(folder: Path, whole: Path, after: int) -> None:
    """No checkpoint is due for long, and the third step ends an epoch: its validation is finished first."""
    text = (folder / "config.toml").read_text().replace("checkpoint_steps = 1", "checkpoint_steps = 100")
    (folder / "rare.toml").write_text(text)
    config = read_config(folder / "rare.toml")
    console = Signalled(after)

    def stopped() -> None:
        with stopping.as_interrupt():
            train(config, folder / "stopped", None, console)

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert console.said[-1] == f"stopped at step {after} of {STEPS}: the same command goes on"
    again = Lines()
    train(config, folder / "stopped", None, again)
    assert again.said[0] == f"going on from step {after} of {STEPS}"
    assert same(folder / "stopped", whole)


class Stopping(Lines):
    """A console that ends the run after some steps."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def line(self, text: str) -> None:
        super().line(text)

    def bar(self, title: str, total: int):  # type: ignore[no-untyped-def]
        @contextmanager
        def opened():  # type: ignore[no-untyped-def]
            done = 0

            def told(n: int) -> None:
                nonlocal done
                done += n
                if title == "training" and done == self.after:
                    raise Stop

            yield told

        return opened()


def test_a_network_that_ends_in_an_interpolation_is_certified_by_its_cells(folder: Path) -> None:
    text = CONFIG.replace(
        "channels = [12]\ndepths = [1]", 'channels = [12, 12]\ndepths = [1, 1]\ntail = "bilinear 4"'
    )
    (folder / "tail.toml").write_text(text)
    console = Lines()
    card = train(read_config(folder / "tail.toml"), folder / "tail", None, console).card
    assert 3.9 < card["lipschitz"]["bound"] <= 4.0004
    assert any("bilinear x4, 4 x 4 to 16 x 16, 9 cells; L = " in note for note in card["notes"])
    assert any("cells of coarse logits certify more" in remark for remark in card["remarks"])
    assert console.said[-1].endswith(" --coarse")


def test_what_a_run_leaves_behind(folder: Path) -> None:
    console = Lines()
    done = train(read_config(folder / "config.toml"), folder / "out", None, console)
    card = json.loads((folder / "out" / "card.json").read_text())
    assert card == done.card
    model = load(folder / "out" / "model.pt2")
    assert card["model"]["sha256"] == model.sha256
    assert (model.input_shape, model.output_shape) == ((3, 16, 16), (2, 16, 16))
    assert card["lipschitz"]["status"] == "proved"
    assert 0.99 < card["lipschitz"]["bound"] <= 1.0001
    accuracy = card["metrics"]["pixel_accuracy"]
    assert 0.5 < accuracy["certified"]["0.1"] <= accuracy["certified"]["0.05"] <= accuracy["clean"] <= 1
    assert [e["epoch"] for e in card["training"]["history"]] == [1, 2]
    assert all(e["validation"]["pixel_accuracy"]["clean"] > 0 for e in card["training"]["history"])
    assert card["configuration"]["sha256"] == hashlib.sha256(CONFIG.encode()).hexdigest()
    assert console.bars["training"] == (STEPS, STEPS)
    assert sorted(card["data"]["trained_on"]["images"]) == sorted(f"train/images/{k}.png" for k in range(10))
    assert card["remarks"] == []
    assert [line.split(":")[0] for line in console.said[:2]] == ["epoch 1/2", "epoch 2/2"]


def test_the_specification_it_writes_is_formatted(whole: Path) -> None:
    source = read_source(whole / "model.rspec")
    assert format_file(parse(source).file) == source.text


def test_a_glob_that_matches_nothing_is_mended_in_the_configuration(folder: Path) -> None:
    (folder / "empty.toml").write_text(CONFIG.replace("val/images", "nothing"))
    with pytest.raises(EmptyDataSet) as caught:
        train(read_config(folder / "empty.toml"), folder / "out", None, Lines())
    assert "`val_images`" in caught.value.mend
    assert "--data" not in caught.value.mend


def test_the_specification_it_writes_is_proved_by_the_check(folder: Path, whole: Path) -> None:
    command = [sys.executable, "-m", "robspec", "check", "whole/model.pt2", "whole/model.rspec", "--data", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNKNOWN" not in done.stdout


def test_the_same_seed_gives_the_same_bits(folder: Path, whole: Path) -> None:
    train(read_config(folder / "config.toml"), folder / "again", None, Lines())
    assert same(whole, folder / "again")
    (folder / "other.toml").write_text(CONFIG.replace("seed = 3", "seed = 4"))
    train(read_config(folder / "other.toml"), folder / "other", None, Lines())
    assert not same(whole, folder / "other")


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_run_stopped_after_any_step_ends_the_same(folder: Path, whole: Path, step: int) -> None:
    config = read_config(folder / "config.toml")
    with pytest.raises(Stop):
        train(config, folder / "cut", None, Stopping(step))
    console = Lines()
    resumed = train(config, folder / "cut", None, console)
    # The bar is told before the checkpoint is written, so the step told last is done again.
    assert console.said[0].startswith("going on from step") == (step > 1)
    assert same(whole, folder / "cut")
    card = json.loads((whole / "card.json").read_text())
    assert [e["loss"] for e in resumed.card["training"]["history"]] == [
        e["loss"] for e in card["training"]["history"]
    ]
    assert resumed.card["metrics"] == card["metrics"]


def test_a_run_killed_outright_ends_the_same(folder: Path) -> None:
    text = CONFIG.replace("epochs = 2", "epochs = 12").replace("[validation]", "[validation]\nevery = 1000")
    (folder / "config.toml").write_text(text)
    command = [sys.executable, "-m", "robspec", "train", "config.toml", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    victim = subprocess.Popen(
        [*command, "killed"], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        started = time.monotonic()
        while not (folder / "killed" / NAME).exists() and time.monotonic() - started < 120:
            time.sleep(0.005)
        time.sleep(0.3)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    step = json.loads(torch.load(folder / "killed" / NAME, weights_only=True)["text"])["step"]
    assert 0 < step < 12 * 3, "it was over before it was killed"
    for name in ("killed", "left_alone"):
        done = subprocess.run(
            [*command, name], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert same(folder / "killed", folder / "left_alone")


def test_a_finished_run_is_not_trained_again(folder: Path, whole: Path) -> None:
    before = tensors(whole)
    console = Lines()
    train(read_config(folder / "config.toml"), whole, None, console)
    assert not any(line.startswith("epoch") for line in console.said)
    assert all(torch.equal(before[k], v) for k, v in tensors(whole).items())


def test_a_checkpoint_of_another_run_is_refused(folder: Path, whole: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("rate = 1e-2", "rate = 2e-2"))
    with pytest.raises(CheckpointMismatch, match="configuration"):
        train(read_config(folder / "config.toml"), whole, None, Lines())
    train(read_config(folder / "config.toml"), whole, None, Lines(), fresh=True)
    (folder / "train" / "images" / "0.png").write_bytes((folder / "train" / "images" / "1.png").read_bytes())
    with pytest.raises(CheckpointMismatch, match="training data"):
        train(read_config(folder / "config.toml"), whole, None, Lines())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04cos\nsystem\n(S'touch ran'\ntR."])
def test_a_damaged_checkpoint_is_refused_and_never_run(folder: Path, content: bytes) -> None:
    (folder / "out").mkdir()
    (folder / "out" / NAME).write_bytes(content)
    with pytest.raises(CheckpointMismatch, match="E0704"):
        train(read_config(folder / "config.toml"), folder / "out", None, Lines())


def test_the_unconstrained_twin_is_proved_too_but_vacuously(folder: Path) -> None:
    (folder / "twin.toml").write_text(CONFIG.replace("depths = [1]", "depths = [1]\nlipschitz = false"))
    done = train(read_config(folder / "twin.toml"), folder / "twin", None, Lines())
    assert done.card["model"]["design_lipschitz"] is None
    assert done.card["lipschitz"]["bound"] > 1.5
    assert all("validation" not in e for e in done.card["training"]["history"])


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robspec.train import loop

    plain = loop.loss
    calls: list[int] = []

    def failing(*given: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*given) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(loop, "loss", failing)
    with pytest.raises(TrainingDiverged, match="step 2"):
        train(read_config(folder / "config.toml"), folder / "wild", None, Lines())
    assert not (folder / "wild" / "model.pt2").exists()


def test_scenes_need_a_function_named_on_the_command_line(folder: Path) -> None:
    text = CONFIG.replace(
        'train_images = "train/images/*.png"\ntrain_masks = "train/masks/*.png"', "train_scenes = 5"
    )
    (folder / "drawn.toml").write_text(text)
    with pytest.raises(SceneGenerator, match="--generator"):
        train(read_config(folder / "drawn.toml"), folder / "out", None, Lines())


def test_drawn_scenes(folder: Path) -> None:
    (folder / "drawing.py").write_text(
        "import numpy as np\n"
        "def scene(seed, size):\n"
        "    mask = np.zeros((size, size), np.uint8)\n"
        "    mask[:, : 4 + seed % 8] = 1\n"
        "    return np.repeat(200 * mask[..., None], 3, axis=2), mask\n"
    )
    text = CONFIG.replace(
        'train_images = "train/images/*.png"\ntrain_masks = "train/masks/*.png"', "train_scenes = 5"
    )
    (folder / "drawn.toml").write_text(text)
    command = [sys.executable, "-m", "robspec", "train", "drawn.toml", "--out", "out", "--generator", "drawing:scene"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "out" / "scenes" / "train" / "images").glob("*.png"))) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("threads = 1", 'threads = 1\nprecision = "bfloat16"'),
        ("tau = 10", 'kind = "hkr"'),
        ("tau = 10", 'kind = "cosine"'),
        ("depths = [1]", "depths = [1]\nsingle_logit = true"),
        ('"fcn"\nchannels = [12]\ndepths = [1]', '"unet"\nchannels = [8, 16]\ndepths = [1, 1]\nrms_scaling = true'),
        ('"fcn"\nchannels = [12]\ndepths = [1]', '"deeplabv3"\nchannels = [8]\ndepths = [2]'),
    ],
    ids=["bfloat16", "hkr", "cosine", "one logit", "unet with gains", "deeplabv3"],
)
def test_every_choice_ends_in_a_proof(folder: Path, old: str, new: str) -> None:
    assert old in CONFIG
    (folder / "other.toml").write_text(CONFIG.replace(old, new))
    card = train(read_config(folder / "other.toml"), folder / "other", None, Lines()).card
    assert card["lipschitz"]["bound"] <= 1.0001
    assert card["metrics"]["pixel_accuracy"]["clean"] > 0.3


def test_images_that_are_validated_and_trained_on_are_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what they hold: a renamed copy is the same image."""
    from robspec import cli

    (folder / "val" / "images" / "2.png").write_bytes((folder / "train" / "images" / "7.png").read_bytes())
    console = Lines()
    card = train(read_config(folder / "config.toml"), folder / "out", None, console).card
    assert console.said[0] == "note: data val: 1 of 4 images are trained on: val/images/2.png"
    assert card["remarks"][0] == console.said[0]
    asked = ["check", str(folder / "out" / "model.pt2"), str(folder / "out" / "model.rspec"), "--data", str(folder)]
    monkeypatch.setattr(sys, "argv", ["robspec", *asked])
    with pytest.raises(SystemExit):
        cli.main()
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 4 images were trained on, says card.json: val/images/2.png" in said
