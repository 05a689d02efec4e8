"""Prices at which the bound over cells is as low as one price for each colour makes it: the last piece's slope.

Who writes a certificate needs them; who reads one takes any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.oracle.scene import BoolArray, FloatArray
from robspec.recheck.cells import Asked, Prices, Reach
from robspec.recheck.whole import nearly

_STEPS = 60
_TINY = Fraction(1, 2**200)


@dataclass(frozen=True, slots=True)
class Found:
    """Prices, and where they meet.

    Args:
        prices: of each colour.
        left: how many leave where the budget is spent, parts of flips included.
        entered: how many enter there.
    """

    prices: Prices
    left: Fraction
    entered: Fraction


def near(reach: Reach, asked: Asked) -> Prices:
    """Find prices whose bound is nearly the least, in doubles."""
    if asked.budget == 0:
        return Prices((Fraction(0),) * reach.lattice.colours)
    return Prices(tuple(Fraction(float(price)) for price in _enclosed(reach, asked)[1]))


def best(reach: Reach, asked: Asked) -> Found:
    """Find the prices at which the bound is least, exactly.

    A bound is convex in its price, and every price gives a line below it. Two of them meet where the bound is at
    least as much; where it is no more there is no better price.
    """
    colours = reach.lattice.colours
    worth = (asked.leave, asked.enter)
    if asked.budget == 0:
        return Found(Prices((Fraction(0),) * colours), Fraction(0), Fraction(0))
    # At 0 all that is within reach is given up, and at this much nothing that costs what a budget can tell.
    far = 1 + sum(reach.everything(asked), Fraction(0)) / _TINY
    ends = [[Fraction(float(price)) for price in end] for end in _enclosed(reach, asked)]
    steep, flat = (reach.lines(asked, end) for end in ends)
    ends[0] = [price if spent > 1 else Fraction(0) for price, (_, _, spent) in zip(ends[0], steep, strict=True)]
    ends[1] = [price if spent <= 1 else far for price, (_, _, spent) in zip(ends[1], flat, strict=True)]
    steep, flat = (reach.lines(asked, end) for end in ends)
    done = [spent <= 1 for _, _, spent in steep]
    prices = list(ends[0])
    while not all(done):
        for c in range(colours):
            if not done[c]:
                prices[c] = (_worth(worth, steep[c]) - _worth(worth, flat[c])) / (steep[c][2] - flat[c][2])
        found = reach.lines(asked, prices)
        for c, line in enumerate(found):
            if done[c]:
                continue
            if _above(worth, line, prices[c]) == _above(worth, steep[c], prices[c]):
                done[c] = True
            elif line[2] > 1:
                steep[c] = line
            else:
                flat[c] = line
    left = entered = Fraction(0)
    for one, other in zip(steep, flat, strict=True):
        part = (1 - other[2]) / (one[2] - other[2]) if one[2] > 1 else Fraction(1)
        left += other[0] + part * (one[0] - other[0])
        entered += other[1] + part * (one[1] - other[1])
    return Found(Prices(tuple(prices)), left, entered)


def _worth(each: Sequence[Fraction], line: tuple[int, int, Fraction]) -> Fraction:
    return each[0] * line[0] + each[1] * line[1]


def _above(each: Sequence[Fraction], line: tuple[int, int, Fraction], price: Fraction) -> Fraction:
    return _worth(each, line) - price * line[2]


def _enclosed(reach: Reach, asked: Asked) -> tuple[FloatArray, FloatArray]:
    """Enclose the price at which each colour's budget runs out, in doubles: a guess."""
    colours = reach.lattice.colours
    low, high = np.zeros(colours), np.zeros(colours)
    if not len(reach.keys):
        return low, high
    rough = nearly(reach.keys)
    top = int(np.argmax(rough))
    share = float(Fraction(int(reach.keys[top])) * reach.unit / asked.budget)
    costs = rough / rough[top] * share if rough[top] else rough
    worth = float(asked.leave) * reach.left + float(asked.enter) * reach.entered
    own = np.repeat(np.arange(len(reach.starts)), np.diff(np.append(reach.starts, len(costs))))
    of = reach.colour[own]

    def short(price: FloatArray) -> BoolArray:
        value = worth - price[of] * costs
        most = np.maximum.reduceat(value, reach.starts)
        places = np.where(value == most[own], np.arange(len(value)), len(value))
        chosen = np.minimum.reduceat(places, reach.starts)
        spent = np.where(most > 0, costs[chosen], 0.0)
        found: BoolArray = np.bincount(reach.colour, weights=spent, minlength=colours) > 1
        return found

    wide = short(low)
    high = np.where(wide, 1.0, 0.0)
    while bool((more := wide & short(high)).any()) and float(high.max()) < 1e60:
        low, high = np.where(more, high, low), np.where(more, 4 * high, high)
    for _ in range(_STEPS):
        middle = np.where(low > 0, np.sqrt(low * high), (low + high) / 2)
        over = short(middle)
        low, high = np.where(wide & over, middle, low), np.where(wide & ~over, middle, high)
    return low, high
