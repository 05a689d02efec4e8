"""The real model on real images: two archives of one network agree image by image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

KVASIR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "kvasir"
SPEC = """language 1
model {{
  input image [3, 256, 256] in [0, 1]
  output logits [2, 256, 256]
  classes background, polyp
  lipschitz l2 <= {claim}
}}
data kvasir {{
  images "images/cju2*.png"
  masks "masks/*.png"
}}
property accurate {{
  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.8
}}
"""

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not KVASIR.is_dir(), reason="the research-use Kvasir data is not beside this checkout"),
]


def test_unit_and_raw_agree_image_by_image(robspec: Run, tmp_path: Path) -> None:
    found = []
    for name, claim in (("unit", "1.0"), ("raw", "6.53197")):
        spec = tmp_path / f"{name}.rspec"
        spec.write_text(SPEC.format(claim=claim))
        model = KVASIR / f"lipnet_deeplabv3_s_{name}.pt2"
        result = robspec("check", model, spec, "--data", KVASIR, "--format", "json")
        assert result.status in (0, 3), result.err
        found.append(json.loads(result.out)["properties"][0]["images"])
    unit, raw = found
    assert len(unit) > 5
    assert [i["clean"] for i in unit] == [i["clean"] for i in raw]
    assert [i["certified"] for i in unit] == [i["certified"] for i in raw]
