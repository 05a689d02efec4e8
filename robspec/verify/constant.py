"""Which Lipschitz constant a check may stand on."""

from __future__ import annotations

from fractions import Fraction

from robspec.ir.types import Program
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.errors import NoConstantError


def assumed(program: Program, assume: Fraction | None) -> Constant:
    """Take the constant on trust: from the command line, else from the specification's claim.

    Args:
        program: the compiled specification.
        assume: value of `--assume-lipschitz`, l2 to l2, or None.

    Returns:
        An assumed constant; every verdict resting on it says so.

    Raises:
        NoConstantError: neither is given (E0403).
    """
    if assume is not None:
        return Constant(assume, L2, L2, ConstantStatus.ASSUMED, "from --assume-lipschitz")
    claim = program.model.claim
    if claim is None:
        raise NoConstantError(
            "the model block",
            "the specification declares no Lipschitz constant, so nothing can be certified",
            "declare `lipschitz l2 <= c` in the model block, or pass --assume-lipschitz c",
        )
    return Constant(
        claim.value, claim.input_norm, claim.output_norm, ConstantStatus.ASSUMED, "the specification's claim"
    )
