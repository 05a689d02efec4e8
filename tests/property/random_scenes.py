"""Random scenes of a detector, and the best attack a search finds, against what is certified of them.

A scene is drawn from a seed: boxes on a coarse grid, so that overlaps hit thresholds exactly; equal scores; inverted
boxes and boxes without area; crowds and ignored objects; one or two classes with one budget; boxes that stay or
move. The attack moves scores (and boxes) anywhere within the budget and orders equal scores as it likes; a score at
the threshold fires or not, as it likes. The pipeline it is judged by is its own, and equal to the oracle's.

    python -m tests.property.random_scenes 100000 --start 0 --processes 2
"""

from __future__ import annotations

import argparse
import collections
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from robspec.bounds._objects import spent
from robspec.kernels.detection import Ledger, Objects, Pipeline, Reach, Threshold, cpu, reference
from robspec.oracle import detections as oracle

THETA = 4
TRIES = 40


@dataclass(frozen=True)
class Scene:
    """A scene in integers; scores in quarters.

    Args:
        scores: [K][N].
        boxes: [N].
        objects: class, box, crowd, ignored.
        nms: suppression, or None.
        overlap: of a match.
        norm: exponent of the scores' norm.
        eps: of the attack, the constant being 1.
        rho: how far a coordinate moves, an integer.
    """

    scores: list[list[int]]
    boxes: list[tuple[int, ...]]
    objects: list[tuple[int, tuple[int, ...], bool, bool]]
    nms: Fraction | None
    overlap: Fraction
    norm: Fraction | None
    eps: Fraction
    rho: int
    margin: Fraction


@dataclass(frozen=True)
class Outcome:
    """What became of one scene."""

    seed: int
    detail: str
    found: int
    certain: int
    reached: bool


