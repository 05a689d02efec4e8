"""Objects found by a detector, under attack: numbers in, numbers out (DETECTION.md D2 and D3).

One image has N locations, each with a box and K scores. A location *fires* for a class where its score reaches the
threshold; greedy suppression keeps of overlapping boxes the one with the highest score; what is kept is matched with
the annotated objects of the class. An attack moves all scores together by at most L eps in l_q and, where nothing is
assumed of the boxes, every coordinate of a box by at most L_b eps.

`cpu.read` and `reference.read` answer the same question with equal integers: what is certain of an image, and what
each change costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from robspec.kernels.knapsack.budget import Budget, costs, round_up

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

OVERLAP_MARGIN = Fraction(1, 2**20)
"""How far an overlap computed in float32 may lie from the true one: some twelve roundings of 2^-24 each."""
SCORE_MARGIN = Fraction(1, 2**22)
"""How far a sigmoid computed in float32, with a threshold rounded to float32, may lie from the true one."""
ORDER_MARGIN = Fraction(1, 2**21)
"""How far two sigmoids that are equal as computed in float32 may be apart in truth: two such errors."""
MOST_SEEDS = 512
"""Groups of boxes that surely overlap are sought around so many locations, the highest scores first."""
MOST_TOGETHER = 128
"""Most members of one group, and of one dominant clique."""


def below(value: float) -> float:
    """The next double down."""
    return math.nextafter(value, -math.inf)


def above(value: float) -> float:
    """The next double up."""
    return math.nextafter(value, math.inf)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The logit at which a location fires, as far as it is known.

    Args:
        low: below it nothing fires, as computed.
        high: from it on everything fires, as computed.
        margin: how far two computed scores may be from their true order; 0 where logits themselves are compared.
    """

    low: float
    high: float
    margin: float = 0.0

    @staticmethod
    def of_probability(tau: Fraction, margin: Fraction = SCORE_MARGIN, order: Fraction = ORDER_MARGIN) -> Threshold:
        """Bracket the logit of a probability that is compared with a sigmoid computed in float32.

        Args:
            tau: the probability, above 0 and at most 1.
            margin: error of the sigmoid and of the threshold together.
            order: error of two sigmoids together.

        Returns:
            The bracket; `high` is infinite where no sigmoid is sure to reach it.

        Source: DETECTION.md D1.
        """
        return Threshold(_logit(tau - margin, up=False), _logit(tau + margin, up=True), round_up(order))

    @staticmethod
    def of_score(tau: Fraction) -> Threshold:
        """Bracket a number that is compared with the model's own float32 output.

        Args:
            tau: the number; a comparison in float32 rounds it to one of its two neighbours.
        """
        near = np.float32(float(tau))
        low = near if Fraction(float(near)) <= tau else np.nextafter(near, np.float32(-np.inf))
        high = near if Fraction(float(near)) >= tau else np.nextafter(near, np.float32(np.inf))
        return Threshold(float(low), float(high))

    def slack(self, score: float) -> float:
        """How much lower in logits than a location that fires another one may be whose computed score is no lower.

        The difference s(x) = x - logit(sigmoid(x) - margin) is convex in sigmoid(x), and x - s(x) rises with x. So
        it is largest at the ends of [low, score], and moving the location above its own score never helps.

        Args:
            score: the location's clean logit.

        Returns:
            The larger of s(low) and s(score), rounded up; infinite where sigmoids no longer tell scores apart.
        """
        return 0.0 if self.margin == 0.0 else max(_slack(self.margin, self.low), _slack(self.margin, score))


@lru_cache(maxsize=1 << 14)
def _slack(margin: float, x: float) -> float:
    """How far below a logit a sigmoid lies that may be computed as no less, rounded up."""
    if not x > -36.0:
        return math.inf
    # p / (p - m) and (1 - p + m) / (1 - p), the logarithms of both added up; 1 - p without cancellation.
    p, rest = 1.0 / (1.0 + math.exp(-x)), 1.0 / (1.0 + math.exp(min(x, 700.0)))
    if p <= margin * (1 + 2**-40):
        return math.inf
    found = math.log1p(margin / rest) - math.log1p(-margin / p)
    if x > 700.0:
        # The sigmoid is 1 to within e^-700, and what is `margin` below it stands at log((1 - margin) / margin).
        found = x + math.log(margin) - math.log1p(-margin)
    return found * (1 + 2**-40) + 2**-45


