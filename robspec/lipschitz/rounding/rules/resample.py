"""Up- and down-sampling: weights come from index arithmetic, and are read off the operation itself."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.lines import ENTRY_ERROR, interpolation_line
from robspec.lipschitz.rounding.absolute import line_norm
from robspec.lipschitz.rounding.charge import Asked, Charge, Term
from robspec.lipschitz.rules.resample import ramps, scales_of

_NEAREST = tuple(
    f"{prefix}upsample_nearest{kind}{d}d" for prefix, kind in (("", ""), ("_", "_exact")) for d in (1, 2, 3)
)
_SMOOTH = ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d")
OPERATIONS = (*_NEAREST, *_SMOOTH)


def charge(asked: Asked) -> Charge:
    """Charge the difference between the weights as computed and as defined, and the sums they are used in.

    Raises:
        NoRoundingRule: nearest resampling takes other pixels in float64 than in float32.
    """
    call, source = asked.call, asked.source
    sides = int(call.name[-2])
    if call.name in _NEAREST:
        if not _same_pixels(asked, sides):
            raise asked.refuse("the pixels it takes differ between float32 and float64")
        return asked.one(0.0)
    if max(*source.shape[-sides:], *asked.value.shape[-sides:]) >= 1 << 12:
        raise asked.refuse("a side of 4096 or more is not covered")
    given = scales_of(call, sides)
    whole, exact, taps = 1.0, 1.0, 4 if "bicubic" in call.name else 2
    for axis in range(sides):
        side, outputs = source.shape[axis - sides], asked.value.shape[axis - sides]
        defined = interpolation_line(
            side,
            outputs,
            cubic="bicubic" in call.name,
            align=call.get("align_corners") is True,
            scale=given[axis],
        )
        computed = _line(asked, sides, axis, side, outputs)
        apart = (computed - defined).abs()
        norm = directed.add(line_norm(defined), 2.0 * taps * ENTRY_ERROR)
        error = directed.add(line_norm(apart), 2.0 * taps * (ENTRY_ERROR + asked.precision.unit))
        whole, exact = directed.mul(whole, directed.add(norm, error)), directed.mul(exact, norm)
    weights = max(directed.ceil_float(Fraction(whole) - Fraction(exact)), 0.0)
    sums = directed.mul(asked.precision.gamma(taps**sides + 2 * sides + 4), whole)
    lost = asked.everywhere(float(taps**sides) * asked.precision.tiny)
    return Charge((Term(source, asked.gain(), directed.add(weights, sums)),), lost, "weights of resampling")


def _run(asked: Asked, images: torch.Tensor, named: dict[str, object] | None = None) -> torch.Tensor:
    """Run the operation itself on other images, with other arguments in the place of those named."""
    call = asked.call
    first = next(iter(call.arguments))
    rest = {name: call.get(name) for name in call.arguments if name != first} | (named or {})
    found: torch.Tensor = call.node.target(images, **rest)  # type: ignore[operator]
    return found


def _line(asked: Asked, sides: int, axis: int, side: int, outputs: int) -> torch.Tensor:
    """Read the weights along one axis off one-hot inputs, the other axes being as short as they can be.

    Along the others weights add up to 1 within a rounding or two, which the sums are charged for.
    """
    given = scales_of(asked.call, sides)
    sized = bool(asked.call.get("output_size"))
    # Where the size follows from a factor below 1, what is resampled must leave a pixel.
    shortest = [1 if sized or not s or s >= 1 else math.ceil(1 / s) for s in given]
    hot = torch.eye(side, dtype=asked.dtype).reshape(side, 1, *(side if k == axis else 1 for k in range(sides)))
    lengths = [side if k == axis else shortest[k] for k in range(sides)]
    named: dict[str, object] = {}
    if sized:
        named["output_size"] = [outputs if k == axis else 1 for k in range(sides)]
    found = _run(asked, hot.expand(side, 1, *lengths).contiguous(), named).to(torch.float64)
    where = (slice(None), 0, *(slice(None) if k == axis else slice(1) for k in range(sides)))
    return found[where].reshape(side, outputs).T


def _same_pixels(asked: Asked, sides: int) -> bool:
    """Whether nearest resampling takes the same pixels in both element types and in every memory layout."""
    shape = list(asked.source.shape[-sides:])
    taken = [_run(asked, ramp)[0, 0].double() for ramp in ramps(math.prod(shape), shape)]
    return all(torch.equal(found, taken[0]) for found in taken)
