"""The clean average precision against pycocotools, on random scenes with crowds; skipped where it is absent."""

from __future__ import annotations

import contextlib
import io
import random
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds.detections import average
from robspec.kernels.detection import Objects, pipeline
from robspec.oracle import detections as oracle

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")


def by_pycocotools(images: list[tuple[Objects, pipeline.Kept]], o: float) -> float:
    """COCO's average precision at one overlap, as pycocotools computes it."""
    truth, found = [], []
    for number, (objects, kept) in enumerate(images, start=1):
        for box, crowd in zip(objects.boxes.tolist(), objects.crowd.tolist(), strict=True):
            wide, tall = box[2] - box[0], box[3] - box[1]
            entry = {"id": len(truth) + 1, "image_id": number, "category_id": 1, "bbox": [*box[:2], wide, tall]}
            truth.append({**entry, "area": wide * tall, "iscrowd": int(crowd)})
        for box, score in zip(kept.boxes.tolist(), kept.scores.tolist(), strict=True):
            place = [*box[:2], box[2] - box[0], box[3] - box[1]]
            found.append({"image_id": number, "category_id": 1, "bbox": place, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = coco.COCO()
        annotated.dataset = {
            "info": {},
            "images": [{"id": n + 1} for n in range(len(images))],
            "annotations": truth,
            "categories": [{"id": 1}],
        }
        annotated.createIndex()
        judged = cocoeval.COCOeval(annotated, annotated.loadRes(found), "bbox")
        judged.params.iouThrs = np.array([o])
        judged.evaluate()
        judged.accumulate()
    # Overlaps, recalls, classes, areas, detections: all areas, at most 100 detections.
    return float(judged.eval["precision"][0, :, 0, 0, 2].mean())


def drawn(rng: random.Random) -> list[tuple[Objects, pipeline.Kept]]:
    images = []
    for _ in range(rng.randint(2, 4)):
        boxes = [
            [x, y, x + 8, y + rng.choice([6, 8])]
            for x, y in ((rng.randrange(30), rng.randrange(30)) for _ in range(3))
        ]
        crowd = np.array([rng.random() < 0.2 for _ in boxes])
        objects = Objects(np.array(boxes, dtype=np.float64), np.zeros(3, np.int64), crowd, np.zeros(3, bool))
        places = np.array(
            [[c + rng.choice([-1, 0, 0, 1]) for c in rng.choice(boxes)] for _ in range(8)], dtype=np.float64
        )
        scores = np.array(rng.sample(range(1000), 8), dtype=np.float64)
        images.append((objects, pipeline.kept(scores, places, 300.0, Fraction(3, 5))))
    return images


@pytest.mark.parametrize("o", [0.5, 0.7])
def test_clean_average_precision_is_that_of_pycocotools(o: float) -> None:
    rng = random.Random(3)  # noqa: S311  (a test draws scenes, not secrets)
    for _ in range(15):
        images = drawn(rng)
        total = sum(int((~objects.crowd).sum()) for objects, _ in images)
        if not total or not any(len(kept.scores) for _, kept in images):
            continue
        rows = []
        for objects, kept in images:
            right, out = pipeline.matched(kept.boxes, objects, 0, Fraction(o))
            rows += [(s, bool(r)) for s, r, skipped in zip(kept.scores, right, out, strict=True) if not skipped]
        rows.sort(key=lambda row: -row[0])
        hits = np.cumsum([r for _, r in rows]).tolist()
        mine = average([(tp, n - tp) for n, tp in enumerate(hits, start=1)], total)
        verdicts = [oracle.Verdict(Fraction(s), r) for s, r in rows]
        assert mine == oracle.average_precision(verdicts, total, oracle.coco_points())
        assert by_pycocotools(images, o) == pytest.approx(float(mine), abs=1e-14)
