"""The Lipschitz constant a certificate stands on, and how far it has been proved."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction

from robspec.semantics.norm import Norm


class ConstantStatus(enum.Enum):
    """Whether a constant follows from the model's graph or is taken on trust."""

    PROVED = "proved"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Constant:
    """An upper bound L with ||f(x) - f(x')||_q <= L ||x - x'||_p, image to logits, normalisation included.

    Args:
        value: L, exact; already rounded up where it was computed in floating point.
        input_norm: p.
        output_norm: q.
        status: proved from the graph, or assumed.
        note: one line on where it comes from (a conversion between norms, a claim that was not met, ...).
    """

    value: Fraction
    input_norm: Norm
    output_norm: Norm
    status: ConstantStatus
    note: str = ""

    @property
    def qualifier(self) -> str:
        """The words a verdict must carry: empty for a proved constant."""
        if self.status is ConstantStatus.PROVED:
            return ""
        return f", assuming L <= {float(self.value):.10g} (not proved)"
