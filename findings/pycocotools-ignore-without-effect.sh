#!/usr/bin/env bash
# pycocotools 2.0.11: the field `ignore` of an annotation is read and then overwritten by `iscrowd`.
# Expected: an object marked "ignore": 1 is neither to be found nor to be missed, as the evaluator's own table says it reads.
# Seen: it counts as any other: with one object found and one marked so, recall is 0.5; marked "iscrowd": 1 it is 1.
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


def recall(**mark):
    both = {"image_id": 1, "category_id": 1, "area": 400.0, "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": 1, "width": 100, "height": 100}],
            "categories": [{"id": 1, "name": "car"}],
            "annotations": [
                {**both, "id": 1, "bbox": [10.0, 10.0, 20.0, 20.0]},
                {**both, "id": 2, "bbox": [60.0, 60.0, 20.0, 20.0], **mark},
            ],
        }
        truth.createIndex()
        found = [{"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0], "score": 0.9}]
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return round(float(run.stats[8]), 6)


print("recall, the second object unmarked, ignore, iscrowd:", recall(), recall(ignore=1), recall(iscrowd=1))
assert recall() == 0.5, "changed: an unmarked object that is missed"
assert recall(ignore=1) == 0.5, "changed: an object marked ignore"
assert recall(iscrowd=1) == 1.0, "changed: an object marked iscrowd"
PY
