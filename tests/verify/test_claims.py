"""A declared constant is refuted by images of the declared range alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robspec.lower import compile_text
from robspec.verify.constant import establish
from robspec.verify.result import Verdict
from tests.lipschitz.conftest import _export

SPEC = """language 1
model {{
  input image [2, 2, 2] in [0, 1]
  output logits [2, 2, 2]
  classes a, b
  normalize mean {mean} std [1, 1]
  lipschitz l2 -> l2 <= 0.5
}}
data d {{
  images "i/*.png"
}}
property p {{
  metric stability
  norm l2
  budget 1
  require mean(worst_case) >= 0
}}
"""


@pytest.mark.parametrize(
    ("mean", "verdict"), [("[0, 10]", Verdict.UNKNOWN), ("[0.5, 0.5]", Verdict.REFUTED)], ids=["apart", "shared"]
)
def test_channels_without_a_common_range_refute_nothing(mean: str, verdict: Verdict) -> None:
    """The first channel has a slope only below 0; with means 0 and 10 no image of the range gets there."""

    def logits(x: Any) -> Any:
        return torch.cat([x[:, :1].clamp(max=0), 0.1 * x[:, 1:]], 1)

    program, diagnostics = compile_text(SPEC.format(mean=mean))
    assert program is not None, diagnostics
    (claim,) = establish(program, _export(logits, (2, 2, 2)), assume=None).claims
    assert claim.verdict is verdict
