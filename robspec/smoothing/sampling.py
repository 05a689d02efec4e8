"""How often each class is found under noise. The noise of an image follows from its pixels alone."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from robspec.semantics.smoothing import Smoothing


class Model(Protocol):
    """What sampling needs of a model."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Run it, [B, C, H, W] to [B, K, H, W] or [B, K]."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found of one image.

    Args:
        chosen: int64 [H, W], the class that the first samples found most often.
        hits: int64 [H, W], how many of the others found it.
    """

    chosen: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]


def sample(model: Model, image: torch.Tensor, smoothing: Smoothing, chunk: int) -> Counts:
    """Count the decisions on one image under noise.

    Args:
        model: decides for the class of the largest logit, the first of equals; of a single logit, above 0 for 1.
        image: float32 [C, H, W] in the declared range. The noise leaves the range; nothing is clipped.
        smoothing: how much noise, and how often.
        chunk: images per forward pass.

    Returns:
        Counts that depend on the image, the model and the settings alone. Samples whose logits are not finite are
        hits of no class.
    """
    decisions = _decisions(model, _noisy(image, smoothing, chunk))
    chosen, rest = _choose(decisions, smoothing.selection)
    hits = np.zeros(chosen.shape, np.int64)
    for found in rest:
        hits += (found == chosen).sum(axis=0)
    return Counts(chosen, hits)


def _choose(
    decisions: Iterator[npt.NDArray[np.int64]], wanted: int
) -> tuple[npt.NDArray[np.int64], Iterator[npt.NDArray[np.int64]]]:
    """The class found most often at first, the first of equals; and the decisions that follow."""
    found = next(decisions)
    votes = np.zeros((1, *found.shape[1:]), np.int32)
    while True:
        first, after = found[:wanted], found[wanted:]
        more = int(first.max(initial=0)) + 1 - len(votes)
        votes = np.concatenate([votes, np.zeros((max(more, 0), *votes.shape[1:]), np.int32)])
        for k in range(len(votes)):
            votes[k] += (first == k).sum(axis=0)
        wanted -= len(first)
        if not wanted:
            return votes.argmax(axis=0), itertools.chain([after], decisions)
        found = next(decisions)


def _decisions(model: Model, noisy: Iterator[torch.Tensor]) -> Iterator[npt.NDArray[np.int64]]:
    """Decisions [B, H, W], -1 where there is none."""
    for images in noisy:
        logits = model.logits(images)
        logits = logits.reshape(*logits.shape[:2], *(logits.shape[2:] or (1, 1)))
        found = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
        finite = torch.isfinite(logits).all(1)
        yield torch.where(finite, found, -1).cpu().numpy()


def _noisy(image: torch.Tensor, smoothing: Smoothing, chunk: int) -> Iterator[torch.Tensor]:
    pixels = np.ascontiguousarray(image.numpy(), np.float32)
    seed = hashlib.sha256(b"robspec smoothing 1" + pixels.tobytes()).digest()
    random = np.random.Generator(np.random.Philox(key=int.from_bytes(seed[:16], "big")))
    left, sigma = smoothing.selection + smoothing.samples, float(smoothing.sigma)
    if sigma < smoothing.sigma:
        sigma = math.nextafter(sigma, math.inf)
    while left:
        size = min(chunk, left)
        noise = random.standard_normal((size, *pixels.shape))
        yield torch.from_numpy((pixels + sigma * noise).astype(np.float32))
        left -= size
