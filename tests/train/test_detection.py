"""A detector from images and COCO's annotation to a certified model, interrupted or not."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data.objects import Objects
from robspec.errors import RobspecError
from robspec.models.errors import ModelDesign
from robspec.syntax import format_file, parse
from robspec.syntax.source import read_source
from robspec.train.augment import augment_objects
from robspec.train.config import Augment, read_config
from robspec.train.detection import specification
from robspec.train.errors import ConfigValue
from robspec.train.run import train
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec

from .conftest import Lines
from .test_run import Stop, Stopping, same

SIDE = 16
CONFIG = """
[run]
epochs = 2
batch = 4
seed = 3
threads = 1
checkpoint_steps = 1

[model]
architecture = "fcos"
channels = [8, 8]
depths = [0, 0]

[data]
input = [3, 16, 16]
classes = ["red", "blue"]
train_images = "train/*.png"
train_objects = "train.json"
val_images = "val/*.png"
val_objects = "val.json"

[loss]
kind = "tau-bce"
tau = 20
margin = 0.05

[optimizer]
rate = 1e-2

[augment]
flip = true
brightness = 0.1

[validation]
budgets = [0.05, 0.1]
metrics = ["recall", "mean_average_precision(0.5)"]
"""


def draw(folder: Path, part: str, count: int, seed: int) -> None:
    """Squares of two colours; the first image is empty."""
    rng = np.random.default_rng(seed)
    (folder / part).mkdir()
    images, objects = [], []
    for k in range(count):
        pixels = rng.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        if k:
            kind, (x, y) = int(rng.integers(2)), rng.integers(0, SIDE - 6, 2).tolist()
            pixels[y : y + 6, x : x + 6] = [(220, 20, 20), (20, 20, 220)][kind]
            entry = {"id": k, "image_id": k, "category_id": kind, "bbox": [x, y, 6, 6], "area": 36, "iscrowd": 0}
            objects.append(entry)
        Image.fromarray(pixels).save(folder / part / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": SIDE, "height": SIDE})
    names = [{"id": 0, "name": "red"}, {"id": 1, "name": "blue"}]
    whole = {"images": images, "annotations": objects, "categories": names}
    (folder / f"{part}.json").write_text(json.dumps(whole))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw(tmp_path, "train", 8, 0)
    draw(tmp_path, "val", 4, 1)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


class Trained(Lines):
    """A console that ends the run once its last step is saved."""

    def line(self, text: str) -> None:
        super().line(text)
        if text.startswith("epoch 2/2"):
            raise Stop


def test_a_run_and_one_that_was_stopped(data: Path, robspec: Run) -> None:
    """What it leaves behind, that it is proved again, and that an interruption changes no bit of it."""
    console = Lines()
    done = train(read_config(data / "config.toml"), data / "out", None, console)
    card = json.loads((data / "out" / "card.json").read_text())
    assert card == done.card
    assert card["lipschitz"]["status"] == "proved"
    assert 0.9 < card["lipschitz"]["bound"] <= 1.0001
    assert [entry["epoch"] for entry in card["training"]["history"]] == [1, 2]
    assert all(set(e["validation"]) == {"recall"} for e in card["training"]["history"])
    assert set(card["metrics"]) == {"recall", "mean_average_precision(0.5)"}
    for row in card["metrics"].values():
        assert 0 <= row["certified"]["0.1"] <= row["certified"]["0.05"] <= row["clean"] <= 1
    source = read_source(data / "out" / "model.rspec")
    assert format_file(parse(source).file) == source.text
    with pytest.raises(Stop):
        train(read_config(data / "config.toml"), data / "cut", None, Stopping(3))
    again = Trained()
    with pytest.raises(Stop):
        train(read_config(data / "config.toml"), data / "cut", None, again)
    assert again.said[0] == "going on from step 2 of 4"
    assert same(data / "out", data / "cut")
    assert [line for line in console.said if line.startswith("epoch")][1:] == again.said[1:]
    checked = robspec("check", str(data / "out" / "model.pt2"), str(source.name), "--data", str(data))
    assert checked.status == 0, checked.out + checked.err
    assert "frozen boxes" in checked.out


def test_the_specification_takes_floors_and_the_pipeline_from_the_configuration(data: Path) -> None:
    text = CONFIG.replace("[optimizer]", '[detector]\nthreshold = 0.3\nnms = 0.7\nboxes = "proved"\n\n[optimizer]')
    (data / "other.toml").write_text(text)
    config = read_config(data / "other.toml")
    metrics = list(config.validation.metrics)
    floors = {(metrics[0], Fraction(1, 20)): Fraction(1, 2), (metrics[1], Fraction(1, 20)): Fraction(1, 4)}
    written = specification(config, 20, metrics, floors, Fraction(1))
    for words in ("sigmoid 0.3", "greedy 0.7", "overlap 0.5", "proved", 'coco "val.json"', "[2, 20], boxes [4, 20]"):
        assert words in written
    assert "require  mean(worst_case) >= 0.5" in written
    assert "require  worst_case >= 0.25" in written
    assert written.count("property ") == 2


MISTAKES = [
    ('kind = "tau-bce"', 'kind = "tau-cce"', "choose focal, tau-bce, hkr"),
    ("depths = [0, 0]", "depths = [0, 0]\nrms_scaling = true", "leave them out"),
    ("depths = [0, 0]", "depths = [0, 0]\nsingle_logit = true", "leave them out"),
    ('classes = ["red", "blue"]', "classes = []", "each different"),
    ('val_objects = "val.json"', "", "give all four"),
    ('val_objects = "val.json"', 'val_objects = "val.json"\nval_masks = "m/*.png"', "give images and objects"),
    ('val_objects = "val.json"', 'val_objects = "val.json"\nignore = 3', "leave it out"),
    ("flip = true", "scale = [1.0, 2.0]", "boxes are flipped"),
    ('"fcos"', '"fcn"', 'choose architecture = "fcos"'),
    ("[optimizer]", "[detector]\nnms = 0\n[optimizer]", "`detector.nms` is 0"),
    ("[optimizer]", '[detector]\nboxes = "free"\n[optimizer]', "did you mean `frozen`?"),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES)
def test_what_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in CONFIG
    (tmp_path / "config.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigValue) as caught:
        read_config(tmp_path / "config.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("channels = [8, 8]", "channels = [6, 8]", ModelDesign),
        ("channels = [8, 8]", "channels = [8, 9]", ModelDesign),
        ("input = [3, 16, 16]", "input = [3, 20, 20]", ModelDesign),
        ('metrics = ["recall"', 'metrics = ["pixel_accuracy"', RobspecError),
        ("depths = [0, 0]", 'depths = [0, 0]\nactivation = "groupsort5"', ModelDesign),
    ],
)
def test_a_run_that_cannot_be_ends_before_it_starts(data: Path, old: str, new: str, kind: type[RobspecError]) -> None:
    (data / "config.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(kind):
        train(read_config(data / "config.toml"), data / "out", None, Lines())
    assert not (data / "out" / "model.pt2").exists()


def test_flips_move_boxes_with_the_pixels_they_hold() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[0, :, 1:3, 2:5] = 1
    flags = np.zeros(1, np.bool_)
    found = Objects(np.array([[2.0, 1, 5, 3]]), np.zeros(1, np.int64), flags, flags)
    ends = set()
    for seed in range(8):
        changed, (moved,) = augment_objects(image, (found,), Augment(flip=True), np.random.default_rng(seed))
        left, top, right, bottom = (int(v) for v in moved.boxes[0])
        assert bool((changed[0, :, top:bottom, left:right] == 1).all())
        assert int(changed.sum()) == 3 * (right - left) * (bottom - top)
        ends.add((left, right))
    assert ends == {(2, 5), (3, 6)}
    assert found.boxes.tolist() == [[2.0, 1, 5, 3]]
