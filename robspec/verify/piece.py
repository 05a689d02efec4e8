"""Some pixels of one image, with what a bound and an oracle each need of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robspec.arrays import tensor
from robspec.bounds.context import Context
from robspec.kernels.knapsack import Backend
from robspec.oracle.scene import IntArray, Scene


@dataclass(frozen=True, slots=True)
class Piece:
    """Pixels of one image.

    Args:
        logits: [K, H, W], as the model computed them, on the CPU.
        labels: int64 [H, W], or None.
        region: bool [H, W], or None.
        weights: float64 [H, W], or None.
    """

    logits: torch.Tensor
    labels: torch.Tensor | None
    region: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.logits.shape[1] * self.logits.shape[2])

    def window(self, top: int, left: int, side: int) -> Piece:
        """Cut a square out."""
        rows, columns = slice(top, top + side), slice(left, left + side)
        rest = [None if t is None else t[rows, columns] for t in (self.labels, self.region, self.weights)]
        return Piece(self.logits[:, rows, columns], *rest)

    def only(self, pixels: IntArray) -> Piece:
        """Keep some pixels, as an image of one row."""
        index = torch.from_numpy(pixels)
        rest = [None if t is None else t.reshape(1, -1)[:, index] for t in (self.labels, self.region, self.weights)]
        return Piece(self.logits.reshape(len(self.logits), 1, -1)[:, :, index], *rest)

    def context(self, backend: Backend, ignore: int | None) -> Context:
        """The batch of one image a bound is opened on."""
        rest = [None if t is None else t[None].contiguous() for t in (self.labels, self.region, self.weights)]
        return Context(backend, self.logits[None].contiguous(), rest[0], ignore, rest[1], rest[2])

    def scene(self, ignore: int | None, q: int | None) -> Scene:
        """The image as the definitions see it."""
        count = len(self)
        z = self.logits.detach().to(torch.float64).reshape(len(self.logits), -1).T.numpy()
        labels = np.zeros(count, np.int64) if self.labels is None else self.labels.reshape(-1).numpy()
        ignored = labels == ignore if self.labels is not None and ignore is not None else np.zeros(count, np.bool_)
        region = np.ones(count, np.bool_) if self.region is None else self.region.reshape(-1).numpy()
        weights = np.ones(count) if self.weights is None else self.weights.reshape(-1).numpy()
        return Scene(np.ascontiguousarray(z), labels, ignored, region, weights, q)


def pieces(context: Context) -> list[Piece]:
    """Take every image of a batch."""

    logits, *rest = (
        None if part is None else tensor(part).detach().cpu()
        for part in (context.logits, context.labels, context.region, context.weights)
    )
    if logits is None:
        raise ValueError("a batch has logits")
    return [Piece(logits[i], *(None if part is None else part[i] for part in rest)) for i in range(len(context))]
