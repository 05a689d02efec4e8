#!/usr/bin/env bash
# supervision 0.31.2, pycocotools 2.0.11. Expected: DetectionDataset.as_coco writes an object as an object; its documentation says
# that a mask with a hole is stored as run lengths, "complying with COCO dataset standards". Seen: it is marked "iscrowd": 1 as
# well (a note of an inner function says so), COCO's word for a group that is neither found nor missed: of two cells, the
# ring-shaped one missed, recall is 1 instead of 0.5. A mask one pixel wide becomes no polygon, and is read back as no pixel.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    supervision==0.31.2 opencv-python-headless==5.0.0.93 pycocotools==2.0.11 numpy==2.4.6 pillow==13.0.0
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import contextlib
import io
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import numpy as np
import supervision
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

folder = Path(sys.argv[1])
(folder / "images").mkdir()
image, file = str(folder / "images" / "cells.png"), str(folder / "cells.json")
Image.new("RGB", (60, 40)).save(image)


def written(*masks):
    boxes = supervision.mask_to_xyxy(np.array(masks)).astype(float)
    cells = supervision.Detections(xyxy=boxes, class_id=np.zeros(len(masks), int), mask=np.array(masks))
    supervision.DetectionDataset(classes=["cell"], images=[image], annotations={image: cells}).as_coco(annotations_path=file)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(file)


def first_found(truth):
    """The recall of a detector that finds the first cell exactly, and nothing else."""
    cell = truth.loadAnns(truth.getAnnIds())[0]
    runs = truth.annToRLE(cell)
    found = {"image_id": cell["image_id"], "category_id": cell["category_id"], "segmentation": runs, "score": 0.9}
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, truth.loadRes([found]), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[8])


solid = np.zeros((40, 60), bool)
solid[5:25, 5:25] = True
other = np.roll(solid, 30, axis=1)
ring = other.copy()
ring[12:16, 42:46] = False
thin = np.zeros((40, 60), bool)
thin[5:25, 40] = True

seen = {}
for name, second in (("solid", other), ("ring", ring)):
    truth = written(solid, second)
    seen[name] = [a["iscrowd"] for a in truth.loadAnns(truth.getAnnIds())], first_found(truth)
    print(f"supervision {supervision.__version__}, second cell {name}: iscrowd {seen[name][0]}, recall {seen[name][1]}")
truth = written(solid, thin)
polygon = truth.loadAnns(truth.getAnnIds())[1]["segmentation"]
again = supervision.DetectionDataset.from_coco(str(folder / "images"), file, force_masks=True)
pixels = [int(mask.sum()) for mask in next(iter(again.annotations.values())).mask]
print(f"a cell one pixel wide: {int(thin.sum())} pixels, segmentation {polygon}, read back {pixels[1]}")
assert seen == {"solid": ([0, 0], 0.5), "ring": ([0, 1], 1.0)}, "changed: holes"
assert polygon == [] and pixels == [400, 0], "changed: thin masks"
PYTHON
