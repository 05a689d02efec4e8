"""The Lipschitz constant a certificate stands on, and how far it has been proved."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from fractions import Fraction

from robspec.semantics.norm import Norm, decimal_text, directed_text
from robspec.semantics.powers import is_short, power_above


class ConstantStatus(enum.Enum):
    """Whether a constant follows from the model's graph or is taken on trust, or samples take its place."""

    PROVED = "proved"
    ASSUMED = "assumed"
    SAMPLED = "sampled"


@dataclass(frozen=True, slots=True)
class Constant:
    """An upper bound L with ||f(x) - f(x')||_q <= L ||x - x'||_p, image to logits, normalisation included.

    Args:
        value: L, exact; already rounded up where it was computed in floating point.
        input_norm: p.
        output_norm: q.
        status: proved from the graph, or assumed.
        note: one line on where it comes from (a conversion between norms, a claim that was not met, ...).
        boxes: of a detector whose boxes are proved: a constant of every coordinate of every box; else 0.
        assuming: what else a proof takes for granted, such as frozen boxes; empty for nothing.
        chance: the probability with which what is sampled is right; empty where nothing is.
        rounding: what computed logits may be off by in the norm q, rounded up; 0 where they are taken as exact.
        coarse: of a network that ends in a fixed up-sampling, a proved constant of the logits before it, in the same
            norms, normalisation included; None where bounds do not look at these.
        coarse_rounding: what computed coarse logits may be off by in l2, rounded up; 0 where they are taken as exact.
        boxes_rounding: what a computed coordinate of a box may be off by, rounded up; 0 where it is taken as exact.
    """

    value: Fraction
    input_norm: Norm
    output_norm: Norm
    status: ConstantStatus
    note: str = ""
    boxes: Fraction = Fraction(0)
    assuming: str = ""
    chance: str = ""
    rounding: Fraction = Fraction(0)
    coarse: Fraction | None = None
    coarse_rounding: Fraction = Fraction(0)
    boxes_rounding: Fraction = Fraction(0)

    def refuse_samples(self) -> None:
        """Stop where what samples stand for would be taken for a constant of a model.

        Raises:
            ValueError: it is none.
        """
        if self.status is ConstantStatus.SAMPLED:
            raise ValueError("samples give no Lipschitz constant")

    @property
    def qualifier(self) -> str:
        """The words a verdict must carry: empty for a proved constant."""
        if self.status is ConstantStatus.SAMPLED:
            return f" with probability {self.chance}"
        taken = [] if self.status is ConstantStatus.PROVED else [f"L <= {self.text} (not proved)"]
        taken += [self.assuming] if self.assuming else []
        return f", assuming {' and '.join(taken)}" if taken else ""

    @property
    def text(self) -> str:
        """The value as shown: exact where short, else rounded up to nine decimals."""
        exact = decimal_text(self.value)
        return exact if len(exact) <= 12 and "/" not in exact else directed_text(self.value, 9, up=True)

    def for_input_norm(self, norm: Norm, dimension: int) -> Constant:
        """Answer a question in another input norm through the best valid comparison of norms.

        Args:
            norm: the attack's norm p.
            dimension: number of input entries d.

        Returns:
            A constant for p, multiplied by d^max(0, 1/r - 1/p) rounded up, whose note states the factor.

        Source: MATH.md section 5.
        """
        if norm == self.input_norm:
            return self
        r = Fraction(0) if self.input_norm.p is None else 1 / self.input_norm.p
        p = Fraction(0) if norm.p is None else 1 / norm.p
        factor = power_up(dimension, max(Fraction(0), r - p))
        text = f"||.||_{self.input_norm} <= {directed_text(factor, 3, up=True)} ||.||_{norm} on {dimension} inputs"
        note = f"{self.note}; {text}" if self.note else text
        coarse = None if self.coarse is None else self.coarse * factor
        value, boxes = self.value * factor, self.boxes * factor
        return replace(self, value=value, boxes=boxes, coarse=coarse, input_norm=norm, note=note)


def power_up(base: int, exponent: Fraction) -> Fraction:
    """Bound base^exponent from above by a double.

    Args:
        base: positive integer.
        exponent: non-negative rational a / b.

    Returns:
        The smallest double v near the power with v^b >= base^a, decided in integers where a and b are small.
    """
    if not is_short(exponent):
        return Fraction(power_above(Fraction(base), exponent))
    target = base**exponent.numerator
    value = float(base) ** float(exponent)
    while Fraction(value) ** exponent.denominator < target:
        value = math.nextafter(value, math.inf)
    return Fraction(value)
