"""Realises a lower bound on a model's constant: a stored pair of images, found by power iteration on the
model
itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from robspec.function.errors import UnsuitableProgram
from robspec.function.program import AnyProgram
from robspec.lipschitz.magnitude import scaled
from robspec.lipschitz.pair import Pair
from robspec.lipschitz.replay import Replay
from robspec.semantics.norm import Norm

ALLOWANCE = 2.0**-32
"""Rounding granted to each float64 output, relative to the largest logit norm of the pair."""


_STEPS = 60


def measure(
    program: AnyProgram,
    *,
    input_norm: Norm,
    output_norm: Norm,
    images: Iterable[npt.NDArray[np.floating]] | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    seconds: float = 10.0,
) -> Pair:
    """Search a pair of images that the model moves far apart.

    The direction is improved by power iteration on the model's own differences, v <- dual(J' dual(f(x + t
    v) - f(x - t v))); only the ratio of the stored pair counts, evaluated in float64 on the pair as rounded
    to the model's element type.

    Args:
        program: the exported program.
        input_norm: p.
        output_norm: q.
        images: starting points, each of one image's shape without the batch; random ones if None.
        input_range: both images of the pair stay inside.
        seed: of the random starts and directions.
        seconds: when to stop; the first start always gets a few steps.

    Returns:
        The best pair found.

    Raises:
        UnsuitableProgram: an image of another shape.

    Source: MATH.md section 5.
    """
    replay = Replay(program)
    generator = torch.Generator().manual_seed(seed)
    deadline = time.perf_counter() + seconds
    shape = replay.layout.shape
    low, high = input_range
    best: Pair | None = None
    evaluations = 0
    for start in _starts(images, shape, input_range, generator):
        direction = _unit(torch.randn(shape, generator=generator, dtype=torch.float64), input_norm)
        for reach in _reaches(shape, input_norm, high - low):
            previous = 0.0
            for step in range(_STEPS):
                pair = _pair(start, direction, reach, low, high)
                found, pull = _try(replay, pair, input_norm, output_norm)
                evaluations += 2
                if best is None or found.lower > best.lower:
                    best = found
                late = time.perf_counter() > deadline and step >= 2
                stuck = found.ratio == 0.0 or (step >= 4 and found.ratio <= previous * (1.0 + 1e-6))
                if late or stuck:
                    break
                previous = found.ratio
                direction = _dual(pull, input_norm)
                if not bool(direction.any()):
                    direction = _unit(torch.randn(shape, generator=generator, dtype=torch.float64), input_norm)
            if time.perf_counter() > deadline:
                break
        if time.perf_counter() > deadline:
            break
    if best is None:
        zero = np.zeros(shape)
        return Pair(zero, zero, 0.0, 0.0, 0.0, input_norm, output_norm, evaluations)
    return Pair(best.first, best.second, best.ratio, best.lower, best.allowance, input_norm, output_norm, evaluations)


def evaluate(
    program: AnyProgram,
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    *,
    input_norm: Norm,
    output_norm: Norm,
) -> Pair:
    """Evaluate a stored pair again, from its arrays alone."""
    replay = Replay(program)
    pair = torch.from_numpy(first.astype(np.float64)), torch.from_numpy(second.astype(np.float64))
    return _try(replay, pair, input_norm, output_norm)[0]


def _starts(
    images: Iterable[npt.NDArray[np.floating]] | None,
    shape: tuple[int, ...],
    input_range: tuple[float, float],
    generator: torch.Generator,
) -> Iterator[torch.Tensor]:
    low, high = input_range
    if images is not None:
        for image in images:
            start = torch.from_numpy(np.array(image, dtype=np.float64))
            if start.numel() != math.prod(shape):
                what = f"an image of shape {tuple(start.shape)} does not fit the model's {shape}"
                raise UnsuitableProgram("images", what, "pass images of the model's own size")
            yield start.reshape(shape)
        return
    middle, width = (low + high) / 2, high - low
    yield torch.full(shape, middle, dtype=torch.float64)
    for _ in range(1000):
        noise = torch.rand(shape, generator=generator, dtype=torch.float64)
        yield middle + (noise - 0.5) * width * 0.8


def _reaches(shape: tuple[int, ...], norm: Norm, width: float) -> tuple[float, ...]:
    """Half distances to try, in l_p: from a hundredth to a third of what the range allows per entry."""
    entries = float(math.prod(shape))
    whole = 1.0 if norm.p is None else entries ** (1.0 / float(norm.p))
    return tuple(width * whole * fraction for fraction in (0.01, 0.1, 0.001))


def _pair(
    start: torch.Tensor, direction: torch.Tensor, reach: float, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    step = direction * reach
    return (start + step).clamp(low, high), (start - step).clamp(low, high)


def _try(
    replay: Replay, pair: tuple[torch.Tensor, torch.Tensor], input_norm: Norm, output_norm: Norm
) -> tuple[Pair, torch.Tensor]:
    """Evaluate a pair and the pull J' dual(difference) that would widen it."""
    dtype = replay.layout.dtype
    stored = [image.to(dtype) for image in pair]
    exact = [image.to(torch.float64).requires_grad_(True) for image in stored]
    outputs = [replay.one(image.clone()) for image in exact]
    difference = outputs[0] - outputs[1]
    target = _dual(difference.detach(), output_norm)
    pull = _pull((difference * target).sum(), exact)
    top = _length(difference.detach(), output_norm)
    bottom = _length(exact[0].detach() - exact[1].detach(), input_norm)
    size = max(_length(output.detach(), output_norm) for output in outputs)
    allowance = ALLOWANCE * (size + top)
    arrays = [image.detach().numpy() for image in stored]
    ratio = top / bottom if bottom > 0 else 0.0
    lower = max(0.0, (top - allowance) / (bottom * (1.0 + 2.0**-40))) if bottom > 0 else 0.0
    lower = lower * (1.0 - 2.0**-50) if math.isfinite(lower) else 0.0
    return Pair(arrays[0], arrays[1], ratio, lower, allowance, input_norm, output_norm, 2), pull.detach()


