"""Exact sums of integer costs over margins (numba): vector blocks, no order and no thread count in the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_BLOCK = 1024
_EACH = 17
"""Of so many margins one is looked at to guess how far a budget reaches; no divisor of a usual width."""
_MORE = 1.15
"""So much more than the budget a guess reaches for: few guesses are then too low, and few items too many sorted."""
SUMMED = 64
"""Items of a block of sums."""


@compiled(inline="always")
def _item(d: float, exponent: int, scale: float, top: float) -> float:
    """Grid units of a margin before rounding down, capped: at most two multiplications, nothing to contract."""
    cost = d * d * scale if exponent == 2 else d * scale
    # Not a number only for an infinite margin under a scale of 0, a budget beyond every item: then it costs nothing.
    return top if cost >= top else cost if cost >= 0 else 0.0


@compiled()
def split(
    begin: int,
    end: int,
    margins: FloatArray,
    bits: IntArray,
    low: float,
    high: float,
    exponent: int,
    scale: float,
    limit: int,
    span: int,
    ends: IntArray,
    sums: IntArray,
    inside: FloatArray,
) -> bool:
    """Add up the items whose margin lies below a window and copy those inside it, in one pass.

    Args:
        begin: the first worker.
        end: the worker after the last.
        margins: [P], not negative, NaN where a pixel is no item.
        bits: [P], their bit patterns, which have the same order; NaN is beyond all.
        low: margins strictly below it are summed.
        high: margins from `low` to strictly below it are copied.
        exponent: of the budget, 1 or 2.
        scale: grid units per unit of d^q, rounded down.
        limit: grid units of the whole budget.
        span: how many pixels each worker looks at, the last one fewer.
        ends: [workers], ascending: where each worker's copies end and the next one's begin.
        sums: [workers], overwritten.
        inside: [ends[-1]], overwritten with the copies, in no order.

    Returns:
        Whether each of these workers found exactly the copies it has room for; nothing is ever written beyond it.
    """
    wrong = 0
    for worker in range(begin, end):
        spent = np.int64(0)
        n = ends[worker - 1] if worker else 0
        local = np.empty(_BLOCK + 1)
        stop = min((worker + 1) * span, margins.size)
        for at in range(worker * span, stop, _BLOCK):
            behind = min(at + _BLOCK, stop)
            spent += below(margins[at:behind], low, exponent, scale, limit)
            found = between(margins[at:behind], bits[at:behind], low, high, local)
            n += found
            if n > ends[worker]:
                break
            for i in range(found):
                inside[n - found + i] = local[i]
        sums[worker] = spent
        wrong += n != ends[worker]
    return wrong == 0


@compiled()
def below(margins: FloatArray, low: float, exponent: int, scale: float, limit: int) -> int:
    """Add up the costs of items whose margin is strictly below `low`; nothing else, or it is no vector code."""
    top = np.float64(limit + 1)
    spent = np.int64(0)
    for i in range(margins.size):
        spent += np.int64(_item(margins[i], exponent, scale, top) if margins[i] < low else 0.0)
    return int(spent)


@compiled()
def between(margins: FloatArray, bits: IntArray, low: float, high: float, out: Any) -> int:
    """Copy the margins from `low` to strictly below `high`, without a branch, rounded to the type of `out`.

    It has room for one more.
    """
    first = np.float64(low).view(np.int64)
    width = np.uint64(np.float64(high).view(np.int64) - first)
    found = 0
    for i in range(margins.size):
        out[found] = margins[i]
        found += int(np.uint64(bits[i] - first) < width)
    return found


@compiled()
def total(begin: int, end: int, margins: FloatArray, exponent: int, scale: float, limit: int, sums: IntArray) -> None:
    """Add up the costs of all given items, per worker.

    Args:
        begin: the first worker.
        end: the worker after the last.
        margins: no NaN.
        exponent: of the budget, 1 or 2.
        scale: grid units per unit of d^q, rounded down.
        limit: grid units of the whole budget.
        sums: [workers], overwritten.
    """
    workers = sums.size
    share = (margins.size + workers - 1) // workers
    for worker in range(begin, end):
        at = min(worker * share, margins.size)
        sums[worker] = cost(margins[at : min(at + share, margins.size)], exponent, scale, limit)


@compiled()
def cost(margins: FloatArray, exponent: int, scale: float, limit: int) -> int:
    """Add up the costs of all given items, in one thread; arguments as for `total`."""
    top = np.float64(limit + 1)
    spent = np.int64(0)
    for i in range(margins.size):
        spent += np.int64(_item(margins[i], exponent, scale, top))
    return int(spent)


@compiled()
def changing(
    margins: FloatArray, exponent: int, scale: float, other_scale: float, limit: int, out: FloatArray
) -> tuple[int, np.int64]:
    """Tell items whose cost differs between two scales from those that cost the same.

    Args:
        margins: no NaN.
        exponent: of both budgets, 1 or 2.
        scale: grid units per unit of d^q of one budget.
        other_scale: the same of the other.
        limit: grid units of either budget.
        out: the differing items, in order, or of length 0 to count only.

    Returns:
        How many differ; what those that do not cost together.
    """
    top = np.float64(limit + 1)
    count = 0
    fixed = np.int64(0)
    if out.size == 0:
        for i in range(margins.size):
            one = np.int64(_item(margins[i], exponent, scale, top))
            same = one == np.int64(_item(margins[i], exponent, other_scale, top))
            fixed += one if same else 0
            count += 0 if same else 1
        return count, fixed
    for i in range(margins.size):
        one = np.int64(_item(margins[i], exponent, scale, top))
        if one != np.int64(_item(margins[i], exponent, other_scale, top)):
            out[count] = margins[i]
            count += 1
    return count, fixed


@compiled()
def _count(margins: FloatArray, exponent: int, scale: float, limit: int, spent: int) -> int:
    top = np.float64(limit + 1)
    done = 0
    total = np.int64(spent)
    while done < margins.size:
        stop = min(done + _BLOCK, margins.size)
        block = np.int64(0)
        for i in range(done, stop):
            block += np.int64(_item(margins[i], exponent, scale, top))
        if total + block > limit:
            break
        total += block
        done = stop
    for i in range(done, min(done + _BLOCK, margins.size)):
        total += np.int64(_item(margins[i], exponent, scale, top))
        if total > limit:
            return i
    return done


@compiled()
def count_ascending(
    begin: int,
    end: int,
    margins: FloatArray,
    exponents: IntArray,
    scales: FloatArray,
    limits: IntArray,
    spent: IntArray,
    out: IntArray,
) -> None:
    """Count, for each budget, how many leading items fit it together.

    Args:
        begin: the first budget.
        end: the budget after the last.
        margins: ascending, no NaN.
        exponents: [M], each 1 or 2.
        scales: [M], grid units per unit of d^q.
        limits: [M], grid units of the whole budget.
        spent: [M], grid units already spent.
        out: [M], overwritten.
    """
    for m in range(begin, end):
        out[m] = _count(margins, exponents[m], scales[m], limits[m], spent[m])


@compiled()
def guess(
    margins: FloatArray, edges: FloatArray, shift: int, base: int, exponent: int, scale: float, limit: float
) -> float:
    """Guess from one margin in `_EACH` beyond which edge of the histogram a budget does not reach, or infinity.

    Args:
        margins: [P], not negative, NaN where a pixel is no item.
        edges: [BUCKETS + 1], of the buckets, ascending.
        shift: of a margin's bits that tell its bucket.
        base: what is taken off then.
        exponent: of the budget, 1 or 2.
        scale: grid units per unit of d^q.
        limit: grid units of the whole budget.
    """
    buckets = edges.size - 1
    bins = np.zeros(buckets, np.int32)
    for i in range(0, margins.size, _EACH):
        if margins[i] >= 0:
            at = int(np.float64(margins[i]).view(np.int64) >> shift) - base
            place = 0 if at < 0 else buckets - 1 if at >= buckets else at
            bins[place] += 1
    spent = 0.0
    for at in range(buckets):
        spent += _EACH * bins[at] * (edges[at] * edges[at] if exponent == 2 else edges[at]) * scale
        if spent > limit * _MORE:
            return float(edges[at + 1])
    return np.inf


@compiled()
def enclose(
    ascending: npt.NDArray[np.float32],
    exponent: int,
    sure: FloatArray,
    most: FloatArray,
    blocks: FloatArray,
    least: IntArray,
    beyond: IntArray,
) -> None:
    """Count for each budget how many leading items surely fit it, and how many may, by sums of d^q in doubles.

    Args:
        ascending: [N] margins, no NaN.
        exponent: q, 1 or 2.
        sure: [M], what the items that fit may sum up to.
        most: [M], no less: what they sum up to at most.
        blocks: [N // 64 + 1] or more, overwritten.
        least: [M], overwritten.
        beyond: [M], overwritten.
    """
    whole = ascending.size // SUMMED
    lanes = np.empty(8)
    blocks[0] = 0.0
    for j in range(whole):
        for lane in range(8):
            lanes[lane] = 0.0
        for at in range(j * SUMMED, (j + 1) * SUMMED, 8):
            for lane in range(8):
                d = np.float64(ascending[at + lane])
                lanes[lane] += d * d if exponent == 2 else d
        total = 0.0
        for lane in range(8):
            total += lanes[lane]
        blocks[j + 1] = blocks[j] + total
    for m in range(sure.size):
        low, high = 0, whole
        while low < high:
            middle = (low + high + 1) // 2
            if blocks[middle] <= sure[m]:
                low = middle
            else:
                high = middle - 1
        at, total = low * SUMMED, blocks[low]
        least[m] = beyond[m] = -1
        while at < ascending.size:
            d = np.float64(ascending[at])
            total += d * d if exponent == 2 else d
            if total > sure[m] and least[m] < 0:
                least[m] = at
            if total > most[m]:
                break
            at += 1
        beyond[m] = at
        least[m] = at if least[m] < 0 else least[m]
