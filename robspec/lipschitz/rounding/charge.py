"""What a rule of rounding is asked, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.asked import AskedNode
from robspec.lipschitz.call import Call
from robspec.lipschitz.rounding.errors import NoRoundingRule
from robspec.lipschitz.rounding.precision import Precision
from robspec.lipschitz.values import Value

ASSUMPTION = ", an assumption"
"""What ends the words of a charge that nobody guarantees."""


@dataclass(frozen=True, slots=True)
class Term:
    """How one input of a node enters its error.

    Args:
        source: the input.
        gain: l2 constant of the exact node in this input alone, rounded up.
        relative: what the node adds itself, for each unit of the computed input's l2 norm, rounded up.
    """

    source: Value
    gain: float
    relative: float


@dataclass(frozen=True, slots=True)
class Charge:
    """A bound on the error of one node: ||g~(x~) - g(x)|| <= sum of gain E + relative ||x~||, + absolute.

    Args:
        terms: one for each input that depends on the image.
        absolute: what the node adds whatever its inputs are, l2, rounded up.
        what: where the error comes from, in a few words; empty where the node is exact.
    """

    terms: tuple[Term, ...]
    absolute: float = 0.0
    what: str = ""


@dataclass(frozen=True, eq=False)
class Asked(AskedNode):
    """One node as a rule of rounding sees it.

    Args:
        call: the node with its arguments, as the rule of its constant saw it.
        value: the output that counts.
        precision: the arithmetic it is computed in.
    """

    precision: Precision

    @property
    def dtype(self) -> torch.dtype:
        """The element type of the arithmetic."""
        return torch.float64 if self.precision.name == "float64" else torch.float32

    def refuse(self, what: str) -> NoRoundingRule:
        """Build the refusal of a node without a bound on its rounding error."""
        return refusal(self.call, what)

    def spread(self, constant: torch.Tensor) -> float:
        """Bound the l2 norm of a constant that is broadcast to one image's output.

        Args:
            constant: float64, finite.

        Returns:
            The norm of the largest entry everywhere, or of what is written out; rounded up.
        """
        if constant.numel() == 0:
            return 0.0
        most = float(constant.detach().abs().max())
        everywhere = directed.mul(most, directed.sqrt(float(self.entries)))
        if self.entries % constant.numel():
            return everywhere
        share = directed.sqrt(float(self.entries // constant.numel()))
        return min(everywhere, directed.mul(length(constant.detach().to(torch.float64)), share))

    def everywhere(self, each: float) -> float:
        """The l2 norm of so much in every entry of the output, rounded up."""
        return directed.mul(each, directed.sqrt(float(self.entries)))

    def one(self, relative: float, absolute: float = 0.0, what: str = "") -> Charge:
        """Answer for a node of one input whose error is so much of its norm, and so much besides."""
        return Charge((Term(self.source, self.gain(), relative),), absolute, what)


def refusal(call: Call, what: str) -> NoRoundingRule:
    """Build the refusal of a node without a bound on its rounding error."""
    return NoRoundingRule(
        call.where,
        f"the rounding error of {call.name} has no bound: {what}",
        "write it as operations that have one, or say `--arithmetic exact`",
    )


def length(tensor: torch.Tensor) -> float:
    """Bound the l2 norm of a tensor of finite float64 numbers, rounded up; squares neither vanish nor overflow."""
    most = float(tensor.abs().max()) if tensor.numel() else 0.0
    if most == 0.0:
        return 0.0
    if not math.isfinite(most):
        return math.inf
    # Quotients that underflow are below 2^-1022 of an entry that counts as 1.
    found = float(torch.linalg.vector_norm(tensor.reshape(-1) / most))
    return directed.mul(most, found, 1.0 + 1e-6)
