"""Compiled passes over coarse logits: what the nodes say of a cell, and the pixels of those where that is not enough.

Where all nodes of a cell prefer one class, and its pixels are means of nodes, no pixel's margin is below the least of
the nodes': the cell stays closed until a budget reaches that. An open cell is interpolated from its nodes, but for
classes that are nowhere in it among the two largest; its keys are sorted together with those of other cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled
from robspec.kernels.coarse._sorting import ascending
from robspec.kernels.knapsack._margins import _SPARE, BUCKETS, CHUNK, only, tally, top_two

LANES = 32
"""Cells of a block, whose keys are sorted together; fewer where there are no more of a colour."""
LEAST = 2.0**-500
"""The square of a smaller margin may be 0."""
LEFT_OUT = -1
NO_CLASS = -2
_WHOLE = 1 - 2.0**-50
_NOTHING = -(2**62) + 1


@compiled()
def look(begin: int, end: int, z: Any, gaps: Any, classes: Any) -> None:
    """Find the margin and the class of every node.

    Args:
        begin: the first chunk to do.
        end: the chunk after the last.
        z: float64 [1, K, h, w], contiguous.
        gaps: float64 [h * w], overwritten: largest minus second largest logit, the size of a single one.
        classes: int32 [h * w], overwritten.
    """
    nodes = gaps.size
    for chunk in range(begin, end):
        start, stop = chunk * CHUNK, min(nodes, (chunk + 1) * CHUNK)
        first, second, total = np.empty(stop - start), np.empty(stop - start), np.empty(stop - start)
        if z.shape[1] == 1:
            only(z[0, 0].reshape(nodes)[start:stop], first, second, classes[start:stop], total)
        else:
            top_two(z, np.empty(1), 0, start, stop, first, second, classes[start:stop], total, np.empty((4, 1)))
        for i in range(stop - start):
            gaps[start + i] = first[i] - second[i]


@compiled()
def survey(
    gaps: Any, classes: Any, first_rows: Any, first_columns: Any, spans: Any, slack: float, floors: Any, decided: Any
) -> None:
    """Bound the margins of each cell by those of its nodes.

    Args:
        gaps: float64 [h, w], of the nodes.
        classes: int32 [h, w].
        first_rows: int64 [R], each band's first node.
        first_columns: int64 [C].
        spans: int64 [2], nodes of a cell along height and width.
        slack: what computed margins may be off by.
        floors: float64 [R, C], overwritten: no computed margin of a decided cell is below.
        decided: int64 [R, C], overwritten: the class of all its pixels, -1 where nodes differ or are too near.
    """
    for r in range(first_rows.size):
        for c in range(first_columns.size):
            top, left = first_rows[r], first_columns[c]
            own, least = classes[top, left], gaps[top, left]
            for y in range(top, top + spans[0]):
                for x in range(left, left + spans[1]):
                    least = min(least, gaps[y, x])
                    own = own if classes[y, x] == own else -1
            # Twice: computed margins are below exact ones by up to their rounding and what is taken off for it.
            floor = least * _WHOLE - 2 * slack
            known = own >= 0 and floor > LEAST
            floors[r, c] = floor if known else 0.0
            decided[r, c] = own if known else -1


@compiled()
def count(
    begin: int,
    end: int,
    labels: Any,
    decided: Any,
    row_starts: Any,
    column_starts: Any,
    ignore: int,
    every: bool,
    counts: Any,
) -> None:
    """Count the items of decided cells.

    Args:
        begin: the first band to do.
        end: the band after the last.
        labels: int64 [H, W].
        decided: int64 [R, C], as `survey` wrote it.
        row_starts: int64 [R + 1].
        column_starts: int64 [C + 1].
        ignore: the label left out.
        every: whether every pixel not ignored is an item, or only those predicted as labelled.
        counts: int64 [R, 2], overwritten: items of decided cells; pixels of all cells that are not ignored.
    """
    width = labels.shape[1]
    for r in range(begin, end):
        wanted, there = np.empty(width, np.int64), np.empty(width, np.int64)
        for c in range(column_starts.size - 1):
            for x in range(column_starts[c], column_starts[c + 1]):
                wanted[x] = decided[r, c] if decided[r, c] >= 0 else _NOTHING
                there[x] = np.int64(decided[r, c] >= 0)
        items, kept = np.int64(0), np.int64(0)
        for y in range(row_starts[r], row_starts[r + 1]):
            row = labels[y]
            for x in range(width):
                kept += np.int64(row[x] != ignore)
            if every:
                for x in range(width):
                    items += np.int64(row[x] != ignore) & there[x]
            else:
                for x in range(width):
                    items += np.int64((row[x] != ignore) & (row[x] == wanted[x]))
        counts[r, 0] = items
        counts[r, 1] = kept


@compiled()
def collect(
    begin: int,
    end: int,
    labels: Any,
    ignore: int,
    classes: int,
    cells: Any,
    begins: Any,
    row_starts: Any,
    column_starts: Any,
    wide: int,
    asked: Any,
) -> None:
    """Copy the labels of some cells, each cell's together, in the order of memory.

    Args:
        begin: the first band to do.
        end: the band after the last.
        labels: int64 [H, W].
        ignore: the label left out.
        classes: how many there are.
        cells: int64 [n], ascending.
        begins: int64 [R + 1], which of them belong to each band.
        row_starts: int64 [R + 1].
        column_starts: int64 [C + 1].
        wide: slots of a row of a cell.
        asked: int32 [n, N], overwritten where a cell has pixels: LEFT_OUT, or the label, NO_CLASS if it is none.
    """
    columns = column_starts.size - 1
    for r in range(begin, end):
        for y in range(row_starts[r], row_starts[r + 1]):
            row, at = labels[y], (y - row_starts[r]) * wide
            for i in range(begins[r], begins[r + 1]):
                own, c = asked[i], cells[i] - r * columns
                begin = column_starts[c]
                for x in range(column_starts[c + 1] - begin):
                    label = row[begin + x]
                    code = label if 0 <= label < classes else NO_CLASS
                    own[at + x] = LEFT_OUT if label == ignore else code


@compiled()
def meet_two(
    up: Any,
    low: Any,
    left: Any,
    right: Any,
    corners: Any,
    name: float,
    first: Any,
    second: Any,
    chosen: Any,
) -> None:
    """Interpolate a class between four nodes, and let it take part in the two largest of each pixel.

    Args:
        up: [N] weights of the upper nodes.
        low: [N], of the lower.
        left: [N], of those to the left.
        right: [N], of those to the right.
        corners: the four logits, upper ones first.
        name: the class, later than all before.
        first: [N], the largest logits so far, updated.
        second: [N], the second largest, updated.
        chosen: [N], the first class of the largest, updated.
    """
    a, b, c, d = corners
    for i in range(first.size):
        v = left[i] * (up[i] * a + low[i] * c) + right[i] * (up[i] * b + low[i] * d)
        one, two = first[i], second[i]
        later = v > one
        rest = one if later else v
        first[i] = v if later else one
        chosen[i] = name if later else chosen[i]
        second[i] = rest if rest > two else two


@compiled()
def blend(z: Any, k: int, top: int, left: int, down: Any, along: Any, line: Any, out: Any) -> None:
    """Interpolate one class in a cell, along the height first.

    Args:
        z: [h, w, K] logits.
        k: the class.
        top: the first node's row.
        left: its column.
        down: [S, N] weights.
        along: [T, N] weights.
        line: [N] scratch.
        out: [N], overwritten.
    """
    tall, wide = down.shape[0], along.shape[0]
    for t in range(wide):
        value = z[top, left + t, k]
        for i in range(out.size):
            line[i] = down[0, i] * value
        for s in range(1, tall):
            value = z[top + s, left + t, k]
            for i in range(out.size):
                line[i] = line[i] + down[s, i] * value
        if t == 0:
            for i in range(out.size):
                out[i] = along[0, i] * line[i]
        else:
            for i in range(out.size):
                out[i] = out[i] + along[t, i] * line[i]


@compiled()
def meet(values: Any, name: float, first: Any, second: Any, chosen: Any) -> None:
    """Let one class, later than all before it, take part in the two largest of each pixel; see `meet_two`."""
    for i in range(values.size):
        v, one, two = values[i], first[i], second[i]
        later = v > one
        rest = one if later else v
        first[i] = v if later else one
        chosen[i] = name if later else chosen[i]
        second[i] = rest if rest > two else two


@compiled()
def extremes(z: Any, top: int, left: int, spans: Any, least: Any, largest: Any) -> None:
    """Find the least and the largest node of a cell, class by class.

    Args:
        z: float64 [h, w, K].
        top: the first node's row.
        left: its column.
        spans: as in `survey`.
        least: [K], overwritten.
        largest: [K], overwritten.
    """
    least[:] = np.inf
    largest[:] = -np.inf
    for y in range(top, top + spans[0]):
        for x in range(left, left + spans[1]):
            node = z[y, x]
            for k in range(least.size):
                v, low, high = node[k], least[k], largest[k]
                least[k] = v if v < low else low
                largest[k] = v if v > high else high


@compiled()
def contenders(least: Any, largest: Any, slack: float, found: Any) -> int:
    """List the classes that may be among the two largest of a pixel whose logits are means of its nodes'.

    Two classes are nowhere below the second largest of all classes' least nodes: a class whose largest node is below
    that, by more than rounding, is nowhere among the two largest.

    Args:
        least: [K], of a cell's nodes.
        largest: [K].
        slack: more than what two interpolated logits may be off by.
        found: int64 [K], overwritten from the left, ascending.

    Returns:
        How many there are.
    """
    most, second = -np.inf, -np.inf
    for k in range(least.size):
        v = least[k]
        rest = most if v > most else v
        most = v if v > most else most
        second = rest if rest > second else second
    n = 0
    for k in range(least.size):
        found[n] = k
        n += int(largest[k] >= second - slack)
    return n


@compiled()
def finish(first: Any, second: Any, chosen: Any, asked: Any, every: bool, slack: float, margins: Any) -> int:
    """Write the margins of a cell's items, lessened by their rounding.

    Args:
        first: the largest logits.
        second: the second largest.
        chosen: classes of the largest, as doubles.
        asked: int32, as in `collect`.
        every: as in `count`.
        slack: what a margin may be too large by.
        margins: overwritten, NaN where a pixel is no item.

    Returns:
        How many items there are.
    """
    for i in range(margins.size):
        d = abs(first[i] - second[i]) - slack
        d = d if d > 0.0 else 0.0
        item = (asked[i] != LEFT_OUT) & (every | (np.float64(asked[i]) == chosen[i]))
        margins[i] = d if item else np.nan
    items = np.int64(0)
    for i in range(margins.size):
        items += np.int64(margins[i] >= 0.0)
    return int(items)


@compiled()
def unfold(
    begin: int,
    end: int,
    z: Any,
    cells: Any,
    places: Any,
    first_rows: Any,
    down: Any,
    inverse_down: Any,
    first_columns: Any,
    along: Any,
    inverse_along: Any,
    convex: bool,
    asked: Any,
    every: bool,
    slack: float,
    margins: Any,
    keys: Any,
    histogram: Any,
    items: Any,
    predicted: Any,
) -> None:
    """Compute the margins and the sorted keys of some cells.

    Args:
        begin: the first task to do.
        end: the task after the last.
        z: float64 [h, w, K], contiguous.
        cells: int64 [n].
        places: int64 [blocks * lanes], which of them, -1 for none.
        first_rows: int64 [R], each band's first node.
        down: float64 [R, S, N], weights of each slot.
        inverse_down: float64 [R, N].
        first_columns: int64 [C].
        along: float64 [C, T, N].
        inverse_along: float64 [C, N].
        convex: whether pixels are means of nodes.
        asked: int32 [n, N], as `collect` wrote it, LEFT_OUT where there is no pixel.
        every: whether every pixel not ignored is an item, or only those predicted as labelled.
        slack: what a margin may be too large by.
        margins: float64 [n, N], overwritten, NaN where there is no pixel or it is no item.
        keys: float64 [blocks, N, lanes], overwritten, of each cell ascending, infinite beyond its items.
        histogram: int32 [tasks, BUCKETS], overwritten: items per bucket of margins.
        items: int64 [tasks], overwritten.
        predicted: bool [tasks, K or 2], overwritten: classes predicted somewhere.
    """
    columns, slots, classes = first_columns.size, margins.shape[1], z.shape[2]
    tasks, lanes = histogram.shape[0], keys.shape[2]
    for task in range(begin, end):
        first, second, chosen = np.empty(slots), np.empty(slots), np.empty(slots)
        line, values = np.empty(slots), np.empty(slots)
        least, largest = np.empty(classes), np.empty(classes)
        place = np.empty(slots, np.uint16)
        listed = np.empty(classes + 1, np.int64)
        spans = np.array([down.shape[1], along.shape[1]])
        bins = np.zeros(BUCKETS + _SPARE, np.int32)
        met = np.zeros(predicted.shape[1], np.bool_)
        number = 0
        for block in range(task, keys.shape[0], tasks):
            table = keys[block]
            for lane in range(lanes):
                at = places[block * lanes + lane]
                if at < 0:
                    for i in range(slots):
                        table[i, lane] = np.inf
                    continue
                own, cell = margins[at], cells[at]
                r, c = cell // columns, cell % columns
                top, left = first_rows[r], first_columns[c]
                if classes == 1:
                    blend(z, 0, top, left, down[r], along[c], line, values)
                    for i in range(slots):
                        first[i] = abs(values[i])
                        second[i] = 0.0
                        chosen[i] = 1.0 if values[i] > 0.0 else 0.0
                else:
                    n = classes
                    if convex:
                        extremes(z, top, left, spans, least, largest)
                        n = contenders(least, largest, slack, listed)
                    else:
                        for k in range(n):
                            listed[k] = k
                    first[:] = -np.inf
                    second[:] = -np.inf
                    if spans[0] == 2 and spans[1] == 2:
                        upper, lower, near, far = down[r, 0], down[r, 1], along[c, 0], along[c, 1]
                        for o in range(n):
                            k = listed[o]
                            upper_two = z[top, left, k], z[top, left + 1, k]
                            corners = (*upper_two, z[top + 1, left, k], z[top + 1, left + 1, k])
                            meet_two(upper, lower, near, far, corners, np.float64(k), first, second, chosen)
                    else:
                        for o in range(n):
                            blend(z, listed[o], top, left, down[r], along[c], line, values)
                            meet(values, np.float64(listed[o]), first, second, chosen)
                for i in range(slots):
                    # A slot without a pixel repeats one that is there.
                    met[np.int64(chosen[i])] = True
                number += finish(first, second, chosen, asked[at], every, slack, own)
                tally(own, place, bins)
                height, width = inverse_down[r], inverse_along[c]
                for i in range(slots):
                    d = own[i]
                    key = d * d * height[i] * width[i]
                    table[i, lane] = key if d >= 0.0 else np.inf
            ascending(table, slots)
        for i in range(BUCKETS):
            histogram[task, i] = bins[i]
        items[task] = number
        for k in range(met.size):
            predicted[task, k] = met[k]
