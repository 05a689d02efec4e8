"""What a planted counterexample is: a model, images, and a perturbation known to break a property that looks true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tests.property.meaning import value

Array = npt.NDArray[np.float64]
IGNORED = 255
ZERO = 100.0
"""Input value at which the planted models are undecided; inputs lie in [0, 255], so small integers are exact."""
SPEC = """language 1
model {{
  input image [{channels}, {side}, {side}] in [0, 255]
  output logits [2, {side}, {side}]
  classes c0, c1
  {normalize}
}}
data d {{
  images "images/*"
  masks "masks/*.png"
  ignore 255
}}
property planted {{
{body}
}}
"""


@dataclass(frozen=True)
class Plant:
    """A trap and, beside it, a control.

    Args:
        name: what the trap is.
        module: float32, images [B, C, H, W] to two logits.
        images: clean inputs, each [C, H, W].
        labels: annotations, each [H, W], 0, 1 or the ignore label.
        moved: the images after the perturbation.
        norm: the attack's norm in the language.
        eps: what the perturbation of every image stays within.
        trap: the false property, with EPS for `eps`; empty for a model that must be refused.
        control: a true one.
        breaks: whether the values of `metric` on the moved images violate the trap.
        metric: the metric `breaks` is given, one value per image.
        normalize: a statement of the model block.
        status: exit statuses a false property may have.
        control_module: another model for the control, or None.
    """

    name: str
    module: torch.nn.Module
    images: Sequence[Array]
    labels: Sequence[Array]
    moved: Sequence[Array]
    norm: str
    eps: Fraction
    trap: str
    control: str
    breaks: Callable[[list[Fraction]], bool]
    metric: str = "pixel_accuracy"
    normalize: str = ""
    status: tuple[int, ...] = (3,)
    control_module: torch.nn.Module | None = None

    @property
    def side(self) -> int:
        """Height and width."""
        return int(self.images[0].shape[1])

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return int(self.images[0].shape[0])

    def write(self, folder: Path, body: str) -> Path:
        """Write data and specification."""
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for i, (image, labels) in enumerate(zip(self.images, self.labels, strict=True)):
            if self.channels == 1 and np.array_equal(image, image.round()):
                Image.fromarray(image[0].astype(np.uint8)).save(folder / "images" / f"{i}.png")
            else:
                np.save(folder / "images" / f"{i}.npy", image.astype(np.float32).transpose(1, 2, 0))
            Image.fromarray(labels.astype(np.uint8)).save(folder / "masks" / f"{i}.png")
        spec = folder / "planted.rspec"
        text = SPEC.format(channels=self.channels, side=self.side, normalize=self.normalize, body=body)
        spec.write_text(text.replace("EPS", f"{float(self.eps)!r}"))
        return spec

    def distances(self) -> list[bool]:
        """Whether each perturbation is inside the closed ball, decided in rationals."""
        found = []
        for image, moved in zip(self.images, self.moved, strict=True):
            deltas = [
                abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(image.flat, moved.flat, strict=True)
            ]
            if self.norm == "linf":
                found.append(max(deltas) <= self.eps)
            elif self.norm == "l1":
                found.append(sum(deltas, Fraction(0)) <= self.eps)
            else:
                found.append(sum((d * d for d in deltas), Fraction(0)) <= self.eps**2)
        return found

    def attained(self, dtype: torch.dtype) -> list[Fraction]:
        """The metric on the moved images, by the module itself."""
        clean, found = (self._predictions(images, dtype) for images in (self.images, self.moved))
        values = []
        for y, c, p in zip(self.labels, clean, found, strict=True):
            worth = value(self.metric, y.astype(int).ravel().tolist(), c, p)
            assert worth is not None
            values.append(worth)
        return values

    def _predictions(self, images: Sequence[Array], dtype: torch.dtype) -> list[list[int]]:
        batch = torch.from_numpy(np.stack(images))
        if self.normalize:
            _, mean, _, std = self.normalize.replace("[", "").replace("]", "").split()[1:]
            batch = (batch - float(mean)) / float(std)
        kept = next(iter(self.module.state_dict().values()), torch.zeros(())).dtype
        with torch.no_grad():
            logits = self.module.to(dtype)(batch.to(dtype))
        self.module.to(kept)
        return [row.argmax(0).flatten().tolist() for row in logits]


def flat(value: float, side: int = 8, channels: int = 1) -> Array:
    """A constant image."""
    return np.full((channels, side, side), ZERO + value)


def ones(side: int = 8) -> Array:
    """Every pixel annotated as class 1."""
    return np.ones((side, side))


def row_of(counts: Sequence[tuple[int, float]], side: int = 8) -> Array:
    """An image whose first pixels have the first value, and so on."""
    values = np.concatenate([np.full(n, ZERO + v) for n, v in counts])
    return values.reshape(1, side, side)
