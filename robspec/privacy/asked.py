"""What a rule of gradients is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from robspec.function.nodes import arguments
from robspec.lipschitz import directed
from robspec.lipschitz.asked import AskedNode
from robspec.lipschitz.norms import operator_norm
from robspec.lipschitz.values import Value
from robspec.privacy.errors import NoSensitivity
from robspec.semantics.norm import L2

MEND = "use an operation with a rule: docs/explanation/privacy.md lists them"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What weights are kept within by whoever trains them, in place of the ones stored in the archive.

    Args:
        operator: l2 norm that no layer exceeds as a linear map, rounded up.
        shift: l2 norm that no bias exceeds as a vector, rounded up.
    """

    operator: float
    shift: float


@dataclass(frozen=True, slots=True)
class Share:
    """How a parameter's gradient follows from the gradient of the node that reads it.

    Args:
        parameter: dotted name.
        factor: the l2 norm of its gradient is at most so many times that of the node's output, rounded up.
        what: the factor in words.
    """

    parameter: str
    factor: float
    what: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a rule answers of one node, for every image within the bound.

    Args:
        back: per input that depends on the image, what the backward pass multiplies the l2 norm of the output's
            gradient by at most, rounded up; an input that occurs twice stands here twice.
        forward: bound on the l2 norm of the output, rounded up.
        shares: one for each parameter the node reads.
    """

    back: tuple[tuple[Value, float], ...]
    forward: float
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, eq=False)
class Asked(AskedNode):
    """One node as a rule of gradients sees it.

    Args:
        call: the node with its arguments, as the rule of its constant saw it.
        value: the output that counts.
        sizes: bounds of the l2 norms of earlier values.
        owners: dotted names of trained parameters by placeholder.
        envelope: what parameters are kept within; None for those stored.
    """

    sizes: Mapping[Value, float]
    owners: Mapping[str, str]
    envelope: Envelope | None

    def refuse(self, what: str, mend: str = MEND) -> NoSensitivity:
        """Build the refusal of a node without a bound on its gradient."""
        return NoSensitivity(self.call.where, f"the gradient through {self.call.name} has no bound: {what}", mend)

    def parameter(self, name: str) -> str:
        """Return the dotted name of the trained parameter that an argument is, empty for any other."""
        found = next((item for key, _, item in arguments(self.call.node) if key == name), None)
        return self.owners.get(found.name, "") if isinstance(found, fx.Node) else ""

    def operator(self, parameter: str) -> float:
        """Bound the l2 norm of the node's linear part, of the envelope where a trained parameter decides it."""
        if parameter and self.envelope is not None:
            return self.envelope.operator
        own = self.value.step.own
        if own is None:
            raise self.refuse("it is not written as one matrix at every position")
        return operator_norm(own, L2)

    def shift(self, constant: object, parameter: str, repeats: float) -> float:
        """Bound the l2 norm of what is added to one sample's output.

        Args:
            constant: a tensor or number, broadcast to the output; None for nothing.
            parameter: its dotted name where it is trained.
            repeats: how often each entry occurs in the output.

        Returns:
            The norm, rounded up.
        """
        if constant is None:
            return 0.0
        if parameter and self.envelope is not None:
            return directed.mul(self.envelope.shift, directed.sqrt(repeats))
        tensor = torch.as_tensor(constant).detach().to(torch.float64).reshape(-1)
        if not bool(torch.isfinite(tensor).all()):
            raise self.refuse("a constant that is added is not finite")
        return directed.mul(directed.stack(tensor.abs().tolist(), L2), directed.sqrt(repeats))

    def occurrences(self, constant: object) -> float:
        """Count how often each entry of a constant occurs in one sample's output, rounded up."""
        numel = constant.numel() if isinstance(constant, torch.Tensor) else 1
        return float(-(-self.entries // max(1, numel)))

    def one(self, gain: float, shift: float = 0.0) -> Effect:
        """Answer for a node of one input that multiplies norms by at most `gain`, both ways, and adds `shift`."""
        source = self.source
        return Effect(((source, gain),), directed.add(directed.mul(gain, self.sizes[source]), shift))
