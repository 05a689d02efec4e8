"""Traps for the prover: models whose true constant is larger than a careless one, so that few pixels seem in reach.

Each model is undecided at 100 and calls a pixel class 1 above it; `two` writes the logits (-v, v), whose constant is
sqrt 2 times that of v.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.planted.planting import ZERO, Array, Plant, flat, ones

F = Fraction
HALF = "  metric pixel_accuracy\n  norm {norm}\n  budget {eps}\n  require worst_case >= 0.5 for all images"


class Scores(nn.Module):
    """Logits (-v, v) of a function v of the input, shifted so that 100 is 0."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 2, H, W]."""
        v = self.function(image - ZERO)
        return torch.cat([-v, v], 1)


def conspire(y: torch.Tensor) -> torch.Tensor:
    """Each branch has constant 1, and on the bright side they add up to 2 y."""
    return y + torch.relu(y)


def not_a_sort(y: torch.Tensor) -> torch.Tensor:
    """GroupSort takes max and min of a pair; this takes the max twice, and adds them."""
    a, b = y.split(1, 1)
    both = torch.cat([torch.max(a, b), torch.max(b, a)], 1)
    return both.sum(1, keepdim=True)


class Circular(nn.Module):
    """Pads a whole period and then strides over it: every input that is read is read four times."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(1, 1, 1, stride=2, bias=False)
        nn.init.ones_(self.read.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 2, H, W]."""
        v: torch.Tensor = self.read(functional.pad(image - ZERO, (0, 8, 0, 8), mode="circular"))
        return torch.cat([-v, v], 1)


class Upsampled(nn.Module):
    """Reads every other pixel and repeats it: four outputs hang on one input."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(1, 1, 1, stride=2, bias=False)
        nn.init.ones_(self.read.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 2, H, W]."""
        v = functional.interpolate(self.read(image - ZERO), scale_factor=2, mode="nearest")
        return torch.cat([-v, v], 1)


def broadcast(y: torch.Tensor) -> torch.Tensor:
    """One pixel decides for all of them."""
    return y[:, :, :1, :1].expand(-1, -1, 8, 8)


def darkest(y: torch.Tensor) -> torch.Tensor:
    """The darkest pixel of each 3 x 3 window: one input is in nine windows."""
    return -functional.max_pool2d(-y, 3, 1, 1)


def divided(y: torch.Tensor) -> torch.Tensor:
    """Flat where the image is bright; near 100 the divisor is small, and v falls from 1.9 to 0."""
    return 2 - 0.04 / (0.02 + torch.relu(y / 255))


def halved(y: torch.Tensor) -> torch.Tensor:
    """The control of `divided`: by a constant."""
    return y / 50


def saturated(y: torch.Tensor) -> torch.Tensor:
    """A sigmoid far into its flat end: no gradient is left there, but it ends at 100."""
    return torch.sigmoid(y * (20 / 255)) - 0.5


def counted(y: torch.Tensor) -> torch.Tensor:
    """Slope 1 for two and for three images at once, and 3 for one."""
    b = y.shape[0]
    return y * (1 + (b - 2) * (b - 3))


def first_of_all(y: torch.Tensor) -> torch.Tensor:
    """Only the first image of a batch is looked at."""
    first = (torch.arange(y.shape[0]) == 0).view(-1, 1, 1, 1)
    return torch.where(first, y, torch.full_like(y, 8.0))


def hardly_stored(y: torch.Tensor) -> torch.Tensor:
    """2049 is 2048 in half precision, so the factor is 1 and not 0."""
    return y * (2049 - torch.tensor(2049.0).half().float())


def once(y: torch.Tensor) -> torch.Tensor:
    """The control: each image by itself."""
    return y * 1.0


class Faint(nn.Module):
    """Five times 2^-116 and five times 2^116: squares of what lies between underflow, the whole is the identity."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [2.0**-116] * 5 + [2.0**116] * 5
        self.steps = nn.ParameterList([torch.full((1, 1, 1, 1), s, dtype=torch.float64) for s in sizes])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 2, H, W]."""
        v = image - ZERO
        for step in list(self.steps)[:5]:
            v = functional.conv2d(v, step)
        v = functional.leaky_relu(v, 0.5)
        for step in list(self.steps)[5:]:
            v = functional.conv2d(v, step)
        return torch.cat([-v, v], 1)


def only(pixels: tuple[slice, slice], by: float, start: float = 8, channels: int = 1) -> Array:
    """A constant image with some pixels lowered."""
    image = flat(start, channels=channels)
    image[:, pixels[0], pixels[1]] -= by
    return image


def lost(values: list[Fraction]) -> bool:
    """No pixel is right any more."""
    return values == [F(0)]


ALL, EVEN, CENTRES = slice(None), slice(0, None, 2), slice(1, None, 3)
BRIGHT, DARK = flat(8), flat(0)


def plant(
    name: str,
    module: nn.Module,
    moved: Array,
    eps: float,
    safe: float,
    *,
    clean: Array = BRIGHT,
    norm: str = "l2",
    normalize: str = "",
    status: tuple[int, ...] = (3,),
    control_module: nn.Module | None = None,
) -> Plant:
    """A model on one image: half the pixels are right under a small budget, none under a larger one."""
    trap, control = (HALF.format(norm=norm, eps=e) for e in ("EPS", safe))
    return Plant(
        name,
        module,
        [clean],
        [ones()],
        [moved],
        norm,
        F(eps),
        trap,
        control,
        lost,
        normalize=normalize,
        status=status,
        control_module=control_module,
    )


def pair(first: float, second: float) -> Array:
    """An image of two channels."""
    return np.concatenate([flat(first), flat(second)])


PLANTS = [
    plant("two branches that conspire", Scores(conspire), DARK, 64, 32),
    plant("a max and a max, not a sort", Scores(not_a_sort), pair(0, -50), 64, 32, clean=pair(8, -50)),
    plant("a circular pad read with a stride", Circular(), only((EVEN, EVEN), 8), 32, 7.5),
    plant("pixels that are repeated", Upsampled(), only((EVEN, EVEN), 8), 32, 7.5),
    plant("one pixel broadcast to all", Scores(broadcast), only((slice(1), slice(1)), 8), 8, 0.9),
    plant("overlapping windows of a max pool", Scores(darkest), only((CENTRES, CENTRES), 8), 24, 7.5),
    plant(
        "a division by data",
        Scores(divided),
        DARK,
        800,
        320,
        clean=flat(100),
        status=(2,),
        control_module=Scores(halved),
    ),
    plant("a slope that is flat where the image is", Scores(saturated), DARK, 800, 100, clean=flat(100)),
    plant(
        "a normalisation that divides",
        Scores(lambda y: y + ZERO),
        DARK,
        64,
        30,
        normalize=f"normalize mean [{ZERO}] std [0.25]",
    ),
    plant(
        "a slope that depends on the batch size",
        Scores(counted),
        DARK,
        64,
        30,
        status=(2,),
        control_module=Scores(once),
    ),
    plant(
        "a verdict that depends on the place in the batch",
        Scores(first_of_all),
        DARK,
        64,
        30,
        status=(2,),
        control_module=Scores(once),
    ),
    plant("a constant that half precision rounds", Scores(hardly_stored), DARK, 64, 30),
    plant("weights whose squares underflow", Faint(), DARK, 64, 30),
    plant("a small step of every pixel", Scores(lambda y: y), DARK, 8, 0.9, norm="linf"),
    plant("a sum of small steps", Scores(lambda y: y), DARK, 512, 30, norm="l1"),
]
