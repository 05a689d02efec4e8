"""Up- and down-sampling: nearest by counting, linear and cubic by their one-dimensional matrices."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.lines import ENTRY_ERROR, interpolation_line, product_norm
from robspec.lipschitz.values import Step, Value

_NEAREST = tuple(
    f"{prefix}upsample_nearest{kind}{d}d" for prefix, kind in (("", ""), ("_", "_exact")) for d in (1, 2, 3)
)
_SMOOTH = ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d")
OPERATIONS = (*_NEAREST, *_SMOOTH)


def bound(call: Call) -> Step:
    """Bound by the largest multiplicity^(1/r) (nearest), else by the product of the matrices' norms.

    Raises:
        MixedBatch: the batch is resampled.

    Source: MATH.md section 5.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    sides = int(call.name[-2])
    axes = tuple(range(len(value.shape) - sides, len(value.shape)))
    call.passive(value, axes)
    if call.name in _NEAREST:
        return call.scaled(value, directed.root(_most_copies(call, value, axes), call.norm))
    scales = _scales(call, sides)
    matrices = [
        interpolation_line(
            value.shape[axis],
            call.shapes[0][axis],
            cubic="bicubic" in call.name,
            align=call.get("align_corners") is True,
            scale=scale,
        )
        for axis, scale in zip(axes, scales, strict=True)
    ]
    if max(max(value.shape[axis], call.shapes[0][axis]) for axis in axes) >= 1 << 12:
        raise call.refuse("resampling of a side of 4096 or more is not covered by the rounding analysis")
    return call.scaled(value, product_norm(matrices, call.norm, error=ENTRY_ERROR))


def _scales(call: Call, sides: int) -> list[float | None]:
    """Read the scale factors the caller gave, per dimension."""
    listed = call.get("scale_factors")
    if isinstance(listed, list | tuple) and listed:
        return [float(scale) for scale in listed]
    names = ("scales",) if sides == 1 else ("scales_d", "scales_h", "scales_w")[-sides:]
    found = [call.get(name) for name in names]
    return [float(scale) if isinstance(scale, int | float) else None for scale in found]


def _most_copies(call: Call, value: Value, axes: tuple[int, ...]) -> int:
    """Run the node itself on numbered pixels, since its index arithmetic is in floating point, and count.

    The arithmetic differs between element types and memory layouts, so the most copies in any of them count.
    """
    shape = [value.shape[axis] for axis in axes]
    count = int(torch.tensor(shape).prod())
    if count >= 1 << 24:
        raise call.refuse("nearest resampling of 2^24 pixels or more cannot be counted in float32")
    first = next(iter(call.arguments))
    rest = {name: call.get(name) for name in call.arguments if name != first}
    most = 0
    for ramp in ramps(count, shape):
        output = call.node.target(ramp, **rest)  # type: ignore[operator]
        most = max(most, int(torch.bincount(output[0, 0].reshape(-1).to(torch.int64)).max()))
    return most


def ramps(count: int, shape: list[int]) -> Iterator[torch.Tensor]:
    """Numbered pixels in both element types, one channel and several, in every memory layout."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for dtype in (torch.float32, torch.float64):
        ramp = torch.arange(count, dtype=dtype).reshape(1, 1, *shape)
        yield ramp
        wide = ramp.expand(1, 8, *shape)
        yield wide.contiguous()
        if wide.dim() in layouts:
            yield wide.contiguous(memory_format=layouts[wide.dim()])
