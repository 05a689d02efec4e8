"""What is certain of the detections of one image, and what each change costs, exactly (DETECTION.md D2, D3, D5).

Overlaps and scores that a pipeline computes in float32 may be off by what the constants say; within that, whatever is
worse is taken to happen. Which groups are tried is a choice, and any groups give a bound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import accumulate

import numpy as np

from robspec.oracle.scene import BoolArray, FloatArray, IntArray
from robspec.recheck.bracket import Bracket
from robspec.recheck.located import Attack, Located, ceiling
from robspec.recheck.overlaps import Moving, always, ever, share

OVERLAP_ERROR = Fraction(1, 2**20)
"""Of an overlap computed in float32."""
SEEDS = 512
"""Groups of boxes are tried around so many locations."""
TOGETHER = 128
"""Most members of a group."""
NOBODY, UNCLEAR = -1, -2


@dataclass(frozen=True, slots=True)
class Account:
    """What is certain, and what changing it costs.

    Args:
        objects: how many count.
        vanish: what each object that is certainly found costs to lose, ascending.
        kept: most detections beside those that appear.
        appear: what further detections cost, ascending.
        attack: what may be spent.
    """

    objects: int
    vanish: tuple[Fraction, ...]
    kept: int
    appear: tuple[Fraction, ...]
    attack: Attack

    @property
    def lost(self) -> int:
        """Most objects that can be lost."""
        return self._paid(self.vanish)

    @property
    def added(self) -> int:
        """Most detections that can be added."""
        return self._paid(self.appear)

    def outcomes(self) -> Iterator[tuple[int, int, int]]:
        """TP, FP and FN at their worst: for each number of lost objects the most detections the rest pays for."""
        found, limit = len(self.vanish), self.attack.budget
        lost, more = self._sums(self.vanish), self._sums(self.appear)
        for a in range(self.lost + 1):
            rest = limit if self.attack.q is None else limit - lost[a]
            wrong = self.kept - found + bisect_right(more, rest) - 1
            yield found - a, max(wrong, 0), self.objects - found + a

    def digest(self) -> str:
        """SHA-256 of all prices, written exactly."""
        words = (" ".join(map(str, self.vanish)), " ".join(map(str, self.appear)))
        return sha256("\n".join(words).encode()).hexdigest()

    def _sums(self, prices: tuple[Fraction, ...]) -> list[Fraction]:
        return [Fraction(0), *(prices if self.attack.q is None else accumulate(prices))]

    def _paid(self, prices: tuple[Fraction, ...]) -> int:
        return bisect_right(self._sums(prices), self.attack.budget) - 1


def account(
    image: Located,
    classes: Sequence[int],
    attack: Attack,
    *,
    bracket: Bracket | None = None,
    overlap: Fraction | None = None,
) -> Account:
    """What is certain of some classes of an image, all attacked from one budget.

    Args:
        image: the image.
        classes: asked about.
        attack: how far it goes.
        bracket: of another threshold than the detector's, above it.
        overlap: of a match, another than the detector's.
    """
    at = Bracket.of(image.detector) if bracket is None else bracket
    parts = [_of_class(image, k, attack, at, overlap) for k in classes]
    vanish = sorted(v for part in parts for v in part.vanish)
    if vanish and cut_short(image, attack, at):
        vanish = []
    appear = sorted(c for part in parts for c in part.appear)
    objects, kept = sum(p.objects for p in parts), sum(p.kept for p in parts)
    return Account(objects, tuple(vanish), kept, tuple(appear), attack)


def cut_short(image: Located, attack: Attack, at: Bracket) -> bool:
    """Whether the detector's limit may leave out what proves an object."""
    limit = image.detector.limit
    return limit is not None and int((image.scores >= least(at, attack)).sum()) > limit


def least(at: Bracket, attack: Attack) -> float:
    """The least score that an attack can make fire."""
    return -np.inf if at.low is None else ceiling(at.low - attack.reach - attack.room)


def _of_class(image: Located, k: int, attack: Attack, at: Bracket, overlap: Fraction | None) -> Account:
    if image.detector.match == "location":
        return _by_location(image, k, attack, at)
    return ByOverlap(image, k, attack, at, overlap).account()


def _by_location(image: Located, k: int, attack: Attack, at: Bracket) -> Account:
    row = image.scores[k]
    vanish = sorted(by_location_vanish(image, k, attack, at).values())
    stray = row[~inside(image, image.marked).any(axis=1)]
    stray = stray[stray >= least(at, attack)]
    now, appear = _rising(stray.tolist(), attack, at)
    return Account(len(image.real(k)), tuple(vanish), len(vanish) + now, appear, attack)


def by_location_vanish(image: Located, k: int, attack: Attack, at: Bracket) -> dict[int, Fraction]:
    """What each object costs to lose of which enough locations certainly fire."""
    row, own, need = image.scores[k], owned(image, k), image.detector.least
    found = {}
    if at.high is not None:
        bar = ceiling(at.high + attack.room)
        for m in range(own.shape[1]):
            fired = sorted(row[own[:, m] & (row >= bar)].tolist())
            if len(fired) >= need:
                found[m] = attack.together([fall(z, attack, at.high) for z in fired[: len(fired) - need + 1]])
    return found


