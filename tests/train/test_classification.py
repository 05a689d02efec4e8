"""Classifiers: labels by folder or from a table, trained with noise or without, and what a check says of them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec import api, extras
from robspec.data.errors import LabelOutOfRange, MissingMask
from robspec.models.errors import ModelDesign
from robspec.models.lipnets.patches import LipPatchClassifier, as_matrix
from robspec.privacy.accountant import epsilon
from robspec.train.building import build, check_design
from robspec.train.config import Config, read_config
from robspec.train.errors import ConfigValue
from robspec.train.loop import Trainer
from robspec.train.run import train
from robspec.train.samples import Samples, open_part
from robspec.verify.result import Verdict
from tests.train.conftest import Lines

CLASSES = ("left", "right", "top")
TEXT = """
[run]
epochs = 8
batch = 12
threads = 1
[model]
architecture = "patches"
channels = [4]
depths = [1]
mean = [0.5]
std = [0.5]
[data]
input = [1, 4, 6]
classes = ["left", "right", "top"]
train_images = "train/*/*.png"
train_labels = "by folder"
val_images = "val/*/*.png"
val_labels = "by folder"
[loss]
tau = 4
[optimizer]
rate = 5e-2
[validation]
budgets = [0.1, 0.5]
every = 4
"""
PRIVATE = "[privacy]\nepsilon = 20\ndelta = 1e-2\nnorm_bound = 4\n"

installed = pytest.mark.skipif(bool(extras.missing("private")), reason="dp-accounting is not installed")


def draw(folder: Path, count: int, seed: int) -> None:
    """Images whose left, right or upper half is bright."""
    rng = np.random.default_rng(seed)
    bright = {"left": np.s_[:, :3], "right": np.s_[:, 3:], "top": np.s_[:2]}
    for name, part in bright.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            image = rng.integers(0, 60, (4, 6))
            image[part] += 180
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{k}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw(tmp_path / "train", 16, 0)
    draw(tmp_path / "val", 4, 1)
    return tmp_path


def config(folder: Path, text: str = TEXT) -> Config:
    (folder / "classes.toml").write_text(text)
    return read_config(folder / "classes.toml")


def test_every_layer_is_one_orthogonal_matrix(tmp_path: Path) -> None:
    for text in (TEXT, TEXT.replace("channels = [4]\ndepths = [1]\n", "")):
        torch.manual_seed(0)
        network = build(config(tmp_path, text))
        assert isinstance(network, LipPatchClassifier)
        for layer in network.matrices():
            matrix = as_matrix(layer).double()
            small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
            assert torch.allclose(small, torch.eye(len(small)).double(), atol=1e-5)
        images = torch.rand(5, 1, 4, 6)
        assert network.eval()(images).shape == (5, 3)
        slopes = torch.autograd.functional.jacobian(network, images[:1])
        assert isinstance(slopes, torch.Tensor)
        assert torch.linalg.matrix_norm(slopes.reshape(3, 24), 2) <= 2 * 1.00001


def test_labels_are_read_from_folders_and_from_a_table_alike(data: Path) -> None:
    found = config(data)
    by_folder = Samples(open_part(found, "train", data, None, lambda _: None))
    rows = [f"train/{name}/{k}.png,{name}" for name in CLASSES for k in range(16)]
    (data / "labels.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    table = config(data, TEXT.replace('train_labels = "by folder"', 'train_labels = "labels.csv"'))
    by_table = Samples(open_part(table, "train", data, None, lambda _: None))
    every = list(range(48))
    images, labels = by_folder.take(every)
    assert labels.shape == (48, 1, 1)
    assert labels.flatten().tolist() == [0] * 16 + [1] * 16 + [2] * 16
    again = by_table.take(every)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])


def test_labels_that_are_missing_or_of_no_class(data: Path) -> None:
    def opened(text: str) -> None:
        open_part(config(data, text), "train", data, None, lambda _: None)

    (data / "labels.csv").write_text("image,label\ntrain/left/0.png,left\n")
    with pytest.raises(MissingMask, match=r"47 of 48 images have no row in labels\.csv"):
        opened(TEXT.replace('train_labels = "by folder"', 'train_labels = "labels.csv"'))
    with pytest.raises(LabelOutOfRange, match="'top'"):
        opened(TEXT.replace('"top"', '"bottom"'))


def test_an_ordinary_run_stays_as_it_is_designed(data: Path) -> None:
    """Weights are plain: without being brought back they would leave the constant that is certified with."""
    console = Lines()
    found = config(data, TEXT.replace("[optimizer]", "[augment]\nflip = false\nbrightness = 0.1\n[optimizer]"))
    done = train(found, data / "run", None, console)
    report = api.check(done.folder / "model.pt2", done.folder / "model.rspec", data=data)
    assert report.proved
    assert report.privacy is None
    assert done.card["lipschitz"]["bound"] == pytest.approx(2.0, rel=1e-4)
    assert done.card["metrics"]["accuracy"]["certified"]["0.1"] >= 0.75
    last = done.card["training"]["history"][-1]["validation"]["accuracy"]
    assert last["certified"] == done.card["metrics"]["accuracy"]["certified"]
    assert "privacy" not in done.card


def test_segmenters_of_plain_weights_stay_as_they_are_designed(tmp_path: Path) -> None:
    text = TEXT.replace('train_labels = "by folder"', 'train_masks = "m/*.png"')
    text = text.replace('val_labels = "by folder"', 'val_masks = "m/*.png"')
    found = config(tmp_path, text)

    class Drawn:
        def __len__(self) -> int:
            return 12

        def take(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            images = torch.rand(len(indices), 1, 4, 6)
            return images, (images[:, 0] > 0.5).long()

    trainer = Trainer(found, Drawn(), tmp_path, {}, lambda network, epoch: {})  # type: ignore[arg-type]
    trainer.run(lambda _: None, lambda _: None)
    for layer in trainer.network.matrices():  # type: ignore[operator]
        assert torch.linalg.matrix_norm(as_matrix(layer).double(), 2) <= 1.00001


@installed
def test_private_and_robust_in_one_report(data: Path) -> None:
    console = Lines()
    found = config(data, TEXT + PRIVATE)
    done = train(found, data / "run", None, console)
    report = api.check(done.folder / "model.pt2", done.folder / "model.rspec", data=data)
    assert report.proved
    accuracy = report.properties[0].requirements[0]
    assert accuracy.certified is not None
    assert accuracy.certified >= Fraction(1, 2)
    assert report.privacy is not None
    assert report.privacy.verdict is Verdict.PROVED
    told = done.card["privacy"]
    assert told["unit"] == "one image with its label"
    assert told["epsilon"] <= 20
    assert told["epsilon"] == pytest.approx(epsilon(told["noise_multiplier"], 0.25, 32, 1e-2), rel=1e-6)
    assert [row["parameter"] for row in told["layers"]] == ["body.0.weight", "body.2.weight", "body.4.weight"]
    assert "seconds" not in done.card["training"]
    assert "trained_on" not in done.card["data"]
    card = data / "run" / "card.json"
    changed = json.loads(card.read_text())
    changed["privacy"]["layers"][0]["noise"] /= 2
    card.write_text(json.dumps(changed))
    with pytest.raises(Exception, match="by the model's graph its noise is a multiplier of"):
        api.check(done.folder / "model.pt2", done.folder / "model.rspec", data=data)


@installed
def test_a_run_that_was_stopped_goes_on_and_is_charged_once(data: Path) -> None:
    found = config(data, TEXT.replace("threads = 1", "threads = 1\ncheckpoint_steps = 1") + PRIVATE)
    samples = Samples(open_part(found, "train", data, None, lambda _: None))

    def trainer() -> Trainer:
        return Trainer(found, samples, data, {"run": "one"}, lambda network, epoch: {})

    first, asked = trainer(), iter([False, False, True, True])
    assert first.steps == 32
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda _: None, lambda _: None, lambda: next(asked))
    second = trainer()
    assert second.progress.step == first.progress.step
    second.run(lambda _: None, lambda _: None)
    assert second.private is not None
    assert second.private.ledger.charged == 32


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"patches"', '"fcn"', "model.architecture"),
        ("tau = 4", 'kind = "focal"', "loss.kind"),
        ("[validation]", "[augment]\ncrop = [4, 4]\n[validation]", "augment.crop"),
        ('val_labels = "by folder"', 'val_masks = "m/*.png"', "masks"),
        ('val_labels = "by folder"\n', "", "val_labels"),
        ('["left", "right", "top"]', '["left", "left", "top"]', "different names"),
        ('val_labels = "by folder"', 'val_labels = "by folder"\nval_scenes = 3', "scenes"),
    ],
)
def test_what_does_not_fit_a_label_for_each_image(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigValue, match=said):
        config(tmp_path, TEXT.replace(old, new))


def test_sides_that_the_stages_do_not_divide(tmp_path: Path) -> None:
    with pytest.raises(ModelDesign, match="multiples of 2"):
        check_design(config(tmp_path, TEXT.replace("[1, 4, 6]", "[1, 4, 5]")))


@installed
def test_a_private_card_names_no_training_image(data: Path) -> None:
    """An image that lies on its side is told of by name, but for those that nobody is to know of."""
    for part in ("train", "val"):
        exif = Image.Exif()
        exif[0x0112] = 3
        with Image.open(data / part / "left" / "0.png") as image:
            image.save(data / part / "left" / "turned.png", exif=exif)
    text = TEXT.replace("epochs = 8", "epochs = 1").replace("threads = 1", "threads = 1\nseed = 1")
    console = Lines()
    done = train(config(data, text + PRIVATE), data / "run", None, console)
    card = (data / "run" / "card.json").read_text()
    assert "val/left/turned.png" in card
    assert "train/left/turned.png" not in card
    assert any("train/left/turned.png" in line for line in console.said)
    assert any(line.startswith("private: 49 images, of which each step draws about 12") for line in console.said)
    assert any("steps left, noise" in line for line in console.said)
    ordinary = train(config(data, text), data / "plain", None, Lines())
    assert any("train/left/turned.png" in line for line in ordinary.card["remarks"])
    assert done.card["remarks"]
