"""Thresholds of degradation objectives (MATH.md 3.G): a bound on h that may depend on the clean value h0."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound on a metric that may depend on the clean value h0 of the same metric: offset + slope * h0.

    Args:
        offset: exact constant term, in the metric's own sense.
        slope: exact factor of the clean value h0.
    """

    offset: Fraction
    slope: Fraction = Fraction(0)

    def at(self, clean: Fraction) -> Fraction:
        """Evaluate the threshold for an image whose clean metric value is `clean`."""
        return self.offset + self.slope * clean
