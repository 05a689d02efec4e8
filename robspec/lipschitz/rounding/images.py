"""The images of a specification, as bounds of rounding see them."""

from __future__ import annotations

from fractions import Fraction

from robspec.ir.types import Program
from robspec.lipschitz import directed
from robspec.lipschitz.rounding.precision import DOUBLE, Precision
from robspec.lipschitz.rounding.recursion import Box

PIXELS = Fraction(1, 2**23)
"""Stored pixels are brought to their range in float64 and rounded to float32 once; twice that is allowed."""


def box_of(program: Program, precision: Precision = DOUBLE) -> Box:
    """The images of a specification as its network takes them, and how far they may be from what is meant.

    Args:
        program: the compiled specification.
        precision: what images are normalised in.

    Returns:
        Channel by channel, normalised, the range's middle and half its width, and for each entry the rounding of
        stored pixels and of the normalisation; rounded up.
    """
    low, high, normalize = program.model.low, program.model.high, program.model.normalize
    channels = program.model.input_shape[0]
    means = (Fraction(0),) * channels if normalize is None else normalize.mean
    deviations = (Fraction(1),) * channels if normalize is None else normalize.std
    largest = max(abs(low), abs(high))
    middles, radii, given = [], [], []
    for mean, deviation in zip(means, deviations, strict=True):
        lowest, highest = (low - mean) / deviation, (high - mean) / deviation
        middle = float((lowest + highest) / 2)
        reach = max(highest - Fraction(middle), Fraction(middle) - lowest)
        off = largest * PIXELS / deviation
        off += (largest + abs(mean)) / deviation * Fraction(precision.gamma(8))
        middles.append(middle)
        given.append(directed.ceil_float(off))
        # A range such as 0 to 0.1 has no float32 of its own; its rounding belongs to it.
        radii.append(directed.ceil_float(reach + off))
    return Box(tuple(middles), tuple(radii), tuple(given))
