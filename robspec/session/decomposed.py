"""How much of the gap between certified and attained is the constant: the same bounds at a measured slope."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from robspec.ir.types import Program
from robspec.kernels.knapsack import Backend
from robspec.lipschitz.measure import measure
from robspec.models.loading import LoadedModel
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.verify.constant import scales, search_range
from robspec.verify.established import Established
from robspec.verify.result import PropertyResult
from robspec.verify.run import ImageSource, check

_IMAGES = 4
_SECONDS = 2.0


def at_measured(
    program: Program,
    model: LoadedModel,
    data: ImageSource,
    backend: Backend,
    established: Established,
    images: Iterable[npt.NDArray[np.floating]],
    size: int,
) -> tuple[dict[str, Fraction], tuple[PropertyResult, ...]]:
    """Evaluate every bound once more, as if the network moved no faster anywhere than where it was looked at.

    Nothing is certified by it: the true constant may lie anywhere between the measured slope and the proved one.

    Args:
        program: the compiled specification.
        model: the model.
        data: the images.
        backend: computes bounds.
        established: the proved constants.
        images: normalised ones, from the first few of which power iteration starts.
        size: images per batch.

    Returns:
        By property the measured slope, rounded down and at most the proved constant; and the results at it. Only
        properties that stand on a proved constant.

    Source: MATH.md section 5, for the measurement by power iteration on v <- J' J v.
    """
    searched = search_range(program)
    pairs = [
        (p, c)
        for p, c in zip(program.properties, established.constants, strict=True)
        if p.smoothing is None and c.status is ConstantStatus.PROVED
    ]
    if searched is None or not pairs:
        return {}, ()
    starts = tuple(itertools.islice(images, _IMAGES))
    slopes: dict[Constant, Fraction] = {}
    for _, constant in pairs:
        if constant not in slopes:
            pair = measure(
                model.program,
                input_norm=constant.input_norm,
                output_norm=constant.output_norm,
                images=starts,
                input_range=searched,
                seconds=_SECONDS,
            )
            slopes[constant] = min(constant.value, Fraction(pair.lower) / scales(program.model.normalize)[1])
    at = tuple(replace(c, value=slopes[c], coarse=None) for _, c in pairs)
    asked = replace(program, properties=tuple(p for p, _ in pairs))
    report = check(asked, model, data, backend, replace(established, constants=at), batch_size=size)
    return {p.name: slopes[c] for p, c in pairs}, report.properties
