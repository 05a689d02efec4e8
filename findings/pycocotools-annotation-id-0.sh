#!/usr/bin/env bash
# pycocotools 2.0.11: an object whose annotation has the id 0 is never found.
# Expected: ids are names; a detection that is the object itself gives average precision and recall 1 (up to rounding).
# Seen: both are 0 with the id 0, and 1 with the id 1: matches are kept as ids, and 0 stands for no match.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6
"$work/env/bin/python" - <<'PY'
import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def evaluated(number):
    box = {"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": 1, "width": 100, "height": 100}],
            "categories": [{"id": 1, "name": "car"}],
            "annotations": [{**box, "id": number, "area": 400.0, "iscrowd": 0}],
        }
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes([{**box, "score": 0.9}]), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return round(float(run.stats[0]), 6), round(float(run.stats[8]), 6)


print("average precision and recall, id 1:", evaluated(1))
print("average precision and recall, id 0:", evaluated(0))
assert evaluated(1) == (1.0, 1.0), "changed: an object with the id 1"
assert evaluated(0) == (0.0, 0.0), "changed: an object with the id 0"
PY
