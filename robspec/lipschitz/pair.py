"""A stored pair of images and what it shows about a Lipschitz constant (torch-free)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from robspec.errors import SoundnessAlarm
from robspec.lipschitz.derivation import Derivation
from robspec.semantics.norm import Norm


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images and the ratio of their distances, as evaluated.

    Args:
        first: x, shape (1, ...), in the model's element type.
        second: x', the same.
        ratio: ||f(x) - f(x')||_q / ||x - x'||_p, evaluated in float64.
        lower: the ratio less the rounding allowance, rounded down; 0 if nothing was found.
        allowance: bound granted to the float64 evaluation of the numerator.
        input_norm: p.
        output_norm: q.
        evaluations: how many forward passes were spent.
    """

    first: npt.NDArray[np.floating]
    second: npt.NDArray[np.floating]
    ratio: float
    lower: float
    allowance: float
    input_norm: Norm
    output_norm: Norm
    evaluations: int


class ClaimStatus(enum.Enum):
    """What is known of a declared constant."""

    PROVED = "PROVED"
    UNKNOWN = "UNKNOWN"
    REFUTED = "REFUTED"


def decide_claim(claim: Fraction, derivation: Derivation, pair: Pair | None) -> ClaimStatus:
    """Decide a claim L: proved by the derivation, refuted by the pair, or neither.

    Args:
        claim: the declared constant, exact.
        derivation: the proved upper bound.
        pair: a measured pair in the same norms, if any.

    Returns:
        PROVED if the proved bound is at most the claim; REFUTED if the pair exceeds the claim beyond
        rounding.

    Raises:
        ValueError: the pair was measured in other norms.
        SoundnessAlarm: the pair exceeds the proved bound.

    Source: MATH.md section 5.
    """
    if pair is not None:
        if (pair.input_norm, pair.output_norm) != (derivation.input_norm, derivation.output_norm):
            raise ValueError("the pair was measured in other norms than the constant was proved in")
        if Fraction(pair.lower) > derivation.value:
            raise SoundnessAlarm(
                "the Lipschitz prover",
                f"a pair of images has ratio {pair.lower:.12g}, above the proved bound {derivation.bound:.12g}",
                "keep the model and the pair, and report them",
            )
    if derivation.value <= claim:
        return ClaimStatus.PROVED
    if pair is not None and Fraction(pair.lower) > claim:
        return ClaimStatus.REFUTED
    return ClaimStatus.UNKNOWN