def owned(image: Located, k: int) -> BoolArray:
    """Which locations lie in one object of a class and in no other of it: [N, M]."""
    found = inside(image, image.real(k))
    return np.asarray(found & (found.sum(axis=1) == 1)[:, None])


def inside(image: Located, boxes: FloatArray) -> BoolArray:
    """Which locations lie in which boxes: [N, M]."""
    if image.centres is None:
        raise ValueError("locations need centres")
    x, y = image.centres[:, :1], image.centres[:, 1:]
    return np.asarray((boxes[:, 0] < x) & (x < boxes[:, 2]) & (boxes[:, 1] < y) & (y < boxes[:, 3]))


def _rising(scores: Sequence[float], attack: Attack, at: Bracket) -> tuple[int, tuple[Fraction, ...]]:
    """How many fire as it is, and what the others cost that can be paid."""
    if at.low is None:
        return len(scores), ()
    gaps = [at.low - attack.room - Fraction(z) for z in scores]
    prices = [attack.price(gap) for gap in gaps if gap > 0]
    return sum(gap <= 0 for gap in gaps), tuple(sorted(p for p in prices if p <= attack.budget))


def fall(score: float, attack: Attack, high: Fraction) -> Fraction:
    """What it costs to bring a score that fires to the threshold."""
    return attack.price(max(Fraction(score) - high - attack.room, Fraction(0)))


def stored(boxes: FloatArray) -> tuple[FloatArray, ...]:
    """Annotated boxes as they are, and as float32 has them."""
    single = boxes.astype(np.float32).astype(np.float64)
    return (boxes,) if (single == boxes).all() else (boxes, single)


