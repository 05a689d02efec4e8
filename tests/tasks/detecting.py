"""A tiny detector whose scores and boxes are known by heart, with images, annotation and a specification."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE, STRIDE = 16, 4
GRID = SIDE // STRIDE
SPEC = """language 1

model {{
  input   image [3, 16, 16] in [0, 1]
  output  scores [2, 16], boxes [4, 16]
  classes car, truck
}}

detector {{
  threshold sigmoid 0.5
  nms       greedy 0.5
  match     overlap 0.5
  boxes     frozen
}}

data cars {{
  images  "images/*.png"
  objects coco "annotations.json"
}}

{properties}"""
BY_LOCATION = """language 1

model {{
  input   image [3, 16, 16] in [0, 1]
  output  scores [2, 16]
  classes car, truck
}}

detector {{
  threshold sigmoid 0.5
  nms       none
  match     location
  strides   4
}}

data cars {{
  images  "images/*.png"
  objects coco "annotations.json"
}}

{properties}"""


class Blobs(torch.nn.Module):
    """The score of a cell is the mean of a channel over it, times its side: 1-Lipschitz; boxes are the cells.

    Args:
        boxes: what to return beside the scores: "fixed" cells, cells that "move" with the image, or nothing.
        end: what the scores end with: "logits", one "sigmoid", or "inside", a sigmoid under a reshape.
    """

    def __init__(self, boxes: str = "fixed", end: str = "logits") -> None:
        super().__init__()
        self.kind, self.end = boxes, end
        rows = torch.arange(GRID, dtype=torch.float32) * STRIDE
        y, x = torch.meshgrid(rows, rows, indexing="ij")
        cells = torch.stack([x, y, x + STRIDE, y + STRIDE]).reshape(4, -1)
        self.register_buffer("cells", cells)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        means = torch.nn.functional.avg_pool2d(images[:, :2], STRIDE) * STRIDE
        scores = means - 2.0
        if self.end == "inside":
            scores = torch.sigmoid(scores)
        scores = scores.flatten(2)
        if self.end == "sigmoid":
            scores = torch.sigmoid(scores)
        if self.kind == "none":
            return scores
        moved = 0.0 * images.mean((1, 2, 3), keepdim=True)[:, :, :, 0]
        if self.kind == "move":
            moved = 0.5 * torch.nn.functional.avg_pool2d(images[:, 2:], SIDE)[:, :, :, 0]
        return scores, self.cells[None] + moved


def archive(network: torch.nn.Module, path: Path) -> Path:
    """Export with a dynamic batch."""
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        network.eval(), (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=({0: batch},), strict=False
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return path


@dataclass(frozen=True)
class Blob:
    """One object: the cell it fills, its class, how bright it is from 0 to 255."""

    cell: tuple[int, int]
    index: int = 0
    bright: int = 255


def write_data(root: Path, images: list[list[Blob]], crowd: bool = False) -> None:
    """Write images with bright cells, and annotate them."""
    (root / "images").mkdir(exist_ok=True)
    listed, objects = [], []
    for number, blobs in enumerate(images):
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        for blob in blobs:
            row, column = (STRIDE * n for n in blob.cell)
            pixels[row : row + STRIDE, column : column + STRIDE, blob.index] = blob.bright
            objects.append(
                {
                    "image_id": number,
                    "category_id": blob.index + 1,
                    "bbox": [column, row, STRIDE, STRIDE],
                    "iscrowd": int(crowd),
                    "id": len(objects) + 1,
                    "area": STRIDE * STRIDE,
                }
            )
        Image.fromarray(pixels).save(root / "images" / f"im{number}.png")
        listed.append({"id": number, "file_name": f"im{number}.png", "width": SIDE, "height": SIDE})
    document = {
        "images": listed,
        "annotations": objects,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "truck"}],
    }
    (root / "annotations.json").write_text(json.dumps(document))
