"""Compiled loops over the items of cells that share the energy of their nodes, each by parts of its own.

Where the parts of a node add up to 1 over the cells that it is in, the parts' energies of all cells add up to at most
that of all nodes, whatever an attack does. An item's price follows from its cell's parts (Cauchy-Schwarz), so that a
node serves the cell where its energy is worth most. Any parts are sound; rounds look for good ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled

LEAST = 2.0**-20
"""No part is smaller while they are looked for, so that each can grow again."""
_FAR = 2.0**900
_LEAP = 2.0**32


@compiled()
def priced(margins: Any, down: Any, along: Any, starts: Any, inverse: Any, keys: Any) -> None:
    """Price the items of every cell.

    Args:
        margins: float64 [n], at least 0.
        down: float64 [n, S], squares of the weights along the height.
        along: float64 [n, T], along the width.
        starts: int64 [C + 1], where each cell's items begin.
        inverse: float64 [C, S * T], 1 / part of each node.
        keys: float64 [n], overwritten: d^2 / (sum of u_c^2 / part_c), nodes in the order of memory.
    """
    tall, wide = down.shape[1], along.shape[1]
    for c in range(starts.size - 1):
        for i in range(starts[c], starts[c + 1]):
            total = 0.0
            for a in range(tall):
                for b in range(wide):
                    total += down[i, a] * along[i, b] * inverse[c, a * wide + b]
            keys[i] = margins[i] * margins[i] / total


@compiled()
def ordered(keys: Any, order: Any, far: int) -> None:
    """Sort a cell's items by what they cost, quickly where few have moved.

    Args:
        keys: float64 [n].
        order: int64 [k], which of them are the cell's; overwritten, ascending.
        far: how many places apart items are compared first, at least 2; no order depends on it but of equal keys.
    """
    gap = min(far, order.size)
    while gap > 1:
        gap = 1 if gap < 5 else (5 * gap - 1) // 11
        for i in range(gap, order.size):
            own = order[i]
            at = i
            while at >= gap and keys[order[at - gap]] > keys[own]:
                order[at] = order[at - gap]
                at -= gap
            order[at] = own


@compiled()
def chosen(keys: Any, worth: Any, order: Any, price: float) -> int:
    """Find how many items a cell gives up at a price for energy: the fewest of what is worth most.

    Args:
        keys: float64 [n].
        worth: float64 [n], what each item is worth.
        order: int64 [k], the cell's items, cheapest first.
        price: of a unit of energy.
    """
    best, number, gained = 0.0, 0, 0.0
    for j in range(order.size):
        i = order[j]
        gained += worth[i]
        value = gained - price * keys[i]
        if value > best:
            best = value
            number = j + 1
    return number


@compiled()
def spent_at(keys: Any, worth: Any, order: Any, starts: Any, price: float) -> float:
    """Add up what all cells spend at a price for energy; see `chosen`."""
    total = 0.0
    for c in range(starts.size - 1):
        own = order[starts[c] : starts[c + 1]]
        number = chosen(keys, worth, own, price)
        total += keys[own[number - 1]] if number else 0.0
    return total


@compiled()
def settle(
    keys: Any, worth: Any, order: Any, starts: Any, budget: float, price: float, step: float, halvings: int
) -> float:
    """Find a price for energy at which cells spend about the budget, no more.

    Args:
        keys: float64 [n].
        worth: float64 [n].
        order: int64 [n], each cell's items by key.
        starts: int64 [C + 1].
        budget: in units of keys.
        price: where to begin.
        step: what it is multiplied or divided by first, above 1, and by more each time until the answer is enclosed.
        halvings: of what encloses it, then.
    """
    low, high = price, price
    up, down = step, step
    while spent_at(keys, worth, order, starts, high) > budget and high < _FAR:
        low, high = high, up * high
        up = min(up * up, _LEAP)
    while spent_at(keys, worth, order, starts, low) <= budget and low > 1.0 / _FAR:
        low, high = low / down, low
        down = min(down * down, _LEAP)
    for _ in range(halvings):
        middle = np.sqrt(low) * np.sqrt(high)
        if spent_at(keys, worth, order, starts, middle) > budget:
            low = middle
        else:
            high = middle
    return high


@compiled()
def wanted(keys: Any, margins: Any, down: Any, along: Any, item: int, inverse: Any, energy: Any) -> None:
    """Say how much energy of each node the cheapest way to an item takes.

    Args:
        keys: float64 [n], as `priced` wrote them.
        margins: float64 [n].
        down: as in `priced`.
        along: as there.
        item: which one.
        inverse: float64 [S * T], of its cell.
        energy: float64 [S * T], overwritten; times the parts it adds up to the item's key.
    """
    tall, wide = down.shape[1], along.shape[1]
    d = margins[item]
    # The change of node c is d (u_c / part_c) / (sum of u^2 / part) = (u_c / part_c) key / d.
    scale = keys[item] / d if d > 0.0 else 0.0
    for a in range(tall):
        for b in range(wide):
            n = a * wide + b
            energy[n] = down[item, a] * along[item, b] * (inverse[n] * scale) * (inverse[n] * scale)


@compiled()
def even_out(parts: Any, nodes: Any, number: int) -> None:
    """Scale parts so that those of each node add up to 1.

    Args:
        parts: float64 [C, N], above 0, updated.
        nodes: int64 [C, N], which node each is of.
        number: of nodes.
    """
    sums = np.zeros(number)
    for c in range(nodes.shape[0]):
        for n in range(nodes.shape[1]):
            sums[nodes[c, n]] += parts[c, n]
    for c in range(nodes.shape[0]):
        for n in range(nodes.shape[1]):
            parts[c, n] = max(parts[c, n] / sums[nodes[c, n]], LEAST)


@compiled()
def divide(
    margins: Any, down: Any, along: Any, worth: Any, starts: Any, nodes: Any, number: int, budget: float, rounds: int
) -> Any:
    """Look for parts at which the items that a budget buys are worth least.

    The price of energy and what is worth giving up at it say how much energy of a node each of its cells would take.
    At the best parts all would take the same; a part grows where more is taken, in steps that get smaller.

    Args:
        margins: float64 [n].
        down: float64 [n, S], squares of weights.
        along: float64 [n, T].
        worth: float64 [n], at least 0.
        starts: int64 [C + 1].
        nodes: int64 [C, N].
        number: of nodes.
        budget: in units of keys, above 0.
        rounds: how many.

    Returns:
        float64 [C, N], parts that add up to about 1 at each node.
    """
    cells, corners = nodes.shape
    parts = np.ones((cells, corners))
    keys, order = np.empty(margins.size), np.arange(margins.size)
    energy, inverse = np.empty((cells, corners)), np.empty((cells, corners))
    price = min(max(worth.sum() / budget, 1.0 / _FAR), _FAR)
    even_out(parts, nodes, number)
    for turn in range(rounds):
        for c in range(cells):
            for n in range(corners):
                inverse[c, n] = 1.0 / parts[c, n]
        priced(margins, down, along, starts, inverse, keys)
        for c in range(cells):
            ordered(keys, order[starts[c] : starts[c + 1]], margins.size if turn == 0 else 4)
        price = settle(keys, worth, order, starts, budget, price, 16.0 if turn == 0 else 1.05, 8 if turn == 0 else 6)
        mean = np.zeros(number)
        for c in range(cells):
            own = order[starts[c] : starts[c + 1]]
            given = chosen(keys, worth, own, price)
            if given:
                wanted(keys, margins, down, along, own[given - 1], inverse[c], energy[c])
            else:
                energy[c, :] = 0.0
            for n in range(corners):
                mean[nodes[c, n]] += parts[c, n] * energy[c, n]
        step = 0.3 / np.sqrt(1.0 + turn)
        for c in range(cells):
            for n in range(corners):
                own_mean = mean[nodes[c, n]]
                if energy[c, n] + own_mean > 0.0:
                    parts[c, n] *= 1.0 + step * (energy[c, n] - own_mean) / (energy[c, n] + own_mean)
        even_out(parts, nodes, number)
    return parts
