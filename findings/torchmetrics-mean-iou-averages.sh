#!/usr/bin/env bash
# torchmetrics 1.9.0. Expected: segmentation.MeanIoU with per_class=False is the mean over all classes, as documented: the mean of
# what per_class=True returns. Seen: it is the mean over all pairs of an image and a class in it, a third number beside that and
# the mean of the images' own: classes count by the images they appear in, and images by the classes in them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torchmetrics
from torchmetrics.functional.segmentation import mean_iou
from torchmetrics.segmentation import MeanIoU

predicted = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
annotated = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
# Of the first image 1 of 2 and 2 of 3 pixels, of the second 4 of 4 and no class 1.
whole = MeanIoU(num_classes=2, input_format="index")
classes = MeanIoU(num_classes=2, input_format="index", per_class=True)
whole.update(predicted, annotated)
classes.update(predicted, annotated)
scalar, by_class = whole.compute().item(), classes.compute()
by_image = mean_iou(predicted, annotated, num_classes=2, input_format="index")
print(
    f"torchmetrics {torchmetrics.__version__}: MeanIoU {scalar:.4f}; by class {by_class.tolist()}, mean "
    f"{by_class.mean():.4f}; by image {by_image.tolist()}, mean {by_image.mean():.4f}"
)
pairs = torch.tensor([1 / 2, 2 / 3, 1.0])
assert torch.allclose(by_class, torch.tensor([3 / 4, 2 / 3])) and torch.allclose(by_image, torch.tensor([7 / 12, 1.0]))
assert abs(scalar - pairs.mean().item()) < 1e-6, "changed: no longer the mean over pairs"
assert abs(scalar - by_class.mean().item()) > 0.01 and abs(scalar - by_image.mean().item()) > 0.01
PYTHON
