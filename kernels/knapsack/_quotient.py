"""The least quotient over affordable flips, found from two short runs of items and proved to be least over all.

A pair (a, b) of flips makes the quotient N / D of two sums of counts smaller than n / d only if it gains more than
is wanted, alpha a + beta b > C, where alpha, beta and C follow from n, d and the counts. For any price mu of the
budget, what is gained within it is at most mu limit + max_a (alpha a - mu A(a)) + max_b (beta b - mu B(b)), A and B
being the costs of the cheapest flips together. Both terms are concave: where mu makes the items before a run worth
buying and those after it not, each is largest inside its run, and beyond either end of the run no larger than at
that end. So four numbers say of all pairs outside the runs that they gain too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import FloatArray, IntArray

_ROUNDS = 6
_WIDER = 1.02
"""A run reaches this much farther, either way, than the guess of the budget: the quotient is guessed too."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive items of a list that ascends.

    Args:
        count: how many items are before them.
        cost: what those cost together.
        inside: ascending costs.
        before: none before them costs more.
        beyond: none after them costs less; None where there is none that could be bought.
    """

    count: int
    cost: int
    inside: IntArray
    before: int
    beyond: int | None


@dataclass(frozen=True, slots=True)
class Quotient:
    """The quotient (n + a leave_n + b enter_n) / (d + a leave_d + b enter_d), to be made small.

    Args:
        counts: TP, FP, FN, TN.
        above: coefficients of the numerator.
        below: of the denominator.
        leaves: how many leave items there are.
        enters: how many enter items.
    """

    counts: IntArray
    above: IntArray
    below: IntArray
    leaves: int
    enters: int

    @property
    def start(self) -> tuple[int, int]:
        """Numerator and denominator without a flip."""
        return _product(self.above, self.counts), _product(self.below, self.counts)

    @property
    def steps(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What one flip adds to numerator and denominator, of a leave and of an enter item."""
        above, below = self.above.tolist(), self.below.tolist()
        return (above[2] - above[0], below[2] - below[0]), (above[1] - above[3], below[1] - below[3])

    @property
    def positive(self) -> bool:
        """Whether no flips bring the denominator to 0 or below."""
        (_, leave), (_, enter) = self.steps
        ends = (a * leave + b * enter for a in (0, self.leaves) for b in (0, self.enters))
        return self.start[1] + min(ends) > 0

    def gains(self, n: int, d: int) -> tuple[int, int, int]:
        """Say what a leave and an enter flip gain toward a quotient below n / d, and what must be gained for it."""
        (leave_n, leave_d), (enter_n, enter_d) = self.steps
        start_n, start_d = self.start
        return n * leave_d - d * leave_n, n * enter_d - d * enter_n, start_n * d - n * start_d


@dataclass(frozen=True, slots=True)
class Market:
    """What items cost, one by one and together; in doubles, so that nothing follows from it but a guess.

    Args:
        leave: ascending costs of leave items.
        enter: of enter items.
        stands_for: items for each of them.
    """

    leave: FloatArray
    enter: FloatArray
    stands_for: float = 1.0

    def balance(self, ratio: float, limits: Sequence[float]) -> list[float]:
        """Find, for budgets, the cost up to which leave items are bought, and enter items up to `ratio` times it.

        Args:
            ratio: infinity to buy enter items alone, up to the cost that is found.
            limits: the budgets.

        Returns:
            A cost for each; infinity where all is bought.
        """
        from robspec.kernels.knapsack._two import balance

        spent = [np.concatenate(([0.0], np.cumsum(some))) * self.stands_for for some in (self.leave, self.enter)]
        return [float(balance(self.leave, self.enter, spent[0], spent[1], ratio, limit)) for limit in limits]

    def bought(self, cost: float, ratio: float) -> tuple[int, int]:
        """Count the items up to a cost."""
        mine, other = both(cost, ratio)
        return int(np.searchsorted(self.leave, mine)), int(np.searchsorted(self.enter, other))


def both(cost: float, ratio: float) -> tuple[float, float]:
    """The costs of a leave and of an enter item that are worth the same."""
    if ratio == math.inf:
        return 0.0, cost
    return cost, cost * ratio if ratio else 0.0


