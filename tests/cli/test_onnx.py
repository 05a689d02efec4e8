"""From an ONNX file to a verdict, on the fly and imported; and VNN-COMP's Carvana network, where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from robspec.models.choice import Choice
from robspec.models.loading import load
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec
from tests.models.archives import ROOT
from tests.models.onnx_files import network

CARVANA = ROOT.parent / "shared" / "data" / "carvana"
SPEC = """language 1

model {{
  input     image  [3, {size}] in [0, 1]
  output    logits [2, {size}]
  classes   background, car
  lipschitz l2 <= 0.001
}}

data cars {{
  images "images/*.png"
  masks  "masks/*.png"
}}

property accurate {{
  metric   pixel_accuracy
  norm     l2
  budget   {budget}
  require  worst_case >= {share} for all images
}}
"""


def write(folder: Path, images: list[Image.Image], masks: list[np.ndarray], **options: str) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        image.save(folder / "images" / f"{i:02d}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{i:02d}.png")
    path = folder / "cars.rspec"
    path.write_text(SPEC.format(**options))
    return path


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def test_an_onnx_file_is_checked_and_imported(tmp_path: Path, robspec: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / "m.onnx").write_bytes(network().SerializeToString())
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    mask = load(tmp_path / "m.onnx").logits(images)[0].argmax(0).numpy()
    spec = write(tmp_path, [Image.fromarray(pixels)], [mask], size="8, 8", budget="0.000001", share="1")
    done = robspec("check", tmp_path / "m.onnx", spec, "--claims", "ignore")
    assert done.status == 0, done.err
    assert "differ from those of onnxruntime" in " ".join(done.out.split())
    made = robspec("import", tmp_path / "m.onnx", tmp_path / "m.pt2")
    assert made.status == 0, made.err
    assert "images 3 x 8 x 8, logits 2 x 8 x 8, batches of 1 to 64" in made.out
    assert "(allowed" in made.out
    again = robspec("check", tmp_path / "m.pt2", spec, "--claims", "ignore")
    assert again.status == 0
    assert "lipschitz l2" not in again.out
    claimed = robspec("check", tmp_path / "m.pt2", spec, "--claims", "check", "--certificate", tmp_path / "c.json")
    assert claimed.status == 1, ("the claim is another model's, and false of this one", claimed.out, claimed.err)
    refused = robspec("check", tmp_path / "m.pt2", spec, "--claims", "ignore", "--certificate", tmp_path / "c.json")
    assert "error[E0601]" in refused.err


@pytest.mark.real_data
@pytest.mark.skipif(not CARVANA.is_dir(), reason="the Carvana images are not beside the checkout")
def test_carvana_counts_the_pixels_that_onnxruntime_counts(tmp_path: Path, robspec: Run) -> None:
    path = CARVANA / "unet_simp_small.onnx"
    files = sorted((CARVANA / "images").glob("*.jpg"))
    assert len(files) == 16
    pictures = [opened(f).convert("RGB").resize((47, 31), Image.Resampling.BILINEAR) for f in files]
    drawn = [opened(CARVANA / "masks" / f"{f.stem}_mask.gif").convert("L").resize((47, 31)) for f in files]
    masks = np.stack([np.asarray(mask) > 127 for mask in drawn])
    images = np.stack([np.asarray(p, dtype=np.float32).transpose(2, 0, 1) / 255 for p in pictures])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    both = np.concatenate([images, masks[:, None].astype(np.float32)], axis=1)
    counted = [int(session.run(None, {"input": one[None]})[0]) for one in both]
    model = load(path, input_shape=(3, 31, 47), choice=Choice(output="out_mask", fixed=(("3", 0.0),)))
    right = model.logits(torch.from_numpy(images)).argmax(1).numpy() == masks
    assert right.sum(axis=(1, 2)).tolist() == counted
    spec = write(tmp_path, pictures, list(masks), size="31, 47", budget="0.0001", share="0.5")
    part = ("--model-output", "out_mask", "--fix", "3=0", "--claims", "ignore")
    done = robspec("check", path, spec, *part, "--format", "json")
    assert done.status == 0, done.err
    refused = robspec("check", path, spec, "--model-output", "out_mask")
    assert "--fix 3=0" in refused.err
