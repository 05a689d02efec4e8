"""How each statement reads, as shown in the mend of a syntax error."""

from __future__ import annotations

from typing import Final

FORMS: Final[dict[str, str]] = {
    "language": "language 1",
    "param": "param eps = 0.1",
    "model": "model { ... }",
    "data": "data val { ... }",
    "detector": "detector { ... }",
    "privacy": "privacy { ... }",
    "property": "property accurate_under_attack { ... }",
    "input": "input image [3, 256, 256] in [0, 1]",
    "output": "output logits [2, 256, 256]",
    "classes": "classes background, runway",
    "annotation": "annotation normal | anomalous",
    "normalize": "normalize mean [0.5, 0.5, 0.5] std [0.5, 0.5, 0.5]",
    "lipschitz": "lipschitz l2 <= 2.001",
    "threshold": "threshold sigmoid 0.3",
    "nms": "nms greedy 0.6",
    "match": "match overlap 0.5",
    "boxes": "boxes frozen",
    "strides": "strides 8, 16, 32",
    "limit": "limit 100",
    "epsilon": "epsilon <= 8 at delta 1e-5",
    "images": 'images "val/images/*.png"',
    "masks": 'masks "val/masks/*.png"',
    "labels": 'labels "labels.csv"',
    "pairs": 'pairs "val.csv"',
    "layout": 'layout cityscapes "cityscapes" split val',
    "objects": 'objects coco "annotations.json"',
    "ignore": "ignore 255",
    "map": "map 7 to road, 8 to sidewalk, others to ignored",
    "crop": "crop [256, 256]",
    "resize": "resize [256, 256] by bilinear",
    "use": "use val",
    "region": 'region "val/regions/*.png"',
    "weights": 'weights "val/weights/*.npy"',
    "metric": "metric iou[runway]",
    "norm": "norm l2",
    "attack": "attack both",
    "budget": "budget 0.1",
    "degraded": "degraded when h <= 0.5",
    "by": "by smoothing { sigma 0.25 samples 100 alpha 0.001 }",
    "require": "require worst_case >= 0.4 for all images",
}

SWEEPS: Final[dict[str, str]] = {
    "budget": "budget 0 to 1 points 21",
    "degraded": "degraded when h <= 0.1 to 0.9 points 9",
}

DEFINITION: Final = "metric miss_rate(k) lower_is_better = FN[k] / (TP[k] + FN[k])"
