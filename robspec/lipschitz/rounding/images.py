"""The images of a specification, as bounds of rounding see them."""

from __future__ import annotations

from fractions import Fraction

from robspec.ir.types import Program
from robspec.lipschitz import directed
from robspec.lipschitz.rounding.precision import DOUBLE, Precision
from robspec.lipschitz.rounding.recursion import Box


def stored_off(largest: Fraction) -> Fraction:
    """How far a pixel as it is read may be from what its file means.

    A stored number is brought to its range exactly, rounded to float64, and from there to float32. No result of
    either leaves the numbers up to the next power of two above the range, 2^e, which lie 2^(e - 53) and 2^(e - 24)
    apart at most; what is rounded to nearest is off by half of that.

    Args:
        largest: absolute value of a pixel, > 0.

    Returns:
        2^(e - 25) + 2^(e - 54), and as much as where numbers are subnormal, 2^-150 and 2^-1075, together.
    """
    power = Fraction(1)
    while power < largest:
        power *= 2
    while power / 2 >= largest:
        power /= 2
    return power / 2**25 + power / 2**54 + Fraction(1, 2**149)


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
    stored = stored_off(largest)
    middles, radii, given = [], [], []
    for mean, deviation in zip(means, deviations, strict=True):
        lowest, highest = (low - mean) / deviation, (high - mean) / deviation
        middle = float((lowest + highest) / 2)
        reach = max(highest - Fraction(middle), Fraction(middle) - lowest)
        off = stored / deviation
        off += (largest + abs(mean)) / deviation * Fraction(precision.gamma(8))
        middles.append(middle)
        given.append(directed.ceil_float(off))
        # A range such as 0 to 0.1 has no float32 of its own; its rounding belongs to it.
        radii.append(directed.ceil_float(reach + off))
    return Box(tuple(middles), tuple(radii), tuple(given))
