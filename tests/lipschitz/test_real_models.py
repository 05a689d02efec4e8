"""The published orthogonal DeepLabV3: both claims decided, within the stated time and memory."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from robspec.lipschitz.measure import measure
from robspec.lipschitz.pair import ClaimStatus, decide_claim
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L2

KVASIR = Path(__file__).resolve().parents[3] / "shared" / "data" / "kvasir"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not KVASIR.is_dir(), reason="the research-use data is not beside this checkout"),
]


@pytest.mark.parametrize(
    ("name", "claim", "limit"),
    [("unit", "1", "1.0001"), ("raw", "6.53197", "6.5327")],
)
def test_the_published_claims(name: str, claim: str, limit: str) -> None:
    program = torch.export.load(KVASIR / f"lipnet_deeplabv3_s_{name}.pt2")
    start = time.process_time()
    proved = prove(program, input_norm=L2, output_norm=L2)
    assert time.process_time() - start < 40
    assert proved.value <= Fraction(limit)
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.1)
    assert 0 < pair.lower < proved.bound
    assert decide_claim(Fraction(claim), proved, pair) is not ClaimStatus.REFUTED
    linear = [row for row in proved.rows if row.rule != "cat" and len(row.members) > 1]
    assert len(linear) > 10
    assert any(row.grouping_gain > 1.005 for row in proved.rows)
