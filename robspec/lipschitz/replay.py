"""Runs the function a constant is proved for in float64, also one image at a time."""

from __future__ import annotations

import torch

from robspec.function.layout import read
from robspec.function.program import AnyProgram
from robspec.function.running import Runner
from robspec.function.settle import settle


class Replay:
    """The function a constant is proved for: its constants as stored and folded, what follows in float64.

    Args:
        program: the exported program; state is not changed.
    """

    def __init__(self, program: AnyProgram) -> None:
        settled = settle(program)
        self.layout = read(settled)
        self._runner = Runner(settled, self.layout.dtype, torch.float64, torch.device("cpu"))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Evaluate a batch.

        Args:
            images: float64, shape (batch, ...), or the single image's own shape where there is no batch.

        Returns:
            float64 logits.
        """
        return self._runner.images_to_logits(images)

    def one(self, image: torch.Tensor) -> torch.Tensor:
        """Evaluate a single image, also where the program was exported for a fixed batch of several.

        Args:
            image: float64, the shape of one image with a batch axis of 1 where there is a batch.

        Returns:
            Its float64 logits.
        """
        axis, (first, second) = self.layout.axis, self.layout.batches
        if axis is None or first != second:
            return self(image)
        results = self(image.repeat_interleave(first, dim=axis))
        return results[: results.shape[0] // first]
