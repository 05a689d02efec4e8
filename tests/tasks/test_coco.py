"""The clean average precision against pycocotools, on random scenes with crowds; skipped where it is absent."""

from __future__ import annotations

import contextlib
import io
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds.context import Context
from robspec.bounds.detections import MOST_DETECTIONS, AveragePrecisions, average
from robspec.bounds.scene import Scene
from robspec.ir.plans import Precisions
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import Objects, pipeline
from robspec.oracle import detections as oracle
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from tests.kernels.available import CPU

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


OVERLAPS = tuple(Fraction(n, 20) for n in range(10, 20))
LARGE = 1e11
"""An area beyond every range of COCO's: an object of it is ignored."""


def street(rng: random.Random, number: int) -> Scene:
    """An image as from a street: objects of three sizes, crowds, objects to ignore, detections around them.

    Every second image has more detections of a class than COCO looks at; scores have one decimal, so that many tie.
    """

    def grid(low: float, high: float) -> float:
        return round(rng.uniform(low, high) * 64) / 64

    truth = []
    for _ in range(rng.randint(3, 12)):
        x, y, side = grid(0, 500), grid(0, 400), rng.choice([12, 40, 120])
        truth.append([x, y, x + grid(side, 2 * side), y + grid(side, 2 * side)])
    crowd = np.array([rng.random() < 0.15 for _ in truth])
    ignored = np.array([rng.random() < 0.15 for _ in truth]) & ~crowd
    classes = np.array([rng.choice([0, 0, 1]) for _ in truth], dtype=np.int64)
    places = []
    for _ in range(170 if number % 2 else 40):
        box, wide = rng.choice(truth), rng.choice([0.02, 0.1, 0.3])
        sides = [box[2] - box[0], box[3] - box[1]] * 2
        moved = [c + round(rng.gauss(0, wide) * s * 64) / 64 for c, s in zip(box, sides, strict=True)]
        places.append([*moved[:2], max(moved[2], moved[0] + 1), max(moved[3], moved[1] + 1)])
    scores = np.array([[round(rng.gauss(1, 2), 1) for _ in places] for _ in range(2)])
    objects = Objects(np.array(truth), classes, crowd, ignored)
    return Scene(scores, np.array(places), None, objects)


def judged_by_pycocotools(scenes: list[Scene], nms: Fraction | None) -> np.ndarray:
    """Precision [overlaps, recalls, classes], suppression by the oracle."""
    truth, found = [], []
    for number, scene in enumerate(scenes, start=1):
        o, boxes = scene.objects, [] if scene.boxes is None else scene.boxes.tolist()
        for box, k, crowd, out in zip(o.boxes.tolist(), o.classes.tolist(), o.crowd, o.ignored, strict=True):
            place = [*box[:2], box[2] - box[0], box[3] - box[1]]
            entry = {"id": len(truth) + 1, "image_id": number, "category_id": k + 1, "bbox": place}
            truth.append({**entry, "area": LARGE if out else place[2] * place[3], "iscrowd": int(crowd)})
        exact = [oracle.box(b) for b in boxes]
        for k, row in enumerate(scene.scores.tolist()):
            order = sorted((i for i, s in enumerate(row) if s >= 0), key=lambda i: (-row[i], i))
            for i in oracle.suppressed(order, exact, nms):
                place = [*boxes[i][:2], boxes[i][2] - boxes[i][0], boxes[i][3] - boxes[i][1]]
                found.append({"image_id": number, "category_id": k + 1, "bbox": place, "score": row[i]})
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = coco.COCO()
        annotated.dataset = {
            "info": {},
            "images": [{"id": n + 1} for n in range(len(scenes))],
            "annotations": truth,
            "categories": [{"id": 1}, {"id": 2}],
        }
        annotated.createIndex()
        judged = cocoeval.COCOeval(annotated, annotated.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
    return np.asarray(judged.eval["precision"][:, :, :, 0, 2])


@pytest.mark.parametrize("nms", [None, Fraction(7, 10)])
def test_scenes_of_a_street_are_judged_as_pycocotools_judges_them(nms: Fraction | None) -> None:
    """Ten overlaps, two classes, crowds, objects to ignore, ties, and more than a hundred detections of a class."""
    rng = random.Random(7)  # noqa: S311  (a test draws scenes, not secrets)
    detector = Detector("score", Fraction(0), nms, "overlap", Fraction(1, 2), 1, "frozen")
    constant = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
    scenes = [street(rng, number) for number in range(3)]
    theirs = judged_by_pycocotools(scenes, nms)
    if nms is None:
        assert max(int((s.scores[0] >= 0).sum()) for s in scenes) > MOST_DETECTIONS
    for classes in ((0,), (1,), ()):
        asked = Metric("mean", Precisions(classes), arguments=OVERLAPS)
        opened = AveragePrecisions(asked, constant)
        for scene in scenes:
            opened.add(Context(CPU, torch.zeros(1, 2, 1, 1), None, None, scenes=(detector, (scene,))))
        mine = opened.clean()
        opened.close()
        assert mine is not None
        chosen = theirs[:, :, list(classes) or [0, 1]]
        # pycocotools adds 2^-52 to each divisor and averages 1010 doubles.
        assert float(chosen.mean()) == pytest.approx(float(mine), abs=1e-13)
