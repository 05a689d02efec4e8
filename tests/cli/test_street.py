"""A street-scene-shaped data set: 11 classes, 240 x 180, a void label that counts nowhere."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.models.export import export_archive
from tests.cli.conftest import Run

CLASSES, HEIGHT, WIDTH, VOID = 11, 180, 240, 11
NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "person", "bicycle"]
METRICS = ["mean_iou", "mean_dice", "mean_accuracy", "frequency_weighted_iou", "iou[road]", "pooled mean_iou"]
SPEC = f"""language 1
model {{
  input image [3, {HEIGHT}, {WIDTH}] in [0, 1]
  output logits [{CLASSES}, {HEIGHT}, {WIDTH}]
  classes {", ".join(NAMES)}
}}
data street {{
  images "images/*.png"
  masks "masks/*.png"
  ignore {VOID}
}}
"""


class Nearest(torch.nn.Module):
    """Linear scores of eleven fixed colours: the class whose colour fits best, a linear map of each pixel."""

    def __init__(self, colours: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(2 * colours[:, :, None, None])
        self.bias = torch.nn.Parameter(-(colours**2).sum(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image, self.weight, self.bias)


@pytest.fixture
def street(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    colours = rng.uniform(0, 1, (CLASSES, 3)).astype(np.float32)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for n in range(2):
        mask = np.repeat(np.repeat(rng.integers(0, CLASSES + 1, (HEIGHT // 20, WIDTH // 20)), 20, 0), 20, 1)
        if n == 1:
            mask[mask == NAMES.index("bicycle")] = 0
        shown = colours[np.where(mask == VOID, 0, mask)] + rng.normal(0, 0.02, (HEIGHT, WIDTH, 3))
        Image.fromarray((shown.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / f"images/s{n}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"masks/s{n}.png")
    made = export_archive(Nearest(torch.from_numpy(colours)), None, (3, HEIGHT, WIDTH), 8, "nearest colour")
    (tmp_path / "m.pt2").write_bytes(made.archive)
    return tmp_path / "m.pt2", tmp_path / "street.rspec"


def test_every_average_over_eleven_classes(street: tuple[Path, Path], robspec: Run) -> None:
    model, spec = street
    asked = [
        f"property p{n} {{\n  metric {m}\n  norm l2\n  budget 0.25\n  require "
        + ("worst_case >= 0.5\n}\n" if m.startswith("pooled") else "mean(worst_case) >= 0.5\n}\n")
        for n, m in enumerate(METRICS)
    ]
    spec.write_text(SPEC + "".join(asked))
    result = robspec("check", model, spec, "--format", "json", "--allow", "unknown")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    for name, prop in zip(METRICS, report["properties"], strict=True):
        assert prop["query"].startswith(f"{name} within")
        for image in prop["images"]:
            certified, clean = image["certified"][0]["approx"], image["clean"]["approx"]
            assert 0.3 < certified < clean <= 1, name
    mean_iou, *_ = report["properties"]
    assert mean_iou["excluded"] == []


def test_the_void_label_counts_nowhere(street: tuple[Path, Path], robspec: Run) -> None:
    """IoU that ignores the ignore label (PEERS.md, 6): painting void pixels in any colour changes no clean value."""
    model, spec = street
    body = "property p {\n  metric mean_iou\n  norm l2\n  budget 0\n  require mean(worst_case) >= 0.5\n}\n"
    spec.write_text(SPEC + body)
    values = []
    for colour in (0, 255):
        for n in range(2):
            path = spec.parent / f"images/s{n}.png"
            pixels = np.asarray(Image.open(path)).copy()
            pixels[np.asarray(Image.open(spec.parent / f"masks/s{n}.png")) == VOID] = colour
            Image.fromarray(pixels).save(path)
        report = json.loads(robspec("check", model, spec, "--format", "json", "--allow", "unknown").out)
        values.append([i["clean"]["exact"] for i in report["properties"][0]["images"]])
    assert values[0] == values[1]


def test_water_filling_certifies_at_least_what_the_pair_bound_does(street: tuple[Path, Path], robspec: Run) -> None:
    """Water filling is never looser than the pair bound; the report says by how much."""
    model, spec = street
    spec.write_text(
        SPEC
        + "property value {\n  metric iou[road]\n  norm l2\n  budget 0.5 to 2 points 2\n"
        + "  require mean(worst_case) >= 0.2\n}\n"
        + "property size {\n  metric iou[road]\n  norm l2\n  degraded when h <= 0.5\n  require min(radius) > 0.1\n}\n"
        + "property rows {\n  metric recall[road]\n  norm l2\n  budget 0.5\n  require min(worst_case) > 0.1\n}\n"
    )
    result = robspec("check", model, spec, "--format", "json", "--allow", "unknown", "--pair-bound")
    assert result.status == 0, result.err
    value, size, rows = json.loads(result.out)["properties"]
    assert all("pair_bound" not in image for image in rows["images"])
    gained = 0
    for image in value["images"] + size["images"]:
        for certified, pairs in zip(image["certified"], image["pair_bound"], strict=True):
            assert Fraction(certified["exact"]) >= Fraction(pairs["exact"])
            gained += certified["exact"] != pairs["exact"]
    assert gained > 0
    shown = robspec("check", model, spec, "--allow", "unknown", "--pair-bound").out
    assert "against the pair bound" in " ".join(shown.split())
    assert "pair_bound" not in robspec("check", model, spec, "--format", "json", "--allow", "unknown").out
