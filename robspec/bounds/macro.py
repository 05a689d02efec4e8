"""Averages over classes sharing one budget: a Lagrangian bound over per-class worst cases (MATH.md 3.D).

Moving a pixel from class i to class j harms at most the class it leaves and the class it enters, so half of the cost
of leaving is charged to i and half of the cost of entering to j; entering is charged in full where the pixel is wrong
already and every set is a single class. Where the parts' class sets overlap, each of M parts is charged 1/M of every
cost instead. With g_k(c) the worst value of part k at spend c, for every price lambda >= 0

    h_eps >= sum_k min_c (w_k g_k(c) + lambda c) - lambda (L eps)^q,

where no part is ever spent more on than (L eps)^q. g_k is evaluated at increasing spends; between two of them the
value is taken at the larger, the spend at the smaller. Spends double at first; at the price found, the stretches that
decide the minimum are halved until they do so no more.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.bounds import search
from robspec.bounds.confusion import Confusion
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.plans import Mean
from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray
from robspec.kernels.knapsack.budget import Budget, affordable, grid_bits, round_down, round_up
from robspec.semantics.constant import Constant

_WHOLE = 1 - 2.0**-50
"""A single part is charged all of a cost; not exactly 1, at which items would be margins and no costs."""
_LEAST_REACH = Fraction(1, 2**960)
_EVALUATION = 2.0**-40
"""Slack for evaluating a bound in doubles, relative to the size of the values."""
_REFINEMENTS = 24


@dataclass(frozen=True, slots=True)
class Relaxation:
    """What a bound on an average stands on: from these numbers anyone can evaluate it.

    Args:
        price: what a grid unit is charged.
        unit: a grid unit, in ||a||_q^q.
        spends: of each part, the ascending grid units between which its stretches lie, 0 first.
    """

    price: Fraction
    unit: Fraction
    spends: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """Ascending spends of one part and its value at each; from one to the next the value is that of the larger."""

    spends: Sequence[int]
    values: Sequence[float]

    @property
    def starts(self) -> FloatArray:
        """Where the stretches that end at the spends begin."""
        return np.array([0.0, *map(float, self.spends[:-1])])


def open_bound(metric: Metric, context: Context, constant: Constant) -> Bound:
    """Open an average over classes on a batch."""
    return Bound(metric, context, constant)


class _Part:
    """One part's weighted worst value as a function of what is spent on it, evaluated where asked and remembered.

    Args:
        weight: of the part.
        metric: the part.
        confusion: its counts and costs, shares already applied.
        budget: how costs become integer units; its limit is the most that is ever spent.
    """

    def __init__(self, weight: Fraction, metric: Metric, confusion: Confusion, budget: Budget) -> None:
        self._weight = weight
        self._metric = metric
        self._find = confusion.finder(metric)
        leave, enter = confusion.lists(budget, budget)
        self._leave = affordable(leave, budget)
        self._enter = affordable(enter, budget)
        self._known: dict[int, float] = {}
        top = min(int(self._leave.sum()) + int(self._enter.sum()), budget.limit)
        cheapest = min((int(x) for x in (*self._leave[:1], *self._enter[:1])), default=0)
        # Nothing changes below the cheapest item: the stretch up to it ends where that still holds.
        spends = [0, min(cheapest - 1, top)] if cheapest > 1 and top > 0 else [0]
        while spends[-1] < top:
            spends.append(min(max(2 * spends[-1], cheapest, 1) if spends[-1] >= cheapest else max(cheapest, 1), top))
        self.spends = spends
        sign = -1 if metric.lower_is_better else 1
        self.values = [sign * self.value(s) for s in spends]

    def value(self, spend: int) -> float:
        """Worst value at a spend times the weight, rounded to the worse side."""
        if spend not in self._known:
            a = self._leave[: np.searchsorted(self._leave, spend, side="right")]
            b = self._enter[: np.searchsorted(self._enter, spend, side="right")]
            exact = self._weight * self._find(a, b, spend)
            self._known[spend] = round_out(exact, up=self._metric.lower_is_better)
        return self._known[spend]

    def coarse(self) -> _Table:
        """Stretches between the doubling spends."""
        return _Table(self.spends, self.values)

    def refined(self, price: float) -> _Table:
        """Stretches halved where they decide the minimum at a price."""
        sign = -1 if self._metric.lower_is_better else 1
        ends = dict(zip(self.spends, self.values, strict=True))
        pairs = itertools.pairwise(self.spends)
        stretches = [(v + price * s, s, e) for (s, e), v in zip(pairs, self.values[1:], strict=True)]
        heapq.heapify(stretches)
        reached = min(v + price * s for s, v in ends.items())
        for _ in range(_REFINEMENTS):
            if not stretches or stretches[0][0] >= reached or stretches[0][2] - stretches[0][1] < 2:
                break
            _, start, end = heapq.heappop(stretches)
            middle = (start + end) // 2
            ends[middle] = sign * self.value(middle)
            reached = min(reached, ends[middle] + price * middle)
            heapq.heappush(stretches, (ends[middle] + price * start, start, middle))
            heapq.heappush(stretches, (ends[end] + price * middle, middle, end))
        spends = sorted(ends)
        return _Table(spends, [ends[s] for s in spends])


@dataclass(frozen=True, slots=True)
class _Image:
    clean: Fraction
    hopeless: Fraction
    parts: tuple[tuple[Fraction, Metric, Confusion], ...]
    size: Fraction
    """Of the logits, so that scaling them scales everything."""
    opened: dict[Fraction, tuple[_Part, ...]]
    """The parts by how far they reach: size^q times a power of 16, at least any spend; the budget alone decides."""


class Bound:
    """A non-negative combination of one-class metrics on a batch.

    Args:
        metric: uniform or frequency average over the annotated classes, or `parts` the user wrote out.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant) -> None:
        self.metric = metric
        self.constant = constant
        self._q = constant.output_norm.p
        parts = _parts(metric, context.classes)
        sets = [part.classes for _, part in parts]
        disjoint = all(not set(a) & set(b) for a, b in itertools.combinations(sets, 2))
        # A wrong pixel is true for a set that holds its label and its prediction: leaving that set is charged too.
        plain = disjoint and all(len(inside) == 1 for inside in sets)
        share = 1.0 if self._q is None else _WHOLE if len(parts) == 1 else 0.5 if disjoint else 1 / len(parts)
        read = [
            context.one_class(
                metric, part.classes, water=self._q == 2, share=share, whole=plain and self._q is not None
            )
            for _, part in parts
        ]
        self._images: list[_Image | None] = []
        for i in range(len(context)):
            found = [(w, part, Confusion.of(batch, i)) for (w, part), batch in zip(parts, read, strict=True)]
            size = Fraction(float(abs(context.logits[i]).max())) or Fraction(1)
            self._images.append(self._open(found, size))

    def _open(self, found: list[tuple[Fraction, Metric, Confusion]], size: Fraction) -> _Image | None:
        if not self.metric.parts:
            found = [(w, part, c) for w, part, c in found if c.defined(part)]
            total = sum(c.tp + c.fn for _, _, c in found)
            frequency = isinstance(self.metric.plan, Mean) and self.metric.plan.frequency
            found = [
                (Fraction(c.tp + c.fn, total) if frequency else Fraction(1, len(found)), p, c) for _, p, c in found
            ]
        if not found or not all(c.defined(part) for _, part, c in found):
            return None
        clean = sum((w * _clean(part, c) for w, part, c in found), Fraction(0))
        hopeless = sum((w * _worst_of_all(part, c) for w, part, c in found), Fraction(0))
        return _Image(clean, hopeless, tuple(found), size, {})

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values, None where no class (or not every part) is annotated."""
        return [None if i is None else i.clean for i in self._images]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value within each budget (Q1); relaxed by the Lagrangian."""
        return [self._sweep(image, budgets) for image in self._images]

    def _sweep(self, image: _Image | None, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        if image is None:
            return (None,) * len(budgets)
        # The largest first: its items hold those of all others.
        found = {eps: self._worst(image, eps) for eps in sorted(set(budgets), reverse=True)}
        return tuple(found[eps] for eps in budgets)

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius for each of its thresholds from below (Q2)."""
        return search.radii(
            self.metric,
            self.constant,
            self._images,
            gammas,
            clean=lambda image: image.clean,
            hopeless=lambda image: image.hopeless,
            worst=self._worst,
            strict=strict,
        )

    def relaxation(self, image: int, eps: Fraction) -> Relaxation | None:
        """Say what one image's bound within a budget stands on; None where it is undefined or nothing is shared."""
        found = self._images[image]
        if found is None or self._q is None or eps * self.constant.value == 0:
            return None
        parts, budget, unit = self._opened(found, eps, int(self._q))
        price, _, tables = _lagrangian(parts, budget)
        return Relaxation(Fraction(price), unit, tuple(tuple(table.spends) for table in tables))

    def _worst(self, image: _Image, eps: Fraction) -> Fraction:
        if self._q is None or eps * self.constant.value == 0:
            values = (w * c.worst_case(part, eps, self.constant) for w, part, c in image.parts)
            return sum(values, Fraction(0))
        parts, budget, _ = self._opened(image, eps, int(self._q))
        sign = -1 if self.metric.lower_is_better else 1
        bound = sign * Fraction(_lagrangian(parts, budget)[1])
        return max(bound, image.hopeless) if sign > 0 else min(bound, image.hopeless)

    def _opened(self, image: _Image, eps: Fraction, q: int) -> tuple[tuple[_Part, ...], float, Fraction]:
        """The parts as far as a budget reaches; it in their grid units, rounded up; and the unit."""
        spend = (eps * self.constant.value) ** q
        size = image.size**q
        reach = max(size * _power_of_16(spend / size), _LEAST_REACH)
        limit = 2 ** grid_bits(image.parts[0][2].pixels)
        if reach not in image.opened:
            budget = Budget(1, round_down(limit * (1 - Fraction(1, 2**45)) / reach), limit)
            image.opened[reach] = tuple(_Part(w, part, c, budget) for w, part, c in image.parts)
        return image.opened[reach], round_up(spend / reach * limit), reach / limit


def _power_of_16(value: Fraction) -> Fraction:
    """The least power of 16 that is not below a positive value."""
    exponent = (value.numerator.bit_length() - value.denominator.bit_length()) // 4 - 1
    power = Fraction(16) ** exponent
    while power < value:
        power *= 16
    return power


def _parts(metric: Metric, classes: int) -> list[tuple[Fraction, Metric]]:
    return list(metric.parts) or [(Fraction(1), one) for one in metric.each(classes)]


def _clean(part: Metric, confusion: Confusion) -> Fraction:
    value = confusion.value(part)
    if value is None:
        raise ValueError("a part without a clean value reached the sum")
    return value


def _worst_of_all(part: Metric, c: Confusion) -> Fraction:
    return c.worst(part, *c.everything())


def round_out(value: Fraction, *, up: bool) -> float:
    """Round a rational of either sign to a double on the stated side."""
    nearest = float(value)
    if (Fraction(nearest) < value) if up else (Fraction(nearest) > value):
        return math.nextafter(nearest, math.inf if up else -math.inf)
    return nearest


def _lagrangian(parts: Sequence[_Part], budget: float) -> tuple[float, float, list[_Table]]:
    """Find a good price and evaluate the bound there; any price is sound.

    Args:
        parts: oriented so that higher is better.
        budget: in the parts' units, rounded up; at most the limit of theirs.

    Returns:
        The price; a lower bound on the sum of the parts; the stretches it is of.
    """
    tables = [part.coarse() for part in parts]
    price, _ = _best_price(tables, budget)
    if price == 0.0:
        # Nothing is gained at any price between the doubling spends: look between them at what all may lose.
        price = sum(max(table.values) - min(table.values) for table in tables) / max(budget, 1.0)
    tables = [part.refined(price) for part in parts]
    price, best = _best_price(tables, budget)
    slack = _EVALUATION * (1 + sum(max(map(abs, table.values)) for table in tables))
    return price, best - slack, tables


def _best_price(tables: Sequence[_Table], budget: float) -> tuple[float, float]:
    """Maximise the bound, which is concave in the price, by golden section over its logarithm."""
    length = max(len(table.spends) for table in tables)
    starts, values = np.zeros((len(tables), length)), np.full((len(tables), length), np.inf)
    for row, table in enumerate(tables):
        starts[row, : len(table.spends)] = table.starts
        values[row, : len(table.spends)] = table.values

    def at(price: float) -> float:
        return float(np.add.reduce(np.minimum.reduce(values + price * starts, axis=1))) - price * budget

    golden = (math.sqrt(5) - 1) / 2
    low, high = math.log(2.0**-75), math.log(2.0**4)
    left, right = high - golden * (high - low), low + golden * (high - low)
    found = {0.0: at(0.0), math.exp(left): at(math.exp(left)), math.exp(right): at(math.exp(right))}
    for _ in range(40):
        if found[math.exp(left)] < found[math.exp(right)]:
            low, left = left, right
            right = low + golden * (high - low)
            found[math.exp(right)] = at(math.exp(right))
        else:
            high, right = right, left
            left = high - golden * (high - low)
            found[math.exp(left)] = at(math.exp(left))
    price = max(found, key=lambda p: found[p])
    return price, found[price]
