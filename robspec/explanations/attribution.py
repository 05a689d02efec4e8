"""Attribution maps by captum: how the margins at stake depend on every value of the image."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.explanations.errors import ExtraMissing
from robspec.explanations.explain import Explained
from robspec.explanations.question import as_maps
from robspec.explanations.search import Model
from robspec.verify.margins import margins_by

METHODS = ("gradient", "integrated", "smoothgrad")
_POINTS = 32
"""Gradients of integrated gradients, and samples of SmoothGrad."""
_NOISE = 0.1
"""Standard deviation of SmoothGrad's noise, as a share of the input range."""
_AT_ONCE = 8

Score = Callable[[Tensor], Tensor]
"""From images [B, C, H, W] to one number each, differentiable."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """One map.

    Args:
        method: one of `METHODS`.
        values: float32 [C, H, W]: of gradients, change of the margins per change of the value; of integrated ones,
            what the value contributes to the margins beyond those of the baseline.
    """

    method: str
    values: npt.NDArray[np.float32]


def require_captum() -> None:
    """Make sure that captum is installed, before any work is done.

    Raises:
        ExtraMissing: E0854.
    """
    if importlib.util.find_spec("captum") is None:
        raise ExtraMissing(
            "--attribution",
            "the maps are made by captum, and there is no package captum in this environment",
            "pip install 'robspec[explain]'",
        )


def score_of(result: Explained, model: Model) -> Score:
    """Say what is attributed: the sum of the margins of the pixels that the bound's cheapest attack flips.

    Args:
        result: what was found of the image; its pixels and labels are meant, also of another model.
        model: whose margins.

    Returns:
        The sum of margins, of a decision its one margin.
    """

    def score(images: Tensor) -> Tensor:
        logits = as_maps(model.differentiable(images))
        total = torch.zeros(len(logits), dtype=logits.dtype)
        for aim, mask in result.aimed:
            margins = margins_by(logits, aim.labels.expand(len(logits), -1, -1), aim.condition.metric)
            total = total + (margins * mask).sum(dim=(1, 2))
        return total

    return score


def baseline(image: Tensor) -> Tensor:
    """Give the image without content: every pixel has the image's mean colour; [1, C, H, W]."""
    return image.mean(dim=(2, 3), keepdim=True).expand_as(image).contiguous()


def attribute(method: str, score: Score, image: Tensor, ends: tuple[float, float], seed: int) -> Attribution:
    """Make a map.

    Args:
        method: one of `METHODS`.
        score: what is attributed.
        image: float32 [1, C, H, W].
        ends: of the input range; SmoothGrad's noise is a tenth of it.
        seed: of the noise.

    Returns:
        The map.

    Source: Simonyan et al. 2014 (gradient), Sundararajan et al. 2017 (integrated), Smilkov et al. 2017 (SmoothGrad).
    """
    from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

    # captum warns of an image that needs no gradients, and gives it back as it was.
    given = image.detach().clone().requires_grad_()
    if method == "gradient":
        found = Saliency(score).attribute(given, abs=False)
    elif method == "integrated":
        found = IntegratedGradients(score).attribute(
            given, baselines=baseline(image), n_steps=_POINTS, internal_batch_size=_AT_ONCE
        )
    else:
        # Its noise comes from torch's global generator, which takes no other.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = NoiseTunnel(Saliency(score)).attribute(
                given,
                nt_type="smoothgrad",
                nt_samples=_POINTS,
                nt_samples_batch_size=_AT_ONCE,
                stdevs=_NOISE * (ends[1] - ends[0]),
                abs=False,
            )
    values: npt.NDArray[np.float32] = found[0].detach().to(torch.float32).numpy().copy()
    return Attribution(method, values)


def order(values: npt.NDArray[np.float32]) -> Tensor:
    """Rank pixels: int64 [H * W], those whose values' sizes sum to most over the channels first."""
    return (
        torch.from_numpy(np.abs(values.astype(np.float64)).sum(axis=0))
        .flatten()
        .argsort(descending=True, stable=True)
    )


@dataclass(frozen=True, slots=True)
class Curves:
    """How a score falls as pixels are removed by rank, and rises as they are inserted.

    Args:
        deletion: area under the curve of the score while pixels take the baseline's colour, most important first.
        insertion: area while they take the image's colour in the baseline.
    """

    deletion: float
    insertion: float


def curves(score: Score, image: Tensor, ranked: Tensor, steps: int = 32) -> Curves | None:
    """Measure how well a ranking of pixels tells what a score depends on.

    The score is scaled so that it is 1 on the image and 0 on its baseline. Areas are by the trapezoid rule over the
    share of pixels, in `steps` equal parts: a good ranking has a small deletion and a large insertion score.

    Args:
        score: what is measured.
        image: float32 [1, C, H, W].
        ranked: int64 [H * W], indices of pixels, the most important first.
        steps: how many parts.

    Returns:
        Both areas; None where the score is the same on the image and on its baseline.

    Source: Petsiuk et al. 2018.
    """
    empty = baseline(image)
    counts = [round(len(ranked) * k / steps) for k in range(steps + 1)]

    def series(start: Tensor, goal: Tensor) -> list[float]:
        found: list[float] = []
        for at in range(0, len(counts), _AT_ONCE):
            images = start.repeat(len(counts[at : at + _AT_ONCE]), 1, 1, 1)
            for row, count in zip(images, counts[at : at + _AT_ONCE], strict=True):
                row.flatten(1)[:, ranked[:count]] = goal[0].flatten(1)[:, ranked[:count]]
            with torch.no_grad():
                found.extend(score(images).double().tolist())
        return found

    down, up = series(image, empty), series(empty, image)
    top, bottom = down[0], up[0]
    if top == bottom:
        return None
    return Curves(*(_area([(v - bottom) / (top - bottom) for v in values]) for values in (down, up)))


def _area(values: Sequence[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(values)) / (len(values) - 1)
