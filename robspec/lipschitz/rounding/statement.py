"""What a verdict is about: the function over the reals, or the float32 program; and what either costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from robspec.function.program import AnyProgram
from robspec.ir.types import Program
from robspec.lipschitz.rounding.images import box_of
from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE, Precision
from robspec.lipschitz.rounding.recursion import Box, Rounding
from robspec.semantics.norm import directed_text

_REAL = "arithmetic: about the function over the reals; logits in float64 are within {} of it (l2), proved"
_DEPLOYED = (
    "arithmetic: about the float32 program, for every image in range, rounded to float32: its logits are within {} "
    "of those in float64 (l2), proved for sums in any order, fused or not, rounded to nearest"
)
_ELEMENTARY = ", taking elementary functions to err by no more than several times what was seen of them"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement about rounded logits.

    Args:
        kind: "real" or "deployed".
        delta: of the l2 norm of what float64 logits of one image may be off by.
        assumes: whether the error of an elementary function is taken for granted.
        boxes: of what any coordinate of a detector's boxes may be off by, in pixels; 0 where boxes are as computed.
    """

    kind: str
    delta: Fraction
    assumes: bool
    boxes: Fraction = Fraction(0)

    @property
    def said(self) -> str:
        """The line of a report."""
        text = _DEPLOYED if self.kind == "deployed" else _REAL
        return text.format(directed_text(self.delta, 12, up=True)) + (_ELEMENTARY if self.assumes else "")


Prove = Callable[[AnyProgram, Box, Precision], Rounding]


def state(program: Program, graph: AnyProgram, kind: str, prove: Prove, boxes: AnyProgram | None = None) -> Statement:
    """Bound how far float64 logits may be from those a verdict is about.

    Args:
        program: the compiled specification.
        graph: the exported program the logits come from.
        kind: "real", or "deployed": then float32 logits of any image in range are compared with the function's, and
            these with float64 logits of the clean image.
        prove: bounds the rounding of one precision.
        boxes: of a detector, the exported program its boxes come from; else None.

    Raises:
        RobspecError: as `recursion.bound`.
    """
    precisions = (DOUBLE, SINGLE) if kind == "deployed" else (DOUBLE,)

    def of(part: AnyProgram) -> list[Rounding]:
        return [prove(part, box_of(program, precision), precision) for precision in precisions]

    found, places, detector = of(graph), list[Rounding](), program.model.detector
    if boxes is not None and detector is not None and (detector.match, detector.boxes) == ("overlap", "proved"):
        places = of(boxes)
    deltas = (sum((Fraction(r.delta) for r in each), Fraction(0)) for each in (found, places))
    scores_off, boxes_off = deltas
    return Statement(kind, scores_off, any(r.assumes for r in (*found, *places)), boxes_off)
