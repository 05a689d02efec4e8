"""Proofs made anew, of networks whose numbers stay within their type's range alone."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch

from robspec.function.errors import NotFinite
from robspec.function.program import AnyProgram
from robspec.ir.types import Program
from robspec.lipschitz import directed
from robspec.lipschitz.derivation import Derivation
from robspec.lipschitz.overflow import overflowing
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import Norm

_STORED = Fraction(1, 2**20)
"""What a stored pixel may be off by when it is brought to its range and rounded, as a share of the largest."""


def afresh(program: Program, *, wide: bool) -> Callable[[AnyProgram, Norm, Norm], Derivation]:
    """Give a prover that keeps nothing and believes nothing that was kept.

    Args:
        program: says what images may hold.
        wide: whether the network is run in float64.

    Returns:
        A prover, which raises NotFinite (E0505) where what runs may not be the function that is proved about.
    """
    middle, radius = _box(program)

    def proved(graph: AnyProgram, input_norm: Norm, output_norm: Norm) -> Derivation:
        found = prove(graph, input_norm=input_norm, output_norm=output_norm)
        node = overflowing(graph, found, middle, radius, wide=wide)
        if node is not None:
            what = "numbers there may leave the range of their type for some image in range"
            raise NotFinite(f"node {node}", what, "another function may run than is proved about: check the model")
        return found

    return proved


def _box(program: Program) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half width of the range of every channel, as the network takes it, rounded up."""
    low, high, normalize = program.model.low, program.model.high, program.model.normalize
    channels = program.model.input_shape[0]
    means = (Fraction(0),) * channels if normalize is None else normalize.mean
    deviations = (Fraction(1),) * channels if normalize is None else normalize.std
    middles, radii = [], []
    for mean, deviation in zip(means, deviations, strict=True):
        middle = float(((low + high) / 2 - mean) / deviation)
        ends = [abs((end - mean) / deviation - Fraction(middle)) for end in (low, high)]
        off = (max(abs(low), abs(high)) + abs(mean)) / deviation * _STORED
        middles.append(middle)
        radii.append(directed.ceil_float(max(ends) + off))
    return torch.tensor(middles, dtype=torch.float64), torch.tensor(radii, dtype=torch.float64)
