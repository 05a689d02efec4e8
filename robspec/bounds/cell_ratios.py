"""Ratios of one class set of a network that ends in a fixed up-sampling: cells give up pixels of both kinds at once.

With the energy that its dearest flip takes a cell gives up every pixel that is as cheap, whether it leaves the class
or enters it. For a value v of num / den an attack of a leaves and b enters changes num - v den by alpha a + beta b at
most, and what cells of one colour are worth in that way has a bound at every price (weak duality).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from robspec.bounds.cells import FullSize, budget_of
from robspec.bounds.search import Found, meets
from robspec.ir.plans import Quotient, Rate
from robspec.ir.types import Metric
from robspec.kernels.coarse import CoarseClass
from robspec.kernels.knapsack import IntArray
from robspec.kernels.knapsack.budget import Budget, round_down
from robspec.semantics.constant import Constant

_ROUNDS = 6
"""How often a value is brought nearer to the worst."""
_GRID = 2**40
"""Values are looked for, and rounded to the safe side, in parts of this."""
_CLOSE = 10
"""Bits of a price."""
_NEAR, _FAR = Fraction(1, 2**40), Fraction(2**40)
"""Radii looked for."""


def has_cells(metric: Metric) -> bool:
    """Tell whether a metric is a ratio that cells bound: a quotient of two sums of counts of one class set."""
    return isinstance(metric.plan, Quotient | Rate) and not metric.weighted and metric.formula.linear


class Spread:
    """What cells may give up within a budget, each kind of flip being worth something.

    Args:
        read: gives the batch; it is let go of after each question.
        image: which one.
        budget: of the coarse logits in l2.
    """

    def __init__(self, read: Callable[[], CoarseClass], image: int, budget: Budget) -> None:
        self._read, self._image, self._budget = read, image, budget
        opened = read()
        every = np.full(opened.colours, budget.limit + 1)
        _, spent, leaves, enters = opened.given_up(image, budget, every, every)
        self._most = leaves, enters
        self._short = spent > budget.limit

    @property
    def nothing(self) -> bool:
        """Whether no pixel is within reach."""
        return not any(part.any() for part in self._most)

    def worth(self, leave: Fraction, enter: Fraction) -> tuple[Fraction, tuple[Fraction, Fraction]]:
        """Bound what all flips within reach are worth together.

        Args:
            leave: worth of a pixel that leaves, at least 0.
            enter: of one that enters, at least 0.

        Returns:
            The bound, and about how many leave and enter where it is met.

        Source: RESOLUTION.md R1; for prices p and r of the flips of each kind, in grid units, what a colour gives up
        is worth p a + r b <= limit + sum over cells of max (p a_s + r b_s - cost_s).
        """
        unit, limit = max(leave, enter), self._budget.limit
        if unit == 0:
            return Fraction(0), (Fraction(0), Fraction(0))
        low, high, ends = self._enclosed(leave / unit, enter / unit)
        total, sums = Fraction(0), [Fraction(0), Fraction(0)]
        for colour in range(len(self._short)):
            a, b = (int(part[colour]) for part in self._most)
            found, point = leave * a + enter * b, (Fraction(a), Fraction(b))
            if self._short[colour]:
                columns = [[int(part[colour]) for part in end] for end in ends]
                for price, (worth, *_) in zip((low, high), columns, strict=True):
                    found = min(found, unit * Fraction(limit + worth, int(price[colour])))
                point = _between(columns[0][1:], columns[1][1:], limit)
            total += found
            sums = [s + p for s, p in zip(sums, point, strict=True)]
        return total, (sums[0], sums[1])

    def _enclosed(self, leave: Fraction, enter: Fraction) -> tuple[IntArray, IntArray, tuple[IntArray, IntArray]]:
        """Enclose in every colour the price at which the budget runs out; give what is given up at both ends."""
        read = self._read()

        def at(prices: IntArray) -> IntArray:
            # Rounded up: every flip is worth at least what it should be.
            rows = [[-(-share.numerator * int(p) // share.denominator) for p in prices] for share in (leave, enter)]
            return read.given_up(self._image, self._budget, *(np.array(row, dtype=np.int64) for row in rows))

        colours, limit = read.colours, self._budget.limit
        low, high = np.ones(colours, np.int64), np.full(colours, limit + 1)
        ends = at(low), at(high)
        while (wide := self._short & (high - low > np.maximum(low >> _CLOSE, 1))).any():
            far = high > 4 * low
            middle = np.where(far, np.sqrt(low.astype(np.float64) * high).astype(np.int64), (low + high) // 2)
            middle = np.where(wide, np.clip(middle, low + 1, np.maximum(high - 1, low + 1)), low)
            found = at(middle)
            fits = found[1] <= limit
            low, high = np.where(wide & fits, middle, low), np.where(wide & ~fits, middle, high)
            ends = np.where(wide & fits, found, ends[0]), np.where(wide & ~fits, found, ends[1])
        return low, high, ends


def _between(low: Sequence[int], high: Sequence[int], limit: int) -> tuple[Fraction, Fraction]:
    """Where between two numbers of flips a budget runs out, if what they cost has it between."""
    apart = high[0] - low[0]
    part = Fraction(min(max(limit - low[0], 0), apart), apart) if apart > 0 else Fraction(0)
    a, b = (x + part * (y - x) for x, y in zip(low[1:], high[1:], strict=True))
    return a, b


class Sums:
    """Numerator and denominator of a ratio, and what a flip of each kind adds; lower is worse.

    Args:
        metric: one that `has_cells`.
        counts: TP, FP, FN and TN.
    """

    def __init__(self, metric: Metric, counts: Sequence[int]) -> None:
        self.sign = -1 if metric.lower_is_better else 1
        ratio = metric.formula.ratio
        rows = [[0] * 4, [0] * 4]
        for row, polynomial in zip(rows, (ratio.numerator, ratio.denominator), strict=True):
            for exponents, coefficient in polynomial.terms:
                row[exponents.index(1)] = coefficient
        rows[0] = [self.sign * c for c in rows[0]]
        self.above, self.below = (sum(c * n for c, n in zip(row, counts, strict=True)) for row in rows)
        self.leaving, self.entering = zip(*((fn - tp, fp - tn) for tp, fp, fn, tn in rows), strict=True)

    def changes(self, value: Fraction) -> tuple[Fraction, Fraction]:
        """What num - value den loses with each flip; a gain, of which nothing has to be made, counts as nothing."""
        found = (max(value * below - above, Fraction(0)) for above, below in (self.leaving, self.entering))
        return next(found), next(found)

    def at(self, flips: tuple[Fraction, Fraction]) -> Fraction | None:
        """The ratio after so many flips, None where there is none."""
        above, below = (
            start + self.leaving[i] * flips[0] + self.entering[i] * flips[1]
            for i, start in enumerate((self.above, self.below))
        )
        return above / below if below > 0 else None


class Attack:
    """The worst of a ratio within the budgets of one image or several, each its own.

    Args:
        sums: of all images.
        spreads: what each may lose.
    """

    def __init__(self, sums: Sums, spreads: Sequence[Spread]) -> None:
        self._sums, self._spreads = sums, spreads
        falls = Fraction(max(-sums.leaving[1], 0)), Fraction(max(-sums.entering[1], 0))
        self._below = sums.below - self._worth(*falls)[0]
        """No attack leaves a smaller denominator."""

    def _worth(self, leave: Fraction, enter: Fraction) -> tuple[Fraction, tuple[Fraction, Fraction]]:
        found = [spread.worth(leave, enter) for spread in self._spreads]
        flips = [sum((point[kind] for _, point in found), Fraction(0)) for kind in (0, 1)]
        return sum((worth for worth, _ in found), Fraction(0)), (flips[0], flips[1])

    def beyond(self, value: Fraction, *, strict: bool) -> bool:
        """Tell whether no attack brings the ratio, times its sign, down to a value; strict: below it."""
        if self._below <= 0:
            return False
        left = self._sums.above - value * self._sums.below - self._worth(*self._sums.changes(value))[0]
        return left >= 0 if strict else left > 0

    def least(self) -> Fraction | None:
        """Bound the ratio, times its sign, from below; None where its denominator may vanish.

        Source: MATH.md 3.C and 3.E: num - v den >= left for all that is within reach, so that num / den >= v + left /
        den, whatever v is; it is brought to where nothing is left (Dinkelbach).
        """
        if self._below <= 0:
            return None
        clean = Fraction(self._sums.above, self._sums.below)
        if all(spread.nothing for spread in self._spreads):
            return clean
        value, best = clean, None
        for _ in range(_ROUNDS):
            lost, flips = self._worth(*self._sums.changes(value))
            left = self._sums.above - value * self._sums.below - lost
            found = value + min(left, Fraction(0)) / self._below
            best = found if best is None else max(best, found)
            reached = self._sums.at(flips)
            lower = best if reached is None or not best < reached < value else reached
            lower = Fraction(math.floor(lower * _GRID), _GRID)
            if left >= 0 or lower >= value:
                break
            value = lower
        return best if best is None or best == clean else Fraction(math.floor(best * _GRID), _GRID)


class Bound:
    """A one-class metric on a batch, by cells where that is better.

    Args:
        metric: one that `has_cells`.
        full: the bound over full-size logits.
        read: the batch, cell by cell.
        constant: of coarse logits too, in l2.
    """

    def __init__(self, metric: Metric, full: FullSize, read: CoarseClass, constant: Constant) -> None:
        self._full, self._read, self._constant = full, read, constant
        self._metric = metric
        self._sign = -1 if metric.lower_is_better else 1

    def clean(self) -> list[Fraction | None]:
        """See `ratio.Bound.clean`."""
        return self._full.clean()

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """See `ratio.Bound.worst_case`; never worse than what it certifies, and never better than the clean value."""
        rows = zip(self._full.worst_case(budgets), self.clean(), strict=True)
        return [
            tuple(
                known if known is None or clean is None else self._better(image, eps, known, clean)
                for eps, known in zip(budgets, row, strict=True)
            )
            for image, (row, clean) in enumerate(rows)
        ]

    def _better(self, image: int, eps: Fraction, known: Fraction, clean: Fraction) -> Fraction:
        found = self._attack(image, eps).least()
        if found is None or known == clean:
            return known
        return self._sign * max(self._sign * known, min(found, self._sign * clean))

    def _attack(self, image: int, eps: Fraction) -> Attack:
        read = self._read
        spread = Spread(lambda: read, image, budget_of(read.pixels, self._constant, eps, single=read.single))
        return Attack(Sums(self._metric, self._read.counts[image].tolist()), [spread])

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """See `ratio.Bound.radius`; never less than what it certifies; short of the largest by one part in 2^20."""
        rows = zip(self._full.radius(gammas, strict=strict), gammas, self.clean(), strict=True)
        return [
            tuple(
                known
                if known is None or gamma is None or clean is None or meets(self._metric, clean, gamma, strict=strict)
                else self._radius(image, gamma, known, strict=strict)
                for known, gamma in zip(row, wanted, strict=True)
            )
            for image, (row, wanted, clean) in enumerate(rows)
        ]

    def _radius(self, image: int, gamma: Fraction, known: Fraction | float, *, strict: bool) -> Fraction | float:
        def certifies(eps: Fraction) -> bool:
            return self._attack(image, eps).beyond(self._sign * gamma, strict=strict)

        return farther(certifies, known, self._constant)


def farther(certifies: Callable[[Fraction], bool], known: Fraction | float, constant: Constant) -> Fraction | float:
    """Look for a larger radius than one that is known, by bisection, to one part in 2^20.

    Args:
        certifies: whether cells certify a budget.
        known: what is certified already.
        constant: of coarse logits.
    """
    if isinstance(known, float):
        return known
    if constant.coarse == 0:
        return math.inf if certifies(Fraction(0)) else known
    low, high = known, max(known, _NEAR) * (1 + Fraction(1, 2**20))
    step = high - low
    while high < _FAR and certifies(high):
        step *= 4
        low, high = high, high + step
    while high - low > low / 2**20 and high > _NEAR:
        middle = (low + high) / 2
        low, high = (middle, high) if certifies(middle) else (low, middle)
    return max(known, Fraction(round_down(low)))