class ByOverlap:
    """One class of an image whose objects are matched by overlap.

    Args:
        image: the image.
        k: the class.
        attack: how far it goes.
        at: where a location fires.
        overlap: of a match, another than the detector's; or None.
    """

    def __init__(self, image: Located, k: int, attack: Attack, at: Bracket, overlap: Fraction | None = None) -> None:
        detector = image.detector
        if image.boxes is None or detector.overlap is None:
            raise ValueError("overlaps need boxes")
        self._attack, self._at, self._nms = attack, at, detector.nms
        self._o = detector.overlap if overlap is None else overlap
        self._real = image.real(k)
        self._crowds = image.marked[(image.classes == k) & image.crowd]
        self._floor = least(at, attack)
        row = image.scores[k]
        alive = np.flatnonzero(row >= self._floor)
        # The best first, of equal ones the first.
        self._places = alive[np.lexsort((alive, -row[alive]))]
        self._z: FloatArray = row[self._places]
        self._where = Moving(image.boxes[self._places], attack.far)
        self._mine = [Moving(boxes) for boxes in stored(self._real)]
        self._owner, self._clear = self._owners()
        self._witness = self._witnesses()

    def account(self) -> Account:
        """Everything about the class."""
        vanish = self.vanish()
        cheap = [m for m, price in vanish.items() if price <= self._attack.budget]
        loose = self._witness & np.isin(self._owner, cheap)
        left, cliques = self._cliques(~self._excused(), loose)
        heads = self._heads(np.flatnonzero(left))
        now, appear = _rising(self._z[heads].tolist(), self._attack, self._at)
        prices = tuple(sorted(vanish.values()))
        return Account(len(self._real), prices, cliques + now, appear, self._attack)

    def vanish(self) -> dict[int, Fraction]:
        """What each object costs to lose that is certainly found."""
        prices: dict[int, list[Fraction]] = {}
        if self._at.high is not None:
            for i in np.flatnonzero(self._witness).tolist():
                price = fall(float(self._z[i]), self._attack, self._at.high)
                prices.setdefault(int(self._owner[i]), []).append(price)
        return {m: self._attack.together(each) for m, each in prices.items()}

    def _owners(self) -> tuple[IntArray, BoolArray]:
        """The one object each location belongs to wherever its box goes; and which can be matched with none."""
        n, count = len(self._z), len(self._real)
        i, m = (a.reshape(-1) for a in np.indices((n, count)))
        touches = np.zeros(n * count, dtype=np.bool_)
        holds = np.ones(n * count, dtype=np.bool_)
        for each in self._mine:
            touches |= ever(self._where, i, each, m, self._o - OVERLAP_ERROR, strictly=False)
        some = np.flatnonzero(touches)
        for each in self._mine:
            holds[some] &= always(self._where, i[some], each, m[some], self._o + OVERLAP_ERROR, strictly=False)
        table, held = touches.reshape(n, count), (touches & holds).reshape(n, count)
        owner = np.full(n, UNCLEAR, dtype=np.int64)
        owner[~table.any(axis=1)] = NOBODY
        sure = (table.sum(axis=1) == 1) & held.any(axis=1)
        if sure.any():
            owner[sure] = held[sure].argmax(axis=1)
        return owner, np.asarray(owner == NOBODY)

    def _witnesses(self) -> BoolArray:
        """Locations that fire and that only boxes of the same object can suppress."""
        high = self._at.high
        if high is None:
            return np.zeros(len(self._z), dtype=np.bool_)
        found = (self._owner >= 0) & (self._z >= ceiling(high + self._attack.room))
        if self._nms is None:
            return found
        for i in np.flatnonzero(found).tolist():
            rivals = np.flatnonzero((self._owner != self._owner[i]) & self._ahead(i))
            if self._may(i, rivals).any() and not self._near(i):
                found[i] = False
        return found

    def _ahead(self, i: int) -> BoolArray:
        """Which locations can come before one in the order of suppression."""
        slack = self._at.slack(float(self._z[i]))
        if slack is None:
            return np.ones(len(self._z), dtype=np.bool_)
        bar = self._attack.within(Fraction(float(self._z[i])) - slack - self._attack.room)
        return np.asarray(self._z >= max(bar, self._floor))

    def _may(self, i: int, others: IntArray) -> BoolArray:
        """Which boxes can overlap one by more than suppression allows."""
        if self._nms is None:
            return np.zeros(len(others), dtype=np.bool_)
        return ever(
            self._where, np.full(len(others), i), self._where, others, self._nms - OVERLAP_ERROR, strictly=True
        )

    def _must(self, i: int, others: IntArray) -> BoolArray:
        """Which boxes overlap one by more than that wherever they go."""
        if self._nms is None:
            return np.zeros(len(others), dtype=np.bool_)
        return always(
            self._where, np.full(len(others), i), self._where, others, self._nms + OVERLAP_ERROR, strictly=True
        )

    def _near(self, i: int) -> bool:
        """Whether a box that moves is so near its object that whatever suppresses it belongs to the object too.

        One minus the overlap is a distance, and what suppresses the box is within 1 - t of it.
        """
        if not self._attack.far or self._nms is None:
            return False
        slackened = self._nms - OVERLAP_ERROR
        own = np.array([self._owner[i]])
        others = np.setdiff1d(np.arange(len(self._real)), own)
        place, places = np.array([i]), np.full(len(others), i)
        nearest, beside = 1 + self._o + OVERLAP_ERROR - slackened, self._o - OVERLAP_ERROR + slackened - 1
        return all(
            always(self._where, place, each, own, nearest, strictly=False).all()
            and not ever(self._where, places, each, others, beside, strictly=False).any()
            for each in self._mine
        )

    def _excused(self) -> BoolArray:
        """Locations that can be matched with no object and lie in a crowd wherever they go."""
        found = np.zeros(len(self._z), dtype=np.bool_)
        regions = [[each[n] for each in stored(self._crowds)] for n in range(len(self._crowds))]
        if regions:
            enough = self._o + OVERLAP_ERROR
            for i in np.flatnonzero(self._clear).tolist():
                mine = self._where.boxes[i].tolist()
                found[i] = any(
                    all(share(mine, self._attack.far, g.tolist()) >= enough for g in forms) for forms in regions
                )
        return found

    def _cliques(self, left: BoolArray, loose: BoolArray) -> tuple[BoolArray, int]:
        """Take out sets of which exactly one is kept whatever happens, with all that they surely suppress.

        A location that fires in spite of the attack is kept, or suppressed by a kept one that can come before it. If
        these all overlap each other, one is kept, and nothing that overlaps them all.
        """
        count, high = 0, self._at.high
        if self._nms is None or high is None:
            return left, 0
        bar = high + self._attack.reach + self._attack.room
        firing = np.flatnonzero(self._z >= ceiling(bar))
        firing = firing[[Fraction(z) > bar for z in self._z[firing].tolist()]] if len(firing) else firing
        for c in firing[:SEEDS].tolist():
            if not left[c]:
                continue
            rivals = np.flatnonzero(self._ahead(c))
            members = np.union1d(rivals[self._may(c, rivals)], [c])
            if len(members) > TOGETHER or loose[members].any():
                continue
            if not all(self._must(i, members[members != i]).all() for i in members.tolist()):
                continue
            rest = np.flatnonzero(left & ~loose)
            for member in members.tolist():
                rest = rest[self._must(member, rest)]
            left[rest] = False
            left[members] = False
            count += 1
        return left, count

    def _heads(self, places: IntArray) -> IntArray:
        """The best of each group of which at most one is kept; none holds locations of an object and others."""
        heads: list[int] = []
        while len(places) and self._nms is not None and len(heads) < SEEDS:
            head, places = int(places[0]), places[1:]
            heads.append(head)
            near = places[self._owner[places] == self._owner[head]]
            near = near[self._must(head, near)]
            group: list[int] = []
            while len(near) and len(group) + 1 < TOGETHER:
                one, near = int(near[0]), near[1:]
                group.append(one)
                near = near[self._must(one, near)]
            places = places[~np.isin(places, group)]
        return np.concatenate([np.array(heads, dtype=np.int64), places])
