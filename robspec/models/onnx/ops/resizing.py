"""Resizing: the ways of ONNX that torch has too, and the nearest places by their definition."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call, axes

_KINDS = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}


def _resize(call: Call) -> Tensor:
    data = call.data()
    upsample = call.node.operator == "Upsample"
    mode = call.option("mode", "nearest")
    way = "asymmetric" if upsample else call.option("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if upsample else call.option("nearest_mode", "round_prefer_floor")
    if call.option("keep_aspect_ratio_policy", "stretch") != "stretch" or call.option("exclude_outside", 0):
        raise call.refused("it keeps the aspect ratio, or leaves out what is outside")
    call.option("extrapolation_value", 0.0)
    cubic = call.option("cubic_coeff_a", -0.75)
    scales = call.numbers(1 if upsample else 2)
    asked = None if upsample else call.numbers(3)
    rank = data.dim()
    named = list(call.option("axes", (0,))) if call.given("axes") else list(range(rank))
    chosen = axes(named, rank)
    factors = {axis: scales[i] for i, axis in enumerate(chosen)} if scales else {}
    sides = {axis: asked[i] for i, axis in enumerate(chosen)} if asked else {}
    if any(factors.get(i, 1) != 1 for i in (0, 1)) or (1 in sides and sides[1] != data.shape[1]):
        raise call.refused("it resizes the batch or the channels")
    before = [int(side) for side in data.shape[2:]]
    after = [_side(before[i - 2], factors.get(i), sides.get(i)) for i in range(2, rank)]
    stretch = [_stretch(before[i - 2], factors.get(i), sides.get(i)) for i in range(2, rank)]
    smooth = bool(call.option("antialias", 0))
    if mode == "nearest":
        if smooth:
            raise call.refused("it smooths what it takes the nearest of")
        return _nearest(call, data, after, stretch, way, rounding)
    if mode not in _KINDS or rank not in _KINDS[mode]:
        raise call.refused(f"its mode is {mode[:40]!a} of {rank - 2} sides")
    if mode == "cubic" and cubic != -0.75:
        raise call.refused("its cubic coefficient is not that of torch")
    if smooth and any(s < 1 for s in stretch):
        # Towards the border ONNX repeats pixels where torch leaves them out; torch's cubic has another coefficient.
        raise call.refused("it smooths while it shrinks, and torch weighs pixels near the border otherwise")
    if before == after:
        return data
    corners = way == "align_corners"
    # Both take the middles of pixels; they differ where one pixel is left.
    middles = way == "half_pixel" or (way == "pytorch_half_pixel" and min(after) > 1)
    if not (corners or middles):
        raise call.refused(f"torch has no coordinates of the kind {way[:40]!a} for the mode {mode}")
    kind = _KINDS[mode][rank]
    exact = all(Fraction(b) * s == a for b, a, s in zip(before, after, stretch, strict=True))
    if corners or exact:
        return functional.interpolate(data, size=after, mode=kind, align_corners=corners)
    factor = [float(s) for s in stretch]
    return functional.interpolate(data, scale_factor=factor, mode=kind, align_corners=False)


def _side(before: int, factor: float | None, side: int | None) -> int:
    if side is not None:
        return int(side)
    return before if factor is None else math.floor(before * factor)


def _stretch(before: int, factor: float | None, side: int | None) -> Fraction:
    if side is not None:
        return Fraction(int(side), before)
    return Fraction(1) if factor is None else Fraction(factor)


def _nearest(call: Call, data: Tensor, after: list[int], stretch: list[Fraction], way: str, rounding: str) -> Tensor:
    """Take the nearest pixels, each side on its own."""
    before = [int(side) for side in data.shape[2:]]
    found = [
        [_place(call, i, b, a, s, way, rounding) for i in range(a)]
        for b, a, s in zip(before, after, stretch, strict=True)
    ]
    whole = [
        a % b == 0 and places == [i // (a // b) for i in range(a)]
        for b, a, places in zip(before, after, found, strict=True)
    ]
    if all(whole):
        return data if before == after else functional.interpolate(data, size=after, mode="nearest")
    for i, places in enumerate(found):
        if places != list(range(before[i])):
            data = data.index_select(2 + i, torch.tensor(places))
    return data


def _place(call: Call, index: int, before: int, after: int, scale: Fraction, way: str, rounding: str) -> int:
    """The pixel that one of the result is taken from, exactly.

    Source: the ONNX specification of Resize.
    """
    half = Fraction(1, 2)
    if way == "asymmetric":
        at = index / scale
    elif way == "align_corners":
        at = Fraction(index * (before - 1), after - 1) if after > 1 else Fraction(0)
    elif way == "pytorch_half_pixel" and after == 1:
        at = Fraction(0)
    elif way in ("half_pixel", "pytorch_half_pixel"):
        at = (index + half) / scale - half
    else:
        raise call.refused(f"its coordinates are of the kind {way[:40]!a}")
    if rounding == "floor":
        place = math.floor(at)
    elif rounding == "ceil":
        place = math.ceil(at)
    elif rounding == "round_prefer_floor":
        place = math.ceil(at - half)
    elif rounding == "round_prefer_ceil":
        place = math.floor(at + half)
    else:
        raise call.refused(f"its rounding is of the kind {rounding[:40]!a}")
    return min(max(place, 0), before - 1)


OPERATORS = {"Resize": _resize, "Upsample": _resize}
