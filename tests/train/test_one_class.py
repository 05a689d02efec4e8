"""Learning from one class: the loss and its points by hand, a whole run, and what is refused."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robspec
from robspec.kernels.scores import Shifts, backends
from robspec.train.config import Objective, read_config
from robspec.train.errors import ConfigValue
from robspec.train.one_class import complement, one_class_loss
from robspec.train.run import train
from robspec.train.score_spec import common
from robspec.train.scoring import open_scores

from .conftest import Lines
from .test_run import Stop, Stopping, same

F = Fraction
CONFIG = """
[run]
epochs = 2
batch = 8
threads = 1
checkpoint_steps = 1

[model]
architecture = "mlp"
channels = [16]
depths = [1]
mean = [0.5]
std = [0.5]

[data]
input = [1, 4, 4]
train_images = "train/*.png"
val_images = "val/own/*.png"
val_anomalous = "val/odd/*.png"

[loss]
kind = "one_class_hkr"
alpha = 0.9
newton_steps = 2

[optimizer]
rate = 1e-2

[validation]
budgets = [0, 0.05]
"""


class Ball(nn.Module):
    """The signed distance to a ball around a centre, steeper by a factor, and an unused weight."""

    def __init__(self, radius: float, steep: float = 1.0) -> None:
        super().__init__()
        self.radius, self.steep = radius, steep
        self.modes: list[bool] = []

    def forward(self, points: Tensor) -> Tensor:
        self.modes.append(self.training)
        distance = (points - 0.5).flatten(1).norm(dim=1, keepdim=True) - self.radius
        return distance * self.steep


@pytest.mark.parametrize("steep", [1.0, 3.0, 0.1])
def test_points_lie_between_where_they_began_and_the_level_set(steep: float) -> None:
    shape, level = (200, 2, 3, 1), 0.2
    started = np.random.default_rng(5).random(shape, dtype=np.float32)
    found = complement(Ball(0.1, steep), shape, level * steep, 1, np.random.default_rng(5))
    share = np.random.default_rng(5)
    share.random(shape, dtype=np.float32)
    part = share.random(200, dtype=np.float32)
    offset = started.reshape(200, -1) - 0.5
    distance = np.linalg.norm(offset, axis=1)
    # The level set is the sphere of radius 0.3: each point moves its share of the way, along the ray.
    wanted = distance + part * (0.3 - distance)
    assert not found.requires_grad
    np.testing.assert_allclose(
        (found.numpy().reshape(200, -1) - 0.5), offset * (wanted / distance)[:, None], atol=2e-6
    )
    after = complement(Ball(0.1, steep), shape, level * steep, 12, np.random.default_rng(5))
    reached = (after - 0.5).flatten(1).norm(dim=1)
    assert float((reached[torch.from_numpy(part) > 0.5] - 0.3).abs().max()) < 1e-3
    assert torch.equal(complement(Ball(0.1), shape, level, 0, np.random.default_rng(5)), torch.from_numpy(started))


def test_points_stay_in_the_range() -> None:
    found = complement(Ball(0.1), (500, 1, 1, 1), 5.0, 3, np.random.default_rng(0))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(((found == 0) | (found == 1)).float().mean()) > 0.5


def test_the_loss_is_that_of_a_pair_of_classes() -> None:
    network = Ball(0.3)
    images = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    objective = Objective("one_class_hkr", margin=0.4, alpha=0.7, newton_steps=3)
    network.train()
    found = float(one_class_loss(network, images, objective, np.random.default_rng(2)))
    assert network.training
    assert network.modes == [False, False, False, True]
    others = complement(network, (6, 1, 2, 2), 0.2, 3, np.random.default_rng(2))
    signed = torch.cat([-network(images), network(others)]).double()
    wanted = 0.3 * -signed + 0.7 * torch.clamp(0.2 - signed, min=0)
    assert found == pytest.approx(float(wanted.mean()), abs=1e-6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images brighter at the top; odd ones are brighter at the bottom."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 24), ("val/own", 8), ("val/odd", 8)):
        (tmp_path / name).mkdir(parents=True)
        for k in range(count):
            image = rng.integers(0, 60, (4, 4))
            image[slice(2) if name != "val/odd" else slice(2, 4)] += 180
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / name / f"{k}.png")
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize("architecture", ["mlp", "convnet"])
def test_a_run_ends_with_a_proved_constant_and_a_certified_area(folder: Path, architecture: str) -> None:
    text = CONFIG.replace('"mlp"', f'"{architecture}"').replace("epochs = 2", "epochs = 6")
    (folder / "config.toml").write_text(text)
    console = Lines()
    done = train(read_config(folder / "config.toml"), folder / "out", None, console)
    card = json.loads((folder / "out" / "card.json").read_text())
    assert card == done.card
    assert card["model"]["architecture"] == architecture
    assert card["configuration"]["values"]["validation"]["metrics"] == ["auroc"]
    assert card["model"]["design_lipschitz"] == 2
    assert 1.9 < card["lipschitz"]["bound"] <= 2.0002
    assert (card["lipschitz"]["status"], card["images"]) == ("proved", 16)
    auroc = card["metrics"]["auroc"]
    assert auroc["certified"]["0"] == auroc["clean"] == 1
    assert 0.9 < auroc["certified"]["0.05"] <= 1
    assert len(card["data"]["trained_on"]["images"]) == 24
    assert f"wrote {folder / 'out' / 'card.json'}" in console.said
    # The specification beside it is proved by the command that is named last.
    again = console.said[-1].removeprefix("again: robspec ").split()
    report = robspec.check(again[1], again[2], batch_size=16)
    assert report.exit_status() == 0
    assert [i.certified[0] for i in report.properties[1].images] == [
        pytest.approx(auroc["certified"]["0.05"], abs=1e-6)
    ]
    assert console.bars["certifying"] == (16, 16)
    # What the card says is what the archive gives.
    model = open_scores(folder / "out" / "model.pt2")
    sides = []
    for name in ("val/odd", "val/own"):
        arrays = [np.asarray(Image.open(p), dtype=np.float32) / 255 for p in sorted((folder / name).glob("*.png"))]
        sides.append(model.scores(torch.from_numpy(np.stack(arrays))[:, None]))
    exact = backends()["reference"].read(*sides).auroc(Shifts(down=model.constant.value / 20))
    assert exact is not None
    assert 0 <= float(exact) - auroc["certified"]["0.05"] < 1e-6
    images = torch.rand(70, 1, 4, 4, requires_grad=True)
    assert model.differentiable(images).shape == (70,)
    assert np.array_equal(model.differentiable(images).detach().double().numpy(), model.scores(images))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("val/3/*.png", "val/[!3]/*.png", "val/*/*.png"),
        ("val/normal/*.png", "val/other/*.png", "val/*/*.png"),
        ("normal_*.npy", "odd_*.npy", "*_*.npy"),
        ("a/b/*.png", "c/*.png", "**/*.png"),
        ("same/*.png", "same/*.png", "same/*.png"),
    ],
)
def test_one_pattern_for_both_sides(first: str, second: str, expected: str) -> None:
    assert common(first, second) == expected


def test_where_no_pattern_fits_nothing_is_written(folder: Path) -> None:
    """Of `val/own` and `train` the only common pattern matches `val/odd` too."""
    text = CONFIG.replace("val/odd/*.png", "other/*.png").replace("val/own", "own")
    for name in ("own", "other", "third"):
        shutil.copytree(folder / "val" / "odd", folder / name)
    (folder / "config.toml").write_text(text)
    console = Lines()
    train(read_config(folder / "config.toml"), folder / "out", None, console)
    assert console.said[-1].startswith("no specification")
    assert not (folder / "out" / "model.rspec").exists()


def test_a_run_that_was_stopped_ends_with_the_same_bits(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 1"))
    config = read_config(folder / "config.toml")
    train(config, folder / "whole", None, Lines())
    with pytest.raises(Stop):
        train(config, folder / "stopped", None, Stopping(2))
    train(config, folder / "stopped", None, Lines())
    assert same(folder / "whole", folder / "stopped")
    assert (folder / "whole" / "model.pt2").read_bytes() == (folder / "stopped" / "model.pt2").read_bytes()


def test_a_twin_is_proved_too_and_not_certified_while_it_trains(folder: Path) -> None:
    twin = CONFIG.replace("alpha = 0.9", "alpha = 1").replace("depths = [1]", "depths = [1]\nlipschitz = false")
    (folder / "twin.toml").write_text(twin)
    done = train(read_config(folder / "twin.toml"), folder / "twin", None, Lines())
    assert done.card["model"]["design_lipschitz"] is None
    assert "validation" not in done.card["training"]["history"][-1]
    assert done.card["lipschitz"]["status"] == "proved"


MISTAKES = [
    ('"mlp"', '"fcn"', "`model.architecture` fcn", "mlp or convnet"),
    ("depths = [1]", "depths = [1]\nsingle_logit = true", "single_logit", "one score"),
    ("channels = [16]\ndepths = [1]", "", "no `model.channels`", "such as [64]"),
    ("depths = [1]", "depths = [1]\nlipschitz = false", "`loss.alpha` 0.9", "alpha = 1"),
    ("input = [1, 4, 4]", 'input = [1, 4, 4]\nclasses = ["a", "b"]', "`classes`", "all training images are normal"),
    ("input = [1, 4, 4]", 'input = [1, 4, 4]\ntrain_masks = "m/*.png"', "masks", "all training images are normal"),
    ("input = [1, 4, 4]", "input = [1, 4, 4]\ntrain_scenes = 4", "drawn scenes", "val_anomalous"),
    ('val_anomalous = "val/odd/*.png"', "", "val_anomalous", "all three"),
    ("[validation]", "[augment]\ncrop = [2, 2]\n[validation]", "crop", "one size"),
    ("[validation]", '[validation]\nmetrics = ["pixel_accuracy"]', "metrics", '["auroc"]'),
    ("[validation]", "[validation]\nmetrics = []", "no metric", "one of each"),
    ("newton_steps = 2", "newton_steps = 65", "`loss.newton_steps` is 65", "at most 64"),
    ('kind = "one_class_hkr"', 'kind = "hkr"', "two or more", "classes ="),
]


@pytest.mark.parametrize(("old", "new", "what", "mend"), MISTAKES, ids=lambda v: str(v)[:24])
def test_what_does_not_fit_is_refused(folder: Path, old: str, new: str, what: str, mend: str) -> None:
    assert old in CONFIG
    (folder / "config.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigValue) as refused:
        read_config(folder / "config.toml")
    assert what in str(refused.value)
    assert mend in str(refused.value)