def aim(
    problem: Quotient, sampled: Market, limit: float, spread: Callable[[int], float]
) -> list[tuple[float, float]] | None:
    """Guess from samples between which costs the last flips of the best pair lie.

    Args:
        problem: the counts are exact.
        sampled: costs of some items.
        limit: the budget.
        spread: how far a sum over so many samples may be off, relatively.

    Returns:
        The least cost and the largest of leave items, then of enter items: infinity for the end of the list. None
        where no flip makes the quotient smaller.
    """
    (leave_n, leave_d), (enter_n, enter_d) = problem.steps
    value, ratio = problem.start[0] / problem.start[1], 0.0
    for _ in range(_ROUNDS):
        alpha, beta = value * leave_d - leave_n, value * enter_d - enter_n
        if alpha <= 0 and beta <= 0:
            return None
        ratio = math.inf if alpha <= 0 else max(beta, 0.0) / alpha
        (last,) = sampled.balance(ratio, [limit])
        a, b = (n * sampled.stands_for for n in sampled.bought(last, ratio))
        d = problem.start[1] + a * leave_d + b * enter_d
        if d <= 0:
            return None
        value = (problem.start[0] + a * leave_n + b * enter_n) / d
    error = spread(sum(sampled.bought(last, ratio)))
    low, high = sampled.balance(ratio, [limit * max(1 - error, 0.0), limit * (1 + error)])
    lows = both(low / _WIDER if error < 1 else 0.0, ratio)
    known = (float(some[-1]) if len(some) else 0.0 for some in (sampled.leave, sampled.enter))
    return [(min(one, last), other) for one, last, other in zip(lows, known, both(high * _WIDER, ratio), strict=True)]


def settle(problem: Quotient, leave: Run, enter: Run, limit: int) -> tuple[int, int] | None:
    """Find the least quotient of all affordable pairs.

    Args:
        problem: monotone in both numbers of flips, its denominator positive.
        leave: a run of the leave items.
        enter: of the enter items.
        limit: the budget, in the units of costs.

    Returns:
        Numerator and positive denominator; None where it is not proved that the runs hold a best pair.
    """
    from robspec.kernels.knapsack._classes import worst_quotient

    rest = limit - leave.cost - enter.cost
    if rest < 0:
        return None
    shift = np.array([-leave.count, enter.count, leave.count, -enter.count], dtype=np.int64)
    n, d, _ = worst_quotient(leave.inside, enter.inside, rest, problem.counts + shift, problem.above, problem.below)
    if d <= 0:
        return None
    alpha, beta, wanted = problem.gains(int(n), int(d))
    if alpha < 0 or beta < 0:
        return None
    return (int(n), int(d)) if _enough(alpha, beta, wanted, leave, enter, limit) else None


def _enough(alpha: int, beta: int, wanted: int, leave: Run, enter: Run, limit: int) -> bool:
    """Tell whether no pair outside both runs gains more than is wanted."""
    price = _price(alpha, beta, leave, enter, limit)
    if price is None:
        return False
    ends = []
    for gain, run in ((alpha, leave), (beta, enter)):
        if run.count and gain < price * run.before:
            return False
        if run.beyond is not None and gain > price * run.beyond:
            return False
        spent = _sums(run)
        best = int(np.searchsorted(run.inside, math.floor(gain / price), side="right")) if price else len(run.inside)
        of = [gain * (run.count + at) - price * (run.cost + int(spent[at])) for at in (best, 0, len(run.inside))]
        ends.append((of[0], of[1] if run.count else None, of[2] if run.beyond is not None else None))
    outside = []
    for mine, others in (ends, ends[::-1]):
        outside += [end + others[0] for end in mine[1:] if end is not None]
    return all(price * limit + most <= wanted for most in outside)


def _sums(run: Run) -> IntArray:
    """What so many items of a run cost together, [n + 1]."""
    found: IntArray = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(run.inside)))
    return found


def _price(alpha: int, beta: int, leave: Run, enter: Run, limit: int) -> Fraction | None:
    """Choose what a unit of the budget is worth: as much as a gain over the last cost that is worth buying."""
    if alpha == beta == 0:
        return None
    inside = Market(leave.inside.astype(np.float64), enter.inside.astype(np.float64))
    (last,) = inside.balance(beta / alpha if alpha else math.inf, [float(limit - leave.cost - enter.cost)])
    if last == math.inf:
        return Fraction(0)  # everything inside is bought: nothing may be beyond
    return Fraction(alpha or beta) / max(math.floor(last), 1)


def _product(coefficients: IntArray, counts: IntArray) -> int:
    return sum(x * y for x, y in zip(coefficients.tolist(), counts.tolist(), strict=True))
