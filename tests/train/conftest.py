"""A tiny data set, a configuration that trains on it in seconds, and a console that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SIDE = 16
CONFIG = """
[run]
epochs = 2
batch = 4
seed = 3
threads = 1
checkpoint_steps = 1

[model]
architecture = "fcn"
channels = [12]
depths = [1]

[data]
input = [3, 16, 16]
classes = ["dark", "bright"]
train_images = "train/images/*.png"
train_masks = "train/masks/*.png"
val_images = "val/images/*.png"
val_masks = "val/masks/*.png"

[loss]
tau = 10
margin = 0.2

[optimizer]
rate = 1e-2

[augment]
flip = true
scale = [1.0, 1.5]
brightness = 0.1

[validation]
budgets = [0.05, 0.1]
metrics = ["pixel_accuracy", "iou[bright]"]
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Lines:
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: dict[str, tuple[int, int]] = {}

    def line(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.bars[title] = (0, total)

        def told(done: int) -> None:
            self.bars[title] = (self.bars[title][0] + done, total)

        yield told


def draw(folder: Path, count: int, seed: int) -> None:
    """Images whose bright half is the mask."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[:, rng.integers(4, 12) :] = 1
        image = np.where(mask[..., None] == 1, 200, 50) + rng.integers(-30, 30, (SIDE, SIDE, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{k}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{k}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ten training and four validation images, and config.toml."""
    draw(tmp_path / "train", 10, 0)
    draw(tmp_path / "val", 4, 1)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path