def _logit(p: Fraction, *, up: bool) -> float:
    if p <= 0:
        return -math.inf
    if p >= 1:
        return math.inf
    odds = p / (1 - p)
    value = math.log(odds.numerator) - math.log(odds.denominator)
    # Logarithms of long integers are right to about an ulp each; the difference may cancel.
    spread = 2**-48 * (abs(math.log(odds.numerator)) + abs(math.log(odds.denominator)) + 1)
    return value + spread if up else value - spread


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What stands between scores and detections.

    Args:
        threshold: where a location fires.
        nms: a box that overlaps a kept one by more than this is suppressed; None for no suppression.
        overlap: a kept box is matched with an object it overlaps by at least this.
        margin: how far computed overlaps may be from the true ones.
    """

    threshold: Threshold
    nms: Fraction | None
    overlap: Fraction
    margin: Fraction = OVERLAP_MARGIN


@dataclass(frozen=True, slots=True)
class Reach:
    """How far an attack can go.

    Args:
        budget: what the distance of one score costs.
        one: how far one score can move, rounded up.
        two: how much closer two scores can come, rounded up.
        rho: how far a coordinate of a box can move, rounded up.
    """

    budget: Budget
    one: float
    two: float
    rho: float = 0.0

    @staticmethod
    def of(
        eps: Fraction, constant: Fraction, norm: Fraction | None, cells: int, boxes: Fraction = Fraction(0)
    ) -> Reach:
        """Say what an attack of a given size can do.

        Args:
            eps: its size, exact.
            constant: Lipschitz constant of the scores, rounded up.
            norm: the exponent q of the scores' norm: 1, 2 or None for infinity.
            cells: number of scores of an image.
            boxes: Lipschitz constant of a coordinate of a box, rounded up; 0 where boxes stay.

        Source: DETECTION.md D2.
        """
        reach = eps * constant
        # The double nearest to the square root of 2 lies above it.
        pair = Fraction(2) if norm is None else Fraction(1) if norm == 1 else Fraction(math.sqrt(2))
        budget = Budget.of(eps, constant, norm, cells, single=True)
        return Reach(budget, round_up(reach), round_up(pair * reach), round_up(eps * boxes))

    def costs(self, gaps: FloatArray) -> IntArray:
        """Price distances of single scores, rounded down.

        Args:
            gaps: how far each score has to move, at least 0; infinity for never.

        Returns:
            Integers to be added and compared with `budget.limit`.
        """
        b = self.budget
        if b.exponent == 0:
            return (gaps > b.scale).astype(np.int64)
        return costs(gaps, b)


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is annotated on one image.

    Args:
        boxes: [M, 4], x1, y1, x2, y2 in input pixels.
        classes: [M], class indices.
        crowd: [M], regions in which nothing counts as wrong, and which are no objects.
        ignored: [M], objects that need not be found (COCO's ignore, VOC's difficult); no crowds.
    """

    boxes: FloatArray
    classes: IntArray
    crowd: BoolArray
    ignored: BoolArray

    def real(self, k: int) -> FloatArray:
        """Boxes of the objects of a class that count."""
        return np.asarray(self.boxes[(self.classes == k) & ~self.crowd & ~self.ignored])

    def crowds(self, k: int) -> FloatArray:
        """Regions of a class in which nothing is wrong."""
        return np.asarray(self.boxes[(self.classes == k) & self.crowd])


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is certain of the detections of an image, and what it costs to change it.

    Args:
        objects: M, how many objects there are.
        vanish: for each object that is certainly found, what making it vanish costs, ascending.
        kept: at most so many detections are kept besides those that `appear`.
        appear: what further detections cost, ascending.
        limit: what may be spent.
    """

    objects: int
    vanish: tuple[int, ...]
    kept: int
    appear: tuple[int, ...]
    limit: int

    @property
    def found(self) -> int:
        """T0, how many objects are certainly found where nothing is attacked."""
        return len(self.vanish)

    def __add__(self, other: Ledger) -> Ledger:
        """Two classes of one image: different scores, one budget."""
        if self.limit != other.limit:
            raise ValueError("two budgets")
        return Ledger(
            self.objects + other.objects,
            tuple(sorted(self.vanish + other.vanish)),
            self.kept + other.kept,
            tuple(sorted(self.appear + other.appear)),
            self.limit,
        )


def as_stored(annotated: FloatArray) -> tuple[FloatArray, ...]:
    """Give annotated boxes as they are, and as a pipeline in float32 stores them where that is something else.

    Rounding moves a coordinate by half a unit in the last place of where it lies, which may be much of a small box:
    what is certain of matches has to be so for either.

    Args:
        annotated: float64 [M, 4].
    """
    stored = annotated.astype(np.float32).astype(np.float64)
    return (annotated,) if np.array_equal(stored, annotated) else (annotated, stored)
