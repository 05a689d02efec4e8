"""`robspec export` of a module with two outputs: one archive that `robspec check` reads as scores and boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robspec.models.errors import ExportFailed, ModelChoice
from robspec.models.export import export_archive
from robspec.models.loading import BOXES, load
from tests.tasks.detecting import SIDE, Blobs


class Wrong(Blobs):
    """Boxes for other locations than the scores."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = super().forward(images)
        return scores, boxes[:, :, 1:]


def test_both_outputs_are_compared_and_read_back(tmp_path: Path) -> None:
    network = Blobs("move")
    made = export_archive(network, None, (3, SIDE, SIDE), 8, "blobs")
    assert (made.output_shape, made.boxes_shape) == ((2, 16), (4, 16))
    assert made.difference <= made.tolerance
    path = tmp_path / "m.pt2"
    path.write_bytes(made.archive)
    loaded = load(path, detector=BOXES, boxes=True)
    images = torch.rand(3, 3, SIDE, SIDE)
    scores, boxes = network(images)
    assert loaded.second is not None
    assert torch.equal(loaded.logits(images)[:, :, 0], scores)
    assert torch.equal(loaded.second.logits(images)[:, :, 0], boxes)


def test_a_model_without_boxes_is_no_detector_with_boxes(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(export_archive(Blobs("none"), None, (3, SIDE, SIDE), 8, "blobs").archive)
    with pytest.raises(ModelChoice, match="declares scores and boxes, the model returns one tensor"):
        load(path, detector=BOXES, boxes=True)


def test_two_outputs_that_are_no_detector_are_refused() -> None:
    with pytest.raises(ExportFailed) as refused:
        export_archive(Wrong(), None, (3, SIDE, SIDE), 8, "wrong")
    assert refused.value.code == "E0213"
    assert "tuple" in refused.value.what
