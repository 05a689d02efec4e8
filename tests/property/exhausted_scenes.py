"""Small scenes of a detector, and every set of detections that an attack can bring about, against what is certified.

What a detector reports depends on the scores only through which locations fire, and in which order. For each subset
and each order the least attack is a projection: scores that are pulled down go to the threshold, those that fire are
the isotonic regression of their clean scores along the order, lifted to the threshold. Its length is computed in
rationals. So the worst that is within reach is known exactly, and a certificate is never better. (Boxes stay.)

    python -m tests.property.exhausted_scenes 200 --start 0
"""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.bounds._objects import spent
from robspec.kernels.detection import Reach, mislabelled
from robspec.oracle import detections as oracle
from tests.property import random_scenes as drawn
from tests.property.random_scenes import THETA, Scene

Outcome = tuple[frozenset[int], tuple[int, ...]]
"""Numbers of the objects that are found, and the locations of wrong detections."""


def draw(seed: int, most: int) -> Scene:
    """Draw a scene of at most so many locations and three objects; a coarse grid, so that ties are common."""
    rng = random.Random(seed)  # noqa: S311  (a test draws scenes, not secrets)
    classes = rng.choice([1, 2, 2])

    def box(x: int, y: int, wide: int, tall: int) -> tuple[int, ...]:
        return x, y, x + wide, y + tall

    objects = [
        (rng.randrange(classes), box(rng.randint(0, 4), rng.randint(0, 4), 4, 4), rng.random() < 0.08, False)
        for _ in range(rng.choice([1, 1, 2, 2, 3]))
    ]
    boxes = []
    for _ in range(rng.randint(2, most)):
        placed = [c + rng.choice([0, 0, 0, 1]) for c in rng.choice(objects)[1]]
        boxes.append(tuple(placed) if rng.random() < 0.85 else box(rng.randint(0, 9), rng.randint(0, 9), 3, 4))
    scores = [[rng.choice([8, 12, 14, 17, 18, 20, 22, 24, 30]) for _ in boxes] for _ in range(classes)]
    return Scene(
        scores,
        boxes,
        objects,
        rng.choice([None, Fraction(2, 5), Fraction(1, 2), Fraction(1, 2), Fraction(3, 5)]),
        rng.choice([Fraction(1, 2), Fraction(1, 2), Fraction(2, 3), Fraction(3, 4)]),
        rng.choice([Fraction(2), Fraction(2), Fraction(2), None]),
        Fraction(rng.choice([0, 1, 2, 3, 4, 6, 8, 10]), 4),
        0,
        Fraction(0),
    )


def least(scores: Sequence[Fraction], order: Sequence[int], norm: Fraction | None) -> Fraction:
    """The least squared length (in l_inf: length) of an attack that makes these locations fire in this order."""
    rest = [scores[i] - THETA for i in range(len(scores)) if i not in order and scores[i] > THETA]
    if norm is None:
        lifted = [THETA - scores[i] for i in order]
        swaps = [(scores[b] - scores[a]) / 2 for a, b in itertools.combinations(order, 2)]
        return max([Fraction(0), *rest, *lifted, *swaps])
    blocks: list[tuple[Fraction, int]] = []
    for i in order:
        blocks.append((scores[i], 1))
        while len(blocks) > 1 and blocks[-1][0] * blocks[-2][1] > blocks[-2][0] * blocks[-1][1]:
            (x, n), (y, m) = blocks.pop(), blocks.pop()
            blocks.append((x + y, n + m))
    fitted = [max(total / n, Fraction(THETA)) for total, n in blocks for _ in range(n)]
    return sum((r * r for r in rest), Fraction(0)) + sum(
        ((f - scores[i]) ** 2 for f, i in zip(fitted, order, strict=True)), Fraction(0)
    )


def orders(n: int) -> Iterator[tuple[int, ...]]:
    """Every order of every subset."""
    for size in range(n + 1):
        yield from itertools.permutations(range(n), size)


def judged(scene: Scene, k: int, order: Sequence[int]) -> Outcome:
    """What is found and what is wrong where locations fire in an order."""
    boxes = [oracle.box([float(c) for c in b]) for b in scene.boxes]
    objects = [
        oracle.Annotated(oracle.box([float(c) for c in b]), crowd, ignored)
        for c, b, crowd, ignored in scene.objects
        if c == k
    ]
    kept = oracle.suppressed(order, boxes, scene.nms)
    rights = oracle.matched(kept, boxes, objects, scene.overlap)
    found = set[int]()
    for i, right in zip(kept, rights, strict=True):
        if right:
            # Of those that are left the one it overlaps most, of equal ones the last.
            left = [m for m, g in enumerate(objects) if g.counts and m not in found]
            found.add(max((oracle.overlap(boxes[i], objects[m].box), m) for m in left)[1])
    return frozenset(found), tuple(sorted(i for i, right in zip(kept, rights, strict=True) if right is False))


