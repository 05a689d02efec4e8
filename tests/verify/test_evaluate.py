"""Combined objectives on images where a part is undefined."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from robspec.bounds.context import Context
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.decide import decide
from robspec.verify.evaluate import BatchEvaluator
from robspec.verify.result import Verdict

SPEC = """language 1
model {{
  input image [3, 1, 4] in [0, 1]
  output logits [3, 1, 4]
  classes a, b, c
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
}}
property p {{
  norm l2
  degraded when {condition}
  require radius >= 0.1 for all images
}}
"""


@pytest.mark.parametrize(
    ("condition", "certified", "verdict"),
    [
        ("pixel_accuracy <= 0.75 or iou[c] <= 0.5", 0, Verdict.UNKNOWN),
        ("iou[c] <= 0.5 or pixel_accuracy <= 0.75", 0, Verdict.UNKNOWN),
        ("pixel_accuracy <= 0.75 and iou[c] <= 0.5", None, Verdict.UNKNOWN),
        ("pixel_accuracy < 0 and iou[c] <= 0.5", math.inf, Verdict.PROVED),
        ("pixel_accuracy <= 1 or iou[c] <= 0.5", 0, Verdict.REFUTED),
    ],
)
def test_a_tie_decides_beside_an_undefined_part(condition: str, certified: object, verdict: Verdict) -> None:
    """One of four pixels is tied: an attack of size 0 takes it, but the clean image is right everywhere."""
    program, diagnostics = compile_text(SPEC.format(condition=condition))
    assert program is not None, diagnostics
    logits = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]]).T.reshape(1, 3, 1, 4)
    context = Context(backends()["cpu"], logits, torch.zeros(1, 1, 4, dtype=torch.int64), None)
    prop = program.properties[0]
    found = BatchEvaluator(context, ["x"]).answer(prop, Constant(Fraction(1), L2, L2, ConstantStatus.PROVED))
    assert found[0].certified == (certified,)
    assert decide(prop, prop.requirements[0], found, 0, 1, complete=True).verdict is verdict
