"""The Triton kernels over cells: one that makes pixels of coarse logits in registers, and three that price them.

A program has a tile of cells of one colour. Nothing of the size of the full-size logits is read or written: of a
pixel there are its label, its margin, and its key, among those of its cell in ascending order. Products and sums are
those of `reference.blend`, one after the other; launch with `enable_fp_fusion=False`.

* `read_cells` interpolates, keeps the two largest logits of each pixel, and sorts the keys of each cell;
* `given_up` adds up what the cells of each colour give up at several prices for a flip, between the two that enclose
  the one at which a budget runs out;
* `narrow` brings these two closer;
* `collect` lists the keys of the cells that give up something else at one than at the other.
"""

from __future__ import annotations

import triton
import triton.language as tl

from robspec.kernels.knapsack._triton_kernels import INTERPRETED, OCTAVES, _bucket, _logits


@triton.jit
def _cost(key: tl.tensor, scale: tl.tensor, limit: tl.tensor) -> tl.tensor:
    """Grid units of a key, rounded down, as `reference.cost` defines it."""
    over = (limit + 1).to(tl.float64)
    units = key * scale
    # Beyond a cell's items the key is infinite; times 0 it is no number, and not below.
    return tl.where(units < over, units, over).to(tl.int64)


@triton.jit
def _price(low: tl.tensor, high: tl.tensor, c: tl.tensor, PRICES: tl.constexpr) -> tl.tensor:
    """One of several prices from `low` to `high`, ascending with c, their quotients about the same."""
    begin = tl.maximum(low, 1).to(tl.float64).to(tl.int64, bitcast=True)
    end = high.to(tl.float64).to(tl.int64, bitcast=True)
    # Bit patterns of doubles are nearly logarithms; at most 2^62, as prices are below 2^42.
    between = (begin + (end - begin) * c // (PRICES - 1)).to(tl.float64, bitcast=True).to(tl.int64)
    between = tl.minimum(tl.maximum(between, low + 1), high - 1)
    return tl.where(c == 0, low, tl.where(c == PRICES - 1, high, between))


@triton.jit
def _choose(cost: tl.tensor, price: tl.tensor, limit: tl.tensor, SLOTS: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """What each cell gives up: the least of what is worth most at a price.

    Args:
        cost: int64 [TILE, SLOTS], ascending.
        price: int64 [N], grid units that a flip is worth.
        limit: the budget in grid units.

    Returns:
        Grid units and items, int64 [TILE, N].
    """
    number = (tl.arange(0, SLOTS) + 1).to(tl.int64)[None, :, None]
    units = cost[:, :, None]
    value = tl.where(units <= limit, number * price[None, None, :] - units, -1)
    best = tl.max(value, 1)
    first = tl.min(tl.where(value == best[:, None, :], number, SLOTS + 1), 1)
    free = tl.sum((cost == 0).to(tl.int64), 1)[:, None]
    better = best > free * price[None, :]
    return tl.where(better, first * price[None, :] - best, 0), tl.where(better, first, free)


@triton.jit
def _keys_within_reach(
    keys: tl.tensor,
    cell: tl.tensor,
    scales: tl.tensor,
    limits: tl.tensor,
    state: tl.tensor,
    first_row: tl.tensor,
    rows: tl.tensor,
    asks: tl.tensor,
    COLOURS: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> tl.tensor:
    """Load the keys of the cells that may give up anything, infinity for all others.

    A cell whose cheapest item is dearer than all its pixels are worth gives up nothing: that item alone is read.

    Args:
        keys: float64 [cells, SLOTS].
        cell: int64 [TILE].
        scales, limits, state, asks: as in `given_up`.
        first_row: of the state, that of the first ask.
        rows: of the state.
    """
    cheapest = tl.load(keys + cell * SLOTS)
    wanted = tl.full([TILE], 0, tl.int32)
    m = tl.full([], 0, tl.int32)
    while m < asks:
        row = first_row + m * COLOURS
        low = tl.load(state + row)
        high = tl.load(state + rows + row)
        if high > low:
            limit = tl.load(limits + m)
            cost = _cost(cheapest, tl.load(scales + m), limit)
            wanted = wanted | (cost <= tl.minimum(limit, high * SLOTS)).to(tl.int32)
        m += 1
    place = keys + cell[:, None] * SLOTS + tl.arange(0, SLOTS)[None, :]
    return tl.load(place, mask=(wanted > 0)[:, None], other=float("inf"))


if INTERPRETED:
    # The interpreter prepares the whole language anew for every call of a compiled function.
    _cost, _price, _choose, _keys_within_reach = _cost.fn, _price.fn, _choose.fn, _keys_within_reach.fn


@triton.jit
def read_cells(
    z: tl.tensor,
    z_image: tl.tensor,
    z_class: tl.tensor,
    z_row: tl.tensor,
    z_column: tl.tensor,
    labels: tl.tensor,
    y_image: tl.tensor,
    y_row: tl.tensor,
    y_column: tl.tensor,
    ignore: tl.tensor,
    slack: tl.tensor,
    bands: tl.tensor,
    columns: tl.tensor,
    first_rows: tl.tensor,
    row_starts: tl.tensor,
    down: tl.tensor,
    down_inverse: tl.tensor,
    first_columns: tl.tensor,
    column_starts: tl.tensor,
    along: tl.tensor,
    along_inverse: tl.tensor,
    margins: tl.tensor,
    keys: tl.tensor,
    histogram: tl.tensor,
    counts: tl.tensor,
    free: tl.tensor,
    met: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    cells: tl.tensor,
    CLASSES: tl.constexpr,
    LABELLED: tl.constexpr,
    IGNORING: tl.constexpr,
    EVERY: tl.constexpr,
    WIDE: tl.constexpr,
    BITS: tl.constexpr,
    TALL_SPAN: tl.constexpr,
    WIDE_SPAN: tl.constexpr,
    TALL: tl.constexpr,
    BROAD: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Read the nodes of a tile of cells, class by class, and write margins and sorted keys of its pixels.

    Args:
        z: [B, K, h, w] coarse logits, reached by the four strides; bfloat16 as int16 patterns.
        labels: int64 [B, H, W], reached by the three strides; not read unless LABELLED.
        ignore: the label left out; not read unless IGNORING.
        slack: float64 [B], what a margin may be too large by.
        bands: int32 [cells], which band each cell is in, -1 for no cell.
        columns: int32 [cells], which cell of the band it is.
        first_rows: int64 [bands], each band's first node; row_starts: int64 [bands + 1], its first pixel.
        down: float64 [H, TALL_SPAN], weights along the height; down_inverse: float64 [H].
        first_columns, column_starts, along, along_inverse: the same along the width.
        margins: float64 [B, P], overwritten, NaN where a pixel is no item.
        keys: float64 [B, cells, TALL * BROAD], overwritten, of each cell ascending, infinite beyond its items.
        histogram: int32 [B, BUCKETS], added to: items per bucket of margins.
        counts: int64 [B, 3], added to: items; labels other than `ignore`.
        free: int64 [B], added to: items whose key is 0.
        met: int8 [B, K or 2], set to 1 for classes predicted somewhere.
        cells: how many there are to an image, tiles filled up.
        TALL_SPAN: nodes of a cell along the height; WIDE_SPAN: along the width.
        TALL: rows of the largest cell or more, a power of two; BROAD: columns.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    SLOTS: tl.constexpr = TALL * BROAD
    image = tl.program_id(1).to(tl.int64)
    nth = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    band = tl.load(bands + nth)[:, None, None]
    column = tl.load(columns + nth)[:, None, None]
    exists = band >= 0
    y = tl.load(row_starts + band, mask=exists, other=0) + tl.arange(0, TALL)[None, :, None]
    x = tl.load(column_starts + column, mask=exists, other=0) + tl.arange(0, BROAD)[None, None, :]
    has_row = y < tl.load(row_starts + band + 1, mask=exists, other=0)
    has_column = x < tl.load(column_starts + column + 1, mask=exists, other=0)
    there = has_row & has_column
    top = tl.load(first_rows + band, mask=exists, other=0)
    left = tl.load(first_columns + column, mask=exists, other=0)
    node = z + image * z_image + top * z_row + left * z_column
    lower: tl.tuple = ()
    for s in tl.static_range(TALL_SPAN):
        lower = lower + (tl.load(down + y * TALL_SPAN + s, mask=has_row, other=0.0),)  # noqa: RUF005
    right: tl.tuple = ()
    for t in tl.static_range(WIDE_SPAN):
        right = right + (tl.load(along + x * WIDE_SPAN + t, mask=has_column, other=0.0),)  # noqa: RUF005
    first = tl.full([TILE, TALL, BROAD], float("-inf"), tl.float64)
    second = tl.full([TILE, TALL, BROAD], float("-inf"), tl.float64)
    best = tl.full([TILE, TALL, BROAD], 0, tl.int32)
    for k in range(CLASSES):
        for t in tl.static_range(WIDE_SPAN):
            line = lower[0] * _logits(node + t * z_column, exists, WIDE).to(tl.float64)
            for s in tl.static_range(1, TALL_SPAN):
                line = line + lower[s] * _logits(node + s * z_row + t * z_column, exists, WIDE).to(tl.float64)
            if t == 0:  # noqa: SIM108
                v = right[0] * line
            else:
                v = v + right[t] * line
        ahead = v > first
        second = tl.where(ahead, first, tl.where(v > second, v, second))
        best = tl.where(ahead, k, best)
        first = tl.where(ahead, v, first)
        node += z_class
    if CLASSES == 1:
        d = tl.abs(first)
        best = tl.where(first > 0, 1, 0)
    else:
        d = first - second
    d = d - tl.load(slack + image)
    d = tl.where(d > 0, d, 0.0)
    known: tl.constexpr = CLASSES if CLASSES > 1 else 2
    known_by_now = tl.load(met + image * known + best, mask=there, other=1)
    tl.store(met + image * known + best, tl.full([TILE, TALL, BROAD], 1, tl.int8), mask=there & (known_by_now == 0))
    item = there
    if LABELLED:
        label = tl.load(labels + image * y_image + y * y_row + x * y_column, mask=there, other=0)
        counted = there
        if IGNORING:
            counted = there & (label != ignore)
        item = counted
        if not EVERY:
            item = counted & (label == best)
        tl.atomic_add(counts + image * 3 + 1, tl.sum(counted.to(tl.int64)), sem="relaxed")
    tl.store(margins + image * pixels + y * width + x, tl.where(item, d, float("nan")), mask=there)
    bucket = _bucket(d.to(tl.int64, bitcast=True), BITS)
    ones = tl.full([TILE, TALL, BROAD], 1, tl.int32)
    tl.atomic_add(histogram + image * BUCKETS + bucket, ones, mask=item, sem="relaxed")
    tl.atomic_add(counts + image * 3, tl.sum(item.to(tl.int64)), sem="relaxed")
    key = d * d * tl.load(down_inverse + y, mask=has_row, other=0.0)
    key = key * tl.load(along_inverse + x, mask=has_column, other=0.0)
    tl.atomic_add(free + image, tl.sum((item & (key == 0)).to(tl.int64)), sem="relaxed")
    ascending = tl.sort(tl.reshape(tl.where(item, key, float("inf")), [TILE, SLOTS]))
    tl.store(keys + (image * cells + nth)[:, None] * SLOTS + tl.arange(0, SLOTS)[None, :], ascending)


@triton.jit
def given_up(
    keys: tl.tensor,
    colours: tl.tensor,
    scales: tl.tensor,
    limits: tl.tensor,
    state: tl.tensor,
    sums: tl.tensor,
    asks: tl.tensor,
    cells: tl.tensor,
    COLOURS: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
    PRICES: tl.constexpr,
    TOGETHER: tl.constexpr,
) -> None:
    """Add up what the cells of each colour give up at several prices.

    Args:
        keys: float64 [B, cells, SLOTS], from `read_cells`.
        colours: int32 [tiles].
        scales: float64 [asks], grid units per unit of a key.
        limits: int64 [asks], budgets in grid units.
        state: int64 [5, B * asks * COLOURS], prices that enclose the one looked for first, as in `narrow`.
        sums: int64 [B * asks * COLOURS, PRICES, 2], added to: grid units and items.
        cells: how many there are to an image, tiles filled up.
        TOGETHER: prices looked at at once; no answer depends on it, nor on TILE.
    """
    image = tl.program_id(1).to(tl.int64)
    nth = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    rows = tl.num_programs(1).to(tl.int64) * asks * COLOURS
    first_row = image * asks * COLOURS + tl.load(colours + tl.program_id(0))
    place = image * cells + nth
    key = _keys_within_reach(keys, place, scales, limits, state, first_row, rows, asks, COLOURS, SLOTS, TILE)
    m = tl.full([], 0, tl.int32)
    while m < asks:
        row = first_row + m * COLOURS
        low = tl.load(state + row)
        high = tl.load(state + rows + row)
        if high - low > 1:
            limit = tl.load(limits + m)
            cost = _cost(key, tl.load(scales + m), limit)
            if tl.min(cost) <= tl.minimum(limit, high * SLOTS):
                for start in range(0, PRICES, TOGETHER):
                    c = start + tl.arange(0, TOGETHER)
                    spent, given = _choose(cost, _price(low, high, c, PRICES), limit, SLOTS)
                    total = sums + (row * PRICES + c) * 2
                    tl.atomic_add(total, tl.sum(spent, 0), sem="relaxed")
                    tl.atomic_add(total + 1, tl.sum(given, 0), sem="relaxed")
        m += 1


@triton.jit
def narrow(
    sums: tl.tensor,
    limits: tl.tensor,
    state: tl.tensor,
    asks: tl.tensor,
    rows: tl.tensor,
    COLOURS: tl.constexpr,
    PRICES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Enclose the price at which a budget runs out by the last that fits and the first that does not.

    Args:
        sums: int64 [rows, PRICES, 2], from `given_up`; set to 0 again.
        limits: int64 [asks].
        state: int64 [5, rows], updated: a price at which the cells' cost is within the budget; one at which it is
            not, or the same where no price is; cost and items at the first; items at the second.
        rows: B * asks * COLOURS.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low = tl.load(state + row, mask=row < rows, other=0)
    high = tl.load(state + rows + row, mask=row < rows, other=0)
    limit = tl.load(limits + row // COLOURS % asks)[:, None]
    wide = (high - low > 1)[:, None]
    c = tl.arange(0, PRICES)[None, :]
    place = sums + (row[:, None] * PRICES + c) * 2
    spent = tl.load(place, mask=wide, other=0)
    given = tl.load(place + 1, mask=wide, other=0)
    price = _price(low[:, None], high[:, None], c, PRICES)
    # Cost grows with the price, and at the first it fits.
    fit = tl.sum((spent <= limit).to(tl.int32), 1)[:, None]
    last = c == fit - 1
    beyond = c == tl.minimum(fit, PRICES - 1)
    live = high - low > 1
    tl.store(state + row, tl.sum(tl.where(last, price, 0), 1), mask=live)
    tl.store(state + rows + row, tl.sum(tl.where(beyond, price, 0), 1), mask=live)
    tl.store(state + 2 * rows + row, tl.sum(tl.where(last, spent, 0), 1), mask=live)
    tl.store(state + 3 * rows + row, tl.sum(tl.where(last, given, 0), 1), mask=live)
    tl.store(state + 4 * rows + row, tl.sum(tl.where(beyond, given, 0), 1), mask=live)
    nothing = tl.full([BLOCK, PRICES], 0, tl.int64)
    tl.store(place, nothing, mask=wide)
    tl.store(place + 1, nothing, mask=wide)


@triton.jit
def collect(
    keys: tl.tensor,
    colours: tl.tensor,
    scales: tl.tensor,
    limits: tl.tensor,
    state: tl.tensor,
    cursors: tl.tensor,
    found: tl.tensor,
    costs: tl.tensor,
    asks: tl.tensor,
    cells: tl.tensor,
    room: tl.tensor,
    COLOURS: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """List the cells that give up something else at the two prices of `narrow`, and what their items between cost.

    Args:
        keys, colours, scales, limits, state, asks, cells: as in `given_up`.
        cursors: int64 [2], cells and items listed so far; added to.
        found: int64 [4, room], overwritten: row of the state; cost at the lower price; items between; the
            place of the first of these.
        costs: float64 [room], overwritten: grid units, of each cell ascending.
    """
    image = tl.program_id(1).to(tl.int64)
    nth = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    rows = tl.num_programs(1).to(tl.int64) * asks * COLOURS
    first_row = image * asks * COLOURS + tl.load(colours + tl.program_id(0))
    place = image * cells + nth
    key = _keys_within_reach(keys, place, scales, limits, state, first_row, rows, asks, COLOURS, SLOTS, TILE)
    j = tl.arange(0, SLOTS)[None, :]
    m = tl.full([], 0, tl.int32)
    while m < asks:
        row = first_row + m * COLOURS
        low = tl.load(state + row)
        high = tl.load(state + rows + row)
        if high > low:
            limit = tl.load(limits + m)
            cost = _cost(key, tl.load(scales + m), limit)
            if tl.min(cost) <= tl.minimum(limit, high * SLOTS):
                ends = tl.arange(0, 2)
                spent, given = _choose(cost, tl.where(ends == 0, low, high), limit, SLOTS)
                at_low = ends[None, :] == 0
                spent = tl.sum(tl.where(at_low, spent, 0), 1)
                first = tl.sum(tl.where(at_low, given, 0), 1)
                last = tl.sum(tl.where(at_low, 0, given), 1)
                more = last - first
                differs = more > 0
                number = differs.to(tl.int64)
                at = tl.atomic_add(cursors, tl.sum(number), sem="relaxed") + tl.cumsum(number, 0) - number
                start = tl.atomic_add(cursors + 1, tl.sum(more), sem="relaxed") + tl.cumsum(more, 0) - more
                tl.store(found + at, row + tl.full([TILE], 0, tl.int64), mask=differs)
                tl.store(found + room + at, spent, mask=differs)
                tl.store(found + 2 * room + at, more, mask=differs)
                tl.store(found + 3 * room + at, start, mask=differs)
                between = (j >= first[:, None]) & (j < last[:, None])
                tl.store(costs + start[:, None] + j - first[:, None], cost.to(tl.float64), mask=between)
        m += 1