def _pull(widened: torch.Tensor, pair: list[torch.Tensor]) -> torch.Tensor:
    """Differentiate the widened distance, a hint only; zero where the graph cannot be differentiated."""
    total = torch.zeros_like(pair[0])
    try:
        parts = torch.autograd.grad(widened, pair, allow_unused=True)
    except RuntimeError:
        return total
    for part, sign in zip(parts, (1.0, -1.0), strict=True):
        if part is not None:
            total = total + sign * part
    return total


def _length(vector: torch.Tensor, norm: Norm) -> float:
    order = math.inf if norm.p is None else float(norm.p)
    largest = float(vector.abs().max()) if vector.numel() else 0.0
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    # Scaled by a power of two, so that no power of an entry underflows to 0 or overflows.
    power = math.frexp(largest)[1]
    length = float(torch.linalg.vector_norm(scaled(vector.reshape(-1), -power), ord=order))
    return length * 2.0 ** (power // 2) * 2.0 ** (power - power // 2)


def _unit(vector: torch.Tensor, norm: Norm) -> torch.Tensor:
    length = _length(vector, norm)
    return vector / length if length > 0 else vector


def _dual(vector: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the direction of unit l_p length (as seen by the maximisation) most aligned with a vector."""
    if norm.p is None:
        return torch.sign(vector)
    if norm.p == 1:
        flat = torch.zeros(vector.numel(), dtype=vector.dtype)
        where = int(vector.abs().argmax())
        flat[where] = torch.sign(vector.reshape(-1)[where])
        return flat.reshape(vector.shape)
    conjugate = float(norm.p / (norm.p - 1))
    powered = vector.abs() ** (conjugate - 1) * torch.sign(vector)
    return _unit(powered, norm)