def reachable(scene: Scene, k: int) -> dict[Outcome, Fraction]:
    """Every outcome of one class with the least attack that brings it about, where it can be paid."""
    scores = [Fraction(s, 4) for s in scene.scores[k]]
    budget = scene.eps if scene.norm is None else scene.eps**2
    found: dict[Outcome, Fraction] = {}
    for order in orders(len(scores)):
        price = least(scores, order, scene.norm)
        if price <= budget:
            outcome = judged(scene, k, order)
            found[outcome] = min(price, found.get(outcome, price))
    return found


def together(scene: Scene) -> list[list[Outcome]]:
    """Every combination of outcomes of all classes that one budget pays."""
    each = [list(reachable(scene, k).items()) for k in range(len(scene.scores))]
    budget = scene.eps if scene.norm is None else scene.eps**2
    found = []
    for parts in itertools.product(*each):
        prices = [price for _, price in parts]
        if (max(prices) if scene.norm is None else sum(prices)) <= budget:
            found.append([outcome for outcome, _ in parts])
    return found


def mistaken(scene: Scene, outcomes: Sequence[Outcome]) -> int:
    """How many objects are mislabelled."""
    number = 0
    for k, (found, _) in enumerate(outcomes):
        real = [box for c, box, crowd, ignored in scene.objects if c == k and not crowd and not ignored]
        numbered = [m for m, o in enumerate(o for o in scene.objects if o[0] == k) if not o[2] and not o[3]]
        for m, box in zip(numbered, real, strict=True):
            wrong = [i for c, (_, places) in enumerate(outcomes) if c != k for i in places]
            pairs = [drawn.overlap(scene.boxes[i], box) for i in wrong]
            number += m not in found and any(d and n >= scene.overlap * d for n, d in pairs)
    return number


@dataclass(frozen=True)
class Compared:
    """A certificate beside the truth.

    Args:
        detail: what is false; empty for nothing.
        equal: of each figure, whether the certificate is the truth.
    """

    detail: str
    equal: dict[str, bool]


def examine(seed: int, most: int = 5) -> Compared:
    """Certify a scene, and enumerate all that can be made of it."""
    scene = draw(seed, most)
    outcomes = together(scene)
    ledger = drawn.certified(scene)
    allowed = list(spent(ledger))
    counts = {(sum(len(f) for f, _ in o), sum(len(w) for _, w in o)) for o in outcomes}
    detail = ""
    for tp, fp in counts:
        if not any(tp >= a and fp <= b for a, b, _ in allowed):
            detail = f"{tp} right and {fp} wrong can be reached, certified {allowed}"
    equal = {
        "fewest right": min(tp for tp, _ in counts) == allowed[-1][0],
        "most wrong": max(fp for _, fp in counts) == max(b for _, b, _ in allowed),
    }
    if len(scene.scores) > 1:
        bound = certified_mistakes(scene)
        truth = max(mistaken(scene, o) for o in outcomes)
        if truth > bound:
            detail = f"{truth} objects can be mislabelled, certified {bound}"
        equal["most mislabelled"] = truth == bound
    return Compared(detail, equal)


def certified_mistakes(scene: Scene) -> int:
    """At most so many objects are mislabelled."""
    boxes = np.array(scene.boxes, dtype=np.float64).reshape(-1, 4)
    scores = np.array(scene.scores, dtype=np.float64) / 4
    reach = Reach.of(scene.eps, Fraction(1), scene.norm, scores.size)
    parts = (scores, boxes, drawn.annotation(scene), range(len(scores)), drawn.pipeline_of(scene), reach)
    ledger = mislabelled.read(*parts, crowded=False)
    return max(fn for _, _, fn in spent(ledger))


def main() -> None:
    """Examine scenes and say how often the certificate is the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--locations", type=int, default=6)
    given = parser.parse_args()
    begun, counted = time.perf_counter(), collections.Counter[str]()
    for seed in range(given.start, given.start + given.count):
        found = examine(seed, given.locations)
        if found.detail:
            print(f"FALSE seed {seed}: {found.detail}", flush=True)
        for name, same in found.equal.items():
            counted[f"{name}: asked"] += 1
            counted[f"{name}: equal"] += same
    print(f"{time.perf_counter() - begun:.0f} s: {', '.join(f'{k} {n}' for k, n in sorted(counted.items()))}")


if __name__ == "__main__":
    main()
