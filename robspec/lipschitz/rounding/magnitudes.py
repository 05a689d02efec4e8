"""How large every value is at one image, measured in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from robspec.function.layout import Layout
from robspec.function.program import AnyProgram
from robspec.function.running import Runner, exact_arithmetic
from robspec.lipschitz.rounding.charge import length


class _Watched(Runner):
    """Runs a program and keeps the l2 norm of everything that comes by."""

    def __init__(self, program: AnyProgram, own: torch.dtype) -> None:
        super().__init__(program, own, torch.float64, torch.device("cpu"))
        self.norms: dict[str, list[float]] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        self.norms[n.name] = [
            length(p.detach().to(torch.float64)) if isinstance(p, torch.Tensor) and p.is_floating_point() else 0.0
            for p in parts
        ]
        return found


def channel_of(layout: Layout) -> int:
    """Find the dimension of an image's channels, behind that of the images or one of side 1 in its place."""
    return 1 if layout.axis == 0 or (layout.axis is None and len(layout.shape) > 3) else 0


def laid_out(layout: Layout, middle: torch.Tensor) -> torch.Tensor:
    """Lay one number for each channel out as a batch of equal images.

    Args:
        layout: of the program.
        middle: float64, one number for each channel, or one.
    """
    shape = list(layout.shape)
    if layout.axis is not None:
        shape[layout.axis] *= layout.batches[0]
    sides = [1] * len(shape)
    sides[channel_of(layout)] = -1
    return middle.reshape(sides).expand(shape).contiguous()


def measure(program: AnyProgram, own: torch.dtype, images: torch.Tensor) -> dict[str, list[float]]:
    """Run a batch of equal images and take the norms of all nodes' results.

    Args:
        program: settled.
        own: its floating-point type.
        images: float64, as the program takes them.

    Returns:
        By node name, of each of its outputs the l2 norm over the whole batch, rounded up.
    """
    runner = _Watched(program, own)
    with exact_arithmetic(torch.device("cpu")):
        runner.images_to_logits(images)
    return runner.norms
