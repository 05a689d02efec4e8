"""How often each class is found, or each score fires, under noise, which follows from an image's pixels alone."""

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
        chosen: int64 [H, W], the class that the first samples found most often; of a detector's scores [K, N], 1 for
            firing.
        hits: int64 of the same shape, how many of the others found it.
    """

    chosen: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]


def sample(model: Model, image: torch.Tensor, smoothing: Smoothing, chunk: int) -> Counts:
    """Count the decisions on one image under noise.

    Args:
        model: decides for the class of the largest logit, the first of equals; of a single logit, above 0 for 1; of a
            detector, for each score by itself.
        image: float32 [C, H, W] in the declared range. The noise leaves the range; nothing is clipped.
        smoothing: how much noise, and how often.
        chunk: images per forward pass.

    Returns:
        Counts that depend on the image, the model and the settings alone. Samples whose logits are not finite, or lie
        where a threshold is known no better, are hits of no class.
    """
    decisions = _decisions(model, _noisy(image, smoothing, chunk), smoothing.fires)
    chosen, rest = _choose(decisions, smoothing.selection)
    hits = np.zeros(chosen.shape, np.int64)
    for found in rest:
        hits += (found == chosen).sum(axis=0)
    return Counts(chosen, hits)


def _choose(
    decisions: Iterator[npt.NDArray[np.integer]], wanted: int
) -> tuple[npt.NDArray[np.int64], Iterator[npt.NDArray[np.integer]]]:
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


def _decisions(
    model: Model, noisy: Iterator[torch.Tensor], fires: tuple[float, float] | None
) -> Iterator[npt.NDArray[np.integer]]:
    """Decisions [B, H, W], of a detector [B, K, N]; -1 where there is none."""
    for images in noisy:
        logits = model.logits(images)
        if fires is not None:
            yield _fired(logits, fires)
            continue
        logits = logits.reshape(*logits.shape[:2], *(logits.shape[2:] or (1, 1)))
        found = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.max(1).indices
        finite = torch.isfinite(logits).all(1)
        yield torch.where(finite, found, -1).cpu().numpy()


def _fired(scores: torch.Tensor, fires: tuple[float, float]) -> npt.NDArray[np.int8]:
    """Which scores of [B, K, ...] fire: 1, 0, or -1 where that is not known."""
    scores = scores.detach().flatten(2).double()
    finite = torch.isfinite(scores)
    found = torch.where(scores >= fires[1], 1, torch.where(scores < fires[0], 0, -1))
    return torch.where(finite, found, -1).to(torch.int8).cpu().numpy()


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