def draw(seed: int) -> Scene:
    """Draw a scene."""
    rng = random.Random(seed)  # noqa: S311  (a test draws scenes, not secrets)
    classes = rng.choice([1, 1, 2])
    side = rng.choice([6, 10, 16])

    def corner_box() -> tuple[int, ...]:
        x, y = rng.randint(0, side), rng.randint(0, side)
        return x, y, x + rng.randint(1, side // 2), y + rng.randint(1, side // 2)

    objects = [
        (rng.randrange(classes), corner_box(), rng.random() < 0.1, rng.random() < 0.1)
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4]))
    ]
    boxes = []
    for _ in range(rng.choice([0, 2, 4, 6, 8, 10, 12])):
        if objects and rng.random() < 0.8:
            box = [c + rng.choice([-1, 0, 0, 0, 1]) for c in rng.choice(objects)[1]]
        else:
            box = list(corner_box())
        if rng.random() < 0.05:
            box = rng.choice([[box[2], box[1], box[0], box[3]], box[2:] + box[:2], [box[0], box[1], box[0], box[3]]])
        boxes.append(tuple(box))
    high = rng.choice([8, 16, 40, 100])
    scores = [[4 * rng.randint(0, high) // rng.choice([1, 2, 4]) for _ in boxes] for _ in range(classes)]
    thresholds = [Fraction(1, 2), Fraction(1, 3), Fraction(3, 5), Fraction(7, 10), Fraction(3, 4)]
    return Scene(
        scores,
        boxes,
        objects,
        rng.choice([None, Fraction(0), *thresholds, *thresholds]),
        rng.choice(thresholds),
        rng.choice([Fraction(2), Fraction(2), Fraction(1), None]),
        Fraction(rng.choice([0, 1, 2, 3, 4, 6, 8, 12, 20, 40]), 4),
        rng.choice([0, 0, 0, 1]),
        rng.choice([Fraction(0), Fraction(1, 2**20)]),
    )


def annotation(scene: Scene) -> Objects:
    """The annotation in arrays."""
    return Objects(
        np.array([o[1] for o in scene.objects], dtype=np.float64).reshape(-1, 4),
        np.array([o[0] for o in scene.objects], dtype=np.int64),
        np.array([o[2] for o in scene.objects], dtype=np.bool_),
        np.array([o[3] and not o[2] for o in scene.objects], dtype=np.bool_),
    )


def pipeline_of(scene: Scene) -> Pipeline:
    """What is done with the scores, in logits."""
    return Pipeline(Threshold(float(THETA), float(THETA)), scene.nms, scene.overlap, scene.margin)


def certified(scene: Scene, *, plain: bool = False) -> Ledger:
    """What is certified of a scene: all classes with one budget."""
    objects, pipeline = annotation(scene), pipeline_of(scene)
    cells = len(scene.scores) * max(len(scene.boxes), 1)
    reach = Reach.of(scene.eps, Fraction(1), scene.norm, cells)
    reach = Reach(reach.budget, reach.one, reach.two, float(scene.rho))
    boxes = np.array(scene.boxes, dtype=np.float64).reshape(-1, 4)
    total = Ledger(0, (), 0, (), reach.budget.limit)
    for k, row in enumerate(scene.scores):
        read = reference.read if plain else cpu.read
        total += read(np.array(row, dtype=np.float64) / 4, boxes, objects, k, pipeline, reach)
    return total


@lru_cache(maxsize=1 << 12)
def area(a: tuple[int, ...]) -> int:
    """Area of a box, a whole number."""
    return max(a[2] - a[0], 0) * max(a[3] - a[1], 0)


@lru_cache(maxsize=1 << 14)
def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int]:
    """Intersection and union, whole numbers."""
    both = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both, area(a) + area(b) - both


def outcome(
    scene: Scene, k: int, scores: list[float], boxes: list[tuple[int, ...]], key: list[float]
) -> tuple[int, int]:
    """TP and FP of one class.

    Args:
        scene: its thresholds and objects.
        k: the class.
        scores: in quarters; minus infinity does not fire.
        boxes: moved.
        key: which of equal scores comes first.
    """
    order = sorted((i for i, s in enumerate(scores) if s >= 4 * THETA), key=lambda i: (-scores[i], key[i]))
    kept: list[int] = []
    t = scene.nms
    for i in order:
        pairs = [overlap(boxes[i], boxes[j]) for j in kept] if t is not None else []
        if t is None or not any(n * t.denominator > t.numerator * d for n, d in pairs):
            kept.append(i)
    objects = [(box, crowd, ignored and not crowd) for c, box, crowd, ignored in scene.objects if c == k]
    o, taken, right, wrong = scene.overlap, set(), 0, 0
    for i in kept:
        for counting in (True, False):
            best, chosen = None, None
            for m, (box, crowd, ignored) in enumerate(objects):
                if (not crowd and not ignored) is not counting or m in taken:
                    continue
                n, d = overlap(boxes[i], box)
                d = area(boxes[i]) if crowd else d
                if d and n * o.denominator >= o.numerator * d and (best is None or n * best[1] >= best[0] * d):
                    best, chosen = (n, d), m
            if chosen is not None:
                right += counting
                if not objects[chosen][1]:
                    taken.add(chosen)
                break
        else:
            wrong += 1
    return right, wrong


def by_oracle(scene: Scene, k: int) -> tuple[int, int]:
    """TP and FP of one class of the clean scene, by the oracle."""
    objects = [
        oracle.Annotated(oracle.box(box), crowd, ignored and not crowd)
        for c, box, crowd, ignored in scene.objects
        if c == k
    ]
    found = oracle.detections(
        [Fraction(s, 4) for s in scene.scores[k]],
        [oracle.box(b) for b in scene.boxes],
        objects,
        threshold=Fraction(THETA),
        nms=scene.nms,
        o=scene.overlap,
    )
    counts = oracle.counted(found, objects)
    return counts.tp, counts.fp


def examine(seed: int, tries: int = TRIES) -> Outcome:
    """Certify a scene and attack it."""
    scene = draw(seed)
    ledger = certified(scene)
    if seed % 4 == 0 and certified(scene, plain=True) != ledger:
        return Outcome(seed, "the reference and the arrays differ", 0, 0, reached=False)
    rng = random.Random(-seed - 1)  # noqa: S311  (a test draws attacks, not secrets)
    allowed = list(spent(ledger))
    detail, reached = "", False
    for attempt in range(tries):
        scores, key = (
            attack(scene, rng)
            if attempt
            else ([list(map(float, r)) for r in scene.scores], [float(n) for n in range(99)])
        )
        boxes = scene.boxes
        if scene.rho and attempt:
            boxes = [tuple(c + rng.choice([-1, 0, 1]) * scene.rho for c in b) for b in boxes]
        tp = fp = 0
        for k, row in enumerate(scores):
            counts = outcome(scene, k, row, boxes, key)
            if not attempt and counts != by_oracle(scene, k):
                return Outcome(seed, "two pipelines differ", 0, 0, reached=False)
            tp, fp = tp + counts[0], fp + counts[1]
        if not any(tp >= a and fp <= b for a, b, _ in allowed):
            detail = f"attack {attempt}: {tp} right, {fp} wrong, certified {allowed}"
            break
        reached |= tp == allowed[-1][0]
    return Outcome(seed, detail, ledger.found, allowed[-1][0], reached)


def attack(scene: Scene, rng: random.Random) -> tuple[list[list[float]], list[float]]:
    """Move scores within the budget."""
    cells = [(k, i) for k, row in enumerate(scene.scores) for i in range(len(row))]
    wanted: list[list[tuple[int, int, float]]] = []
    for k, i in cells:
        z = scene.scores[k][i]
        chance = rng.random()
        if (z >= 4 * THETA and chance < 0.5) or (z < 4 * THETA and chance < 0.5):
            wanted.append([(k, i, 4.0 * THETA)])
        elif chance < 0.8:
            j = rng.randrange(len(scene.scores[k]))
            low, high = sorted((z, scene.scores[k][j]))
            meet = max(rng.choice([(low + high) / 2, float(high), float(low)]), 4.0 * THETA)
            wanted.append([(k, i, meet), (k, j, meet)])
    rng.shuffle(wanted)
    if rng.random() < 0.5:
        # The cheapest first.
        wanted.sort(key=lambda w: sum(abs(scene.scores[k][i] - to) for k, i, to in w))
    moved = [list(map(float, row)) for row in scene.scores]
    # Scores are multiples of an eighth, so that doubles are exact.
    eps, spent_on = float(scene.eps), 0.0
    limit = eps * eps if scene.norm == 2 else eps
    for group in wanted:
        before = [(k, i, moved[k][i]) for k, i, _ in group]
        after = spent_on
        for k, i, to in group:
            after += _price(scene, k, i, to) - _price(scene, k, i, moved[k][i])
            moved[k][i] = to
        far = max(_price(scene, k, i, to) for k, i, to in group)
        if (far if scene.norm is None else after) <= limit:
            spent_on = after
        else:
            for k, i, was in before:
                moved[k][i] = was
    final = [list(row) for row in moved]
    for k, i in cells:
        # On the threshold: out if it was pulled down there, and sometimes otherwise.
        if moved[k][i] == 4.0 * THETA and (scene.scores[k][i] > 4 * THETA or rng.random() < 0.2):
            final[k][i] = -np.inf if rng.random() < 0.9 else 4.0 * THETA
    key = [rng.random() for _ in scene.boxes]
    return final, key


def _price(scene: Scene, k: int, i: int, to: float) -> float:
    """What it costs to move a score; for infinity, how far it goes."""
    far = abs(to - scene.scores[k][i]) / 4
    return far * far if scene.norm == 2 else far


def _share(seeds: range) -> list[Outcome]:
    return [examine(seed) for seed in seeds]


def main() -> None:
    """Examine many scenes and count what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    begun = time.perf_counter()
    last = given.start + given.count
    chunks = [range(s, min(s + 100, last)) for s in range(given.start, last, 100)]
    counted: collections.Counter[str] = collections.Counter()
    with ProcessPoolExecutor(given.processes) as pool:
        for number, outcomes in enumerate(pool.map(_share, chunks), start=1):
            for o in outcomes:
                counted["scenes"] += 1
                counted["found clean"] += o.found
                counted["certified"] += o.certain
                counted["bound on TP reached"] += o.reached
                if o.detail:
                    print(f"FALSE seed {o.seed}: {o.detail}", flush=True)
            if number % 50 == 0 or number == len(chunks):
                summary = ", ".join(f"{kind} {n}" for kind, n in counted.items())
                print(f"{time.perf_counter() - begun:.0f} s: {summary}", flush=True)


if __name__ == "__main__":
    main()
