"""The constants that a check stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robspec.semantics.constant import Constant
from robspec.verify.result import ClaimResult

if TYPE_CHECKING:
    from robspec.lipschitz.derivation import Derivation
    from robspec.lipschitz.tail import Tail


@dataclass(frozen=True, slots=True)
class Established:
    """The constants of a check.

    Args:
        constants: one per property, for its norm, image to logits, normalisation included.
        claims: what became of the specification's claim.
        notes: lines for the report.
        proofs: the proof of each property's constant, None where it is assumed; or empty.
        apart: whether it is proved that the logits of an image depend on no other image of the batch.
        arithmetic: what is said of rounding; empty where the forward pass is taken as exact.
        unreal: why that is so where nobody asked for it; else empty.
        tail: the fixed up-sampling that the network ends in, where bounds look at the logits before it; else None.
    """

    constants: tuple[Constant, ...]
    claims: tuple[ClaimResult, ...] = ()
    notes: tuple[str, ...] = ()
    proofs: tuple[Derivation | None, ...] = ()
    apart: bool = True
    arithmetic: str = ""
    unreal: str = ""
    tail: Tail | None = None
