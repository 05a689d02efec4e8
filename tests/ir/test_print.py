"""The readable form of a program, line by line."""

from __future__ import annotations

from fractions import Fraction

import pytest

from robspec.ir.print import text, threshold_text
from robspec.lower import compile_text
from robspec.semantics.objective import Threshold

SPEC = """language 1
param eps = 8/255
model {
  input image [3, 4, 5] in [0, 1]
  output logits [1, 4, 5]
  classes sky, "landing zone"
  normalize mean [0.5, 0.25, 1/3] std [0.5, 0.5, 0.5]
  lipschitz l2 -> linf <= 2.001
}
data val {
  images "i/*.png"
  masks "m/*.png" binary
}
property curve {
  metric pixel_accuracy
  norm linf
  budget 0 to eps points 5
  require mean(worst_case) >= 0.75 with confidence 99%
  require worst_case > 0.4 for all images
}
property relative {
  metric pixel_accuracy
  norm l(1.5)
  degraded when (h <= 0.9 * h0 or h < 0.2) and stability <= 0.5
  require quantile(0.05, radius) >= 0.3
  require radius >= 0.3 for 95% of images
}
property swept {
  metric stability
  norm l1
  degraded when h <= 0.1 to 0.3 points 3
  require min(radius) >= eps
}
"""

PRINTED = """program, language 1
param eps = 8/255
model
  input image: 3 x 4 x 5 in [0, 1]
  output logits: 1 x 4 x 5
  classes: 0 sky, 1 landing zone
  normalize: (x - [0.5, 0.25, 1/3]) / [0.5, 0.5, 0.5]
  claim: Lipschitz, l2 to linf, <= 2.001
data val
  images: "i/*.png"
  masks: "m/*.png", binary
property curve
  query: smallest pixel_accuracy under every attack of linf norm
    <= 0, 2/255, ..., 8/255 (5 points)
  require: mean(worst_case) >= 0.75 with confidence 0.99
  require: worst_case > 0.4 for all images
property relative
  query: largest radius in l(1.5) within which no attack reaches
    (pixel_accuracy <= 0.9 * clean(pixel_accuracy) or pixel_accuracy < 0.2) and stability <= 0.5
  require: quantile(0.05, radius) >= 0.3
  require: radius >= 0.3 for a fraction 0.95 of images
property swept
  query: largest radius in l1 within which no attack reaches
    stability <= 0.1
    and so on for 0.1, 0.2, 0.3
  require: min(radius) >= 8/255
"""


def test_a_program_as_text() -> None:
    program, diagnostics = compile_text(SPEC)
    assert diagnostics == ()
    assert program is not None
    assert text(program) == PRINTED


@pytest.mark.parametrize(
    ("offset", "slope", "shown"),
    [
        ("0.5", "0", "0.5"),
        ("0", "1", "c"),
        ("0", "-1", "-c"),
        ("0", "-0.5", "-0.5 * c"),
        ("-0.1", "1", "c - 0.1"),
        ("0.1", "0.9", "0.1 + 0.9 * c"),
        ("1", "-0.9", "1 - 0.9 * c"),
        ("-1", "-0.9", "-1 - 0.9 * c"),
    ],
)
def test_thresholds(offset: str, slope: str, shown: str) -> None:
    assert threshold_text(Threshold(Fraction(offset), Fraction(slope)), "c") == shown
