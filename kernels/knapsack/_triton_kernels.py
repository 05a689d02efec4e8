"""The Triton kernels: one fused read of the logits, and a selection over 8 bytes per pixel without a sort.

Every number that decides an answer is an integer or a float64 that only subtractions and multiplications made, so
neither the block size nor the order in which programs run can show. Under TRITON_INTERPRET=1, set before triton is
first imported, the same functions run on the CPU.

A selection answers many asks at once, an ask being a kind, a scale and a limit for one image:

* `bracket` finds in the histogram the run of buckets in which the running sum of an ask's costs crosses its limit;
* `offsets` gives the buckets that some ask needs a place each in one index list of at most a number per pixel;
* `below` fills that list and adds up, exactly, what lies below each ask's run;
* `add_below` does the latter for many asks at once, when the list holds every item below a run, bucket after bucket;
* `finish` halves the range of bit patterns inside the run until one margin value is left.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether these kernels run on the CPU; fixed when triton is first imported."""
OCTAVES = tl.constexpr(64)
"""Powers of two the margins' histogram tells apart, from 2^-40 to 2^24, each in 2^BITS buckets; open at both ends."""
LOWEST = tl.constexpr(1023 - 40)
INFINITY_BITS = tl.constexpr(0x7FF << 52)
LARGEST = tl.constexpr(2**63 - 1)
SAFE = tl.constexpr(1 - 2.0**-40)
RANK = tl.constexpr(-1)
"""Kind of an ask for the value of a rank: every item costs 1 unit. The other kinds are `Budget.exponent`."""


@triton.jit
def _bucket(bits: tl.tensor, BITS: tl.constexpr) -> tl.tensor:
    """Histogram bucket of a non-negative margin's bit pattern, order-preserving."""
    at = (bits >> (52 - BITS)) - (LOWEST << BITS)
    at = tl.where(at < 0, 0, at)
    return tl.where(at >= (OCTAVES << BITS), (OCTAVES << BITS) - 1, at)


@triton.jit
def _edge(bucket: tl.tensor, BITS: tl.constexpr) -> tl.tensor:
    """Bit pattern of a bucket's lower edge: 0 for the first, infinity for the one after the last."""
    bits = (bucket.to(tl.int64) + (LOWEST << BITS)) << (52 - BITS)
    bits = tl.where(bucket <= 0, 0, bits)
    return tl.where(bucket >= (OCTAVES << BITS), INFINITY_BITS, bits)


@triton.jit
def _units(d: tl.tensor, kind: tl.tensor, scale: tl.tensor, limit: tl.tensor) -> tl.tensor:
    """Integer cost of a margin that is not NaN, as `reference.item_cost` defines it: multiplications only."""
    top = (limit + 1).to(tl.float64)
    cost = tl.where(kind == 2, d * d, d) * scale
    cost = tl.where(cost < top, cost, tl.where(cost >= top, top, 0.0))
    return tl.where(kind == RANK, 1.0, cost).to(tl.int64)


@triton.jit
def _logits(place: tl.tensor, live: tl.tensor, WIDE: tl.constexpr) -> tl.tensor:
    """Load logits in the dtype they are compared in, exactly; bfloat16 comes as int16 patterns, float32's upper half.

    The interpreter's own conversion from bfloat16 flushes subnormals.
    """
    raw = tl.load(place, mask=live, other=0)
    if raw.dtype == tl.int16:
        return (raw.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return raw.to(tl.float64 if WIDE else tl.float32)


@triton.jit
def _level_squares(
    place: tl.tensor,
    z_class: tl.tensor,
    inside: tl.tensor,
    ahead: tl.tensor,
    deep: tl.tensor,
    behind: tl.tensor,
    CLASSES: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Compute the squared distance to where `behind` is level with all of the side ahead, by water filling.

    It reads a pixel's logits again for every step of its level; they are in the cache by then. Sums run in class
    order as everywhere (MATH.md section 6); launch with `enable_fp_fusion=False`.

    Args:
        place: addresses of the pixels' first logits.
        inside: int32 [K], 1 for the classes of the set.
        ahead: not 0 where the set is the side ahead.
        deep: which pixels are asked for; others get 0.
        behind: float64, the best logit of the side behind.
    """
    level = tl.full([BLOCK], 0, tl.float64)
    number = tl.full([BLOCK], -1.0, tl.float64)
    rising = deep
    moving = tl.sum(rising.to(tl.int32))
    while moving > 0:
        total = tl.full([BLOCK], 0, tl.float64)
        above = tl.full([BLOCK], 0, tl.float64)
        for k in range(CLASSES):
            v = _logits(place + k * z_class, rising, WIDE)
            gap = v.to(tl.float64) - behind
            hit = rising & ((tl.load(inside + k) != 0) == (ahead != 0)) & (gap > level)
            total = tl.where(hit, total + gap, total)
            above = tl.where(hit, above + 1.0, above)
        # A pixel whose level has as many above it as before is done.
        rising = rising & (above != number)
        number = tl.where(rising, above, number)
        raised = total / (above + 1.0)
        level = tl.where(rising & (raised > level), raised, level)
        moving = tl.sum(rising.to(tl.int32))
    cost = level * level
    for k in range(CLASSES):
        v = _logits(place + k * z_class, deep, WIDE)
        gap = v.to(tl.float64) - behind
        hit = deep & ((tl.load(inside + k) != 0) == (ahead != 0)) & (gap > level)
        cost = tl.where(hit, cost + (gap - level) * (gap - level), cost)
    return cost


@triton.jit
def _store_logits(place: tl.tensor, value: tl.tensor, live: tl.tensor) -> None:
    """Store what `_logits` loaded in the dtype it had, exactly."""
    if place.dtype.element_ty == tl.int16:
        tl.store(place, (value.to(tl.int32, bitcast=True) >> 16).to(tl.int16), mask=live)
    else:
        tl.store(place, value.to(place.dtype.element_ty), mask=live)


if INTERPRETED:
    # The interpreter prepares the whole language anew for every call of a compiled function.
    _bucket, _edge, _units, _logits = _bucket.fn, _edge.fn, _units.fn, _logits.fn
    _level_squares, _store_logits = _level_squares.fn, _store_logits.fn


@triton.jit
def read_pixels(
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
    margins: tl.tensor,
    histogram: tl.tensor,
    counts: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    CLASSES: tl.constexpr,
    LABELLED: tl.constexpr,
    IGNORING: tl.constexpr,
    EVERY: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Read a batch of logits once and write each item's margin, NaN where a pixel is no item.

    Args:
        z: [B, K, H, W] logits, reached by the four strides; bfloat16 as int16 patterns.
        labels: int64 [B, H, W], reached by the three strides; not read unless LABELLED.
        ignore: the label left out; not read unless IGNORING.
        margins: float64 [B, P], overwritten.
        histogram: int32 [B, BUCKETS], added to: items per bucket.
        counts: int64 [B, 3], added to: items; labels other than `ignore`; non-finite logits.
        FLAT: pixels of a class are evenly spaced, so rows need not be told apart.
        WIDE: compare in float64 rather than float32, which holds every other dtype exactly.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    if FLAT:
        place = z + image * z_image + at * z_column
    else:
        place = z + image * z_image + (at // width) * z_row + (at % width) * z_column
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    first = tl.full([BLOCK], float("-inf"), dtype)
    second = tl.full([BLOCK], float("-inf"), dtype)
    best = tl.full([BLOCK], 0, tl.int64)
    bad = tl.full([BLOCK], 0, tl.int64)
    for k in range(CLASSES):
        v = _logits(place + k * z_class, live, WIDE)
        bad += tl.where(tl.abs(v) < float("inf"), 0, 1)
        ahead = v > first
        second = tl.where(ahead, first, tl.where(v > second, v, second))
        best = tl.where(ahead, k, best)
        first = tl.where(ahead, v, first)
    if CLASSES == 1:
        d = tl.abs(first).to(tl.float64)
        best = tl.where(first > 0, 1, 0).to(tl.int64)
    else:
        d = first.to(tl.float64) - second.to(tl.float64)
    item = live & (d == d)
    if LABELLED:
        y = image * y_image + (at // width) * y_row + (at % width) * y_column
        label = tl.load(labels + y, mask=live, other=0)
        counted = live
        if IGNORING:
            counted = live & (label != ignore)
        item = item & counted
        if not EVERY:
            item = item & (label == best)
        tl.atomic_add(counts + image * 3 + 1, tl.sum(counted.to(tl.int64)), sem="relaxed")
    tl.store(margins + image * pixels + at, tl.where(item, d, float("nan")), mask=live)
    bucket = _bucket(d.to(tl.int64, bitcast=True), BITS)
    ones = tl.full([BLOCK], 1, tl.int32)
    tl.atomic_add(histogram + image * BUCKETS + bucket, ones, mask=item, sem="relaxed")
    tl.atomic_add(counts + image * 3, tl.sum(item.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 3 + 2, tl.sum(bad), sem="relaxed")


@triton.jit
def bracket(
    histogram: tl.tensor,
    kinds: tl.tensor,
    scales: tl.tensor,
    limits: tl.tensor,
    needed: tl.tensor,
    state: tl.tensor,
    asks: tl.tensor,
    LISTING: tl.constexpr,
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    """Find the run of buckets in which each ask is decided.

    An ask of kind 0 is decided in the bucket of its scale.

    Args:
        histogram: int32 [B, BUCKETS].
        kinds: int64 [B, asks]: RANK, 0, 1 or 2.
        scales: float64 [B, asks].
        limits: int64 [B, asks].
        needed: int32 [B, BUCKETS], set to 1 for every bucket of a run.
        state: int64 [5, B * asks], overwritten: first bucket; last bucket; items before the run; their cost so far
            (known for RANK, else 0); how many of them `below` or `add_below` must add up (all of them or 0).
        LISTING: set `needed` for the buckets before a run too where their items must be added up.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(0).to(tl.int64)
    nth = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    live = nth < asks
    ask = image * asks + nth
    rows = tl.num_programs(0).to(tl.int64) * asks
    kind = tl.load(kinds + ask, mask=live, other=0)
    scale = tl.load(scales + ask, mask=live, other=0.0)
    limit = tl.load(limits + ask, mask=live, other=0)
    spent_least = tl.full([GROUP], 0, tl.int64)
    spent_most = tl.full([GROUP], 0, tl.int64)
    first = tl.full([GROUP], 0, tl.int64)
    last = tl.full([GROUP], 0, tl.int64)
    for start in range(0, BUCKETS, CHUNK):
        bucket = start + tl.arange(0, CHUNK).to(tl.int64)
        count = tl.load(histogram + image * BUCKETS + bucket).to(tl.int64)[None, :]
        low = _edge(bucket, BITS).to(tl.float64, bitcast=True)[None, :]
        high = _edge(bucket + 1, BITS).to(tl.float64, bitcast=True)[None, :]
        least = count * _units(low, kind[:, None], scale[:, None], limit[:, None])
        most = count * _units(high, kind[:, None], scale[:, None], limit[:, None])
        under = (spent_least[:, None] + tl.cumsum(least, 1) <= limit[:, None]).to(tl.int64)
        over = (spent_most[:, None] + tl.cumsum(most, 1) <= limit[:, None]).to(tl.int64)
        both = tl.sum(under + (over << 32), 1)
        last += both & 0xFFFFFFFF
        first += both >> 32
        if start + CHUNK < BUCKETS:
            spent_least += tl.sum(least, 1)
            spent_most += tl.sum(most, 1)
    # Where all items fit even at their buckets' upper edges, no sum can change the answer.
    summed = (kind > 0) & (first < BUCKETS)
    last = tl.minimum(last, BUCKETS - 1)
    last = tl.where(kind == 0, _bucket(scale.to(tl.int64, bitcast=True), BITS), last)
    first = tl.where(kind == 0, last, tl.minimum(first, last))
    start_listing = first
    if LISTING:
        start_listing = tl.where(summed, 0, first)
    before = tl.full([GROUP], 0, tl.int64)
    for start in range(0, BUCKETS, CHUNK):
        bucket = start + tl.arange(0, CHUNK).to(tl.int64)
        count = tl.load(histogram + image * BUCKETS + bucket).to(tl.int64)[None, :]
        earlier = bucket[None, :] < first[:, None]
        before += tl.sum(tl.where(earlier, count, 0), 1)
        listed = (bucket[None, :] >= start_listing[:, None]) & (bucket[None, :] <= last[:, None]) & live[:, None]
        place = needed + image * BUCKETS + bucket[None, :] + tl.full([GROUP, CHUNK], 0, tl.int64)
        tl.store(place, tl.full([GROUP, CHUNK], 1, tl.int32), mask=listed)
    tl.store(state + ask, first, mask=live)
    tl.store(state + rows + ask, last, mask=live)
    tl.store(state + 2 * rows + ask, before, mask=live)
    tl.store(state + 3 * rows + ask, tl.where(kind == RANK, before, 0), mask=live)
    tl.store(state + 4 * rows + ask, tl.where(summed, before, 0), mask=live)


@triton.jit
def offsets(
    histogram: tl.tensor,
    needed: tl.tensor,
    places: tl.tensor,
    cursors: tl.tensor,
    BITS: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    """Give every needed bucket its place in the index list.

    Args:
        histogram: int32 [B, BUCKETS].
        needed: int32 [B, BUCKETS], 0 or 1.
        places: int32 [B, BUCKETS], overwritten: where each bucket starts (the same as the next for one not needed).
        cursors: int32 [B, BUCKETS], overwritten: a copy for `below` to count up.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(0).to(tl.int64)
    done = tl.full([], 0, tl.int32)
    for start in range(0, BUCKETS, CHUNK):
        at = image * BUCKETS + start + tl.arange(0, CHUNK)
        count = tl.load(histogram + at) * tl.load(needed + at)
        place = done + tl.cumsum(count, 0) - count
        tl.store(places + at, place)
        tl.store(cursors + at, place)
        done += tl.sum(count)


@triton.jit
def below(
    margins: tl.tensor,
    needed: tl.tensor,
    cursors: tl.tensor,
    indices: tl.tensor,
    kinds: tl.tensor,
    scales: tl.tensor,
    state: tl.tensor,
    pixels: tl.tensor,
    asks: tl.tensor,
    LISTING: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """List the pixels of needed buckets and, unless LISTING, add up what each ask spends below its run.

    Args:
        margins: float64 [B, P].
        needed: int32 [B, BUCKETS].
        cursors: int32 [B, BUCKETS], counted up.
        indices: int32 [B, P], overwritten from the front, bucket after bucket; the order within one is any.
        state: as in `bracket`; row 3 is added to.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(1).to(tl.int64)
    rows = tl.num_programs(1).to(tl.int64) * asks
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    d = tl.load(margins + image * pixels + at, mask=live, other=float("nan"))
    item = d == d
    d = tl.where(item, d, 0.0)
    bits = d.to(tl.int64, bitcast=True)
    bucket = _bucket(bits, BITS)
    listed = item & (tl.load(needed + image * BUCKETS + bucket) > 0)
    ones = tl.full([BLOCK], 1, tl.int32)
    place = tl.atomic_add(cursors + image * BUCKETS + bucket, ones, mask=listed, sem="relaxed")
    tl.store(indices + image * pixels + place, at.to(tl.int32), mask=listed)
    if not LISTING:
        m = tl.full([], 0, tl.int32)
        while m < asks:
            ask = image * asks + m
            if tl.load(state + 4 * rows + ask) > 0:
                # What is no item counts as a margin of 0, which costs nothing; below a run no cost meets its bound.
                cheap = tl.where(bits < _edge(tl.load(state + ask), BITS), d, 0.0)
                power = tl.where(tl.load(kinds + ask) == 2, cheap * cheap, cheap)
                spent = tl.sum((power * tl.load(scales + ask)).to(tl.int64))
                tl.atomic_add(state + 3 * rows + ask, spent, sem="relaxed")
            m += 1


@triton.jit
def add_below(
    margins: tl.tensor,
    places: tl.tensor,
    indices: tl.tensor,
    kinds: tl.tensor,
    scales: tl.tensor,
    state: tl.tensor,
    pixels: tl.tensor,
    asks: tl.tensor,
    EXPONENT: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add up what each ask of one exponent spends below its run, along the index list, which begins with those items.

    Blocks are those of the list: an ask is looked at only in those its items reach, and a block after the list has
    nothing to do. How long the list is only the device knows.

    Args:
        margins: float64 [B, P].
        places: int32 [B, BUCKETS]: where each bucket starts in the list.
        indices: int32 [B, P], in the order of the buckets, from `below` with LISTING.
        state: as in `bracket`; row 3 is added to.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(1).to(tl.int64)
    rows = tl.num_programs(1).to(tl.int64) * asks
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    # No run starts after the last bucket.
    end = tl.load(places + image * BUCKETS + BUCKETS - 1).to(tl.int64)
    if begin < end:
        nth = tl.arange(0, BLOCK)
        live = begin + nth < end
        index = tl.load(indices + image * pixels + begin + nth, mask=live, other=0)
        d = tl.load(margins + image * pixels + index, mask=live, other=0.0)
        power = d * d if EXPONENT == 2 else d
        m = tl.full([], 0, tl.int32)
        while m < asks:
            ask = image * asks + m
            left = tl.load(state + 4 * rows + ask) - begin
            if (left > 0) & (tl.load(kinds + ask) == EXPONENT):
                # In 32 bits, as far as this block: half the comparisons.
                within = nth < tl.minimum(left, BLOCK).to(tl.int32)
                cost = (tl.where(within, power, 0.0) * tl.load(scales + ask)).to(tl.int64)
                tl.atomic_add(state + 3 * rows + ask, tl.sum(cost), sem="relaxed")
            m += 1


@triton.jit
def finish(
    margins: tl.tensor,
    histogram: tl.tensor,
    places: tl.tensor,
    indices: tl.tensor,
    kinds: tl.tensor,
    scales: tl.tensor,
    limits: tl.tensor,
    state: tl.tensor,
    answers: tl.tensor,
    pixels: tl.tensor,
    asks: tl.tensor,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Decide each ask inside its run.

    The range of bit patterns in question is halved and then shrunk to the smallest and largest margin left in it, so
    equal margins cost nothing and n different ones about log2 n looks.

    Args:
        answers: int64 [3, B * asks], overwritten: how many of the cheapest items fit the limit together; the bit
            pattern of the margin at which that is decided; how many items are strictly below that margin. The last
            two are for kind RANK with a limit below the number of items.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(0).to(tl.int64)
    ask = image * asks + tl.program_id(1)
    rows = tl.num_programs(0).to(tl.int64) * asks
    kind = tl.load(kinds + ask)
    scale = tl.load(scales + ask)
    limit = tl.load(limits + ask)
    last = tl.load(state + rows + ask)
    rank = tl.load(state + 2 * rows + ask)
    spent = tl.load(state + 3 * rows + ask)
    begin = tl.load(places + image * BUCKETS + tl.load(state + ask)).to(tl.int64)
    end = tl.load(places + image * BUCKETS + last).to(tl.int64)
    end += tl.load(histogram + image * BUCKETS + last).to(tl.int64)
    if kind == 0:
        start = begin
        while start < end:
            at = start + tl.arange(0, BLOCK)
            index = tl.load(indices + image * pixels + at, mask=at < end, other=0)
            d = tl.load(margins + image * pixels + index)
            rank += tl.sum(((at < end) & (d <= scale)).to(tl.int64))
            start += BLOCK
        tl.store(answers + ask, rank)
        tl.store(answers + rows + ask, tl.full([], 0, tl.int64))
        tl.store(answers + 2 * rows + ask, tl.full([], 0, tl.int64))
    else:
        low = tl.full([], LARGEST, tl.int64)
        high = tl.full([], -1, tl.int64)
        start = begin
        while start < end:
            at = start + tl.arange(0, BLOCK)
            index = tl.load(indices + image * pixels + at, mask=at < end, other=0)
            bits = tl.load(margins + image * pixels + index).to(tl.int64, bitcast=True)
            low = tl.minimum(low, tl.min(tl.where(at < end, bits, LARGEST)))
            high = tl.maximum(high, tl.max(tl.where(at < end, bits, -1)))
            start += BLOCK
        while low < high:
            middle = low + (high - low) // 2
            cost = tl.full([], 0, tl.int64)
            count = tl.full([], 0, tl.int64)
            left_high = tl.full([], -1, tl.int64)
            right_low = tl.full([], LARGEST, tl.int64)
            start = begin
            while start < end:
                at = start + tl.arange(0, BLOCK)
                index = tl.load(indices + image * pixels + at, mask=at < end, other=0)
                bits = tl.load(margins + image * pixels + index).to(tl.int64, bitcast=True)
                asked = (at < end) & (bits >= low) & (bits <= high)
                left = asked & (bits <= middle)
                d = tl.where(left, bits, 0).to(tl.float64, bitcast=True)
                cost += tl.sum(tl.where(left, _units(d, kind, scale, limit), 0))
                count += tl.sum(left.to(tl.int64))
                left_high = tl.maximum(left_high, tl.max(tl.where(left, bits, -1)))
                right_low = tl.minimum(right_low, tl.min(tl.where(asked & (bits > middle), bits, LARGEST)))
                start += BLOCK
            fits = spent + cost <= limit
            spent = tl.where(fits, spent + cost, spent)
            rank = tl.where(fits, rank + count, rank)
            low = tl.where(fits, right_low, low)
            high = tl.where(fits, high, left_high)
        equal = tl.full([], 0, tl.int64)
        start = begin
        while start < end:
            at = start + tl.arange(0, BLOCK)
            index = tl.load(indices + image * pixels + at, mask=at < end, other=0)
            bits = tl.load(margins + image * pixels + index).to(tl.int64, bitcast=True)
            equal += tl.sum(((at < end) & (bits == low)).to(tl.int64))
            start += BLOCK
        price = _units(tl.where(equal > 0, low, 0).to(tl.float64, bitcast=True), kind, scale, limit)
        more = tl.where(price == 0, equal, (limit - spent) // tl.maximum(price, 1))
        tl.store(answers + ask, rank + tl.minimum(more, equal))
        tl.store(answers + rows + ask, low)
        tl.store(answers + 2 * rows + ask, rank)


@triton.jit
def spend(
    margins: tl.tensor,
    edges: tl.tensor,
    scales: tl.tensor,
    limit: tl.tensor,
    sums: tl.tensor,
    pixels: tl.tensor,
    targets: tl.tensor,
    EXPONENT: tl.constexpr,
    CANDIDATES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add up the integer costs of all items strictly below an edge, at several scales each.

    Args:
        margins: float64 [B, P].
        edges: float64 [B, targets].
        scales: float64 [B, targets, CANDIDATES].
        limit: grid units of a budget.
        sums: int64 [B, targets, CANDIDATES], added to.
    """
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.load(margins + image * pixels + at, mask=at < pixels, other=float("nan"))
    target = tl.full([], 0, tl.int32)
    while target < targets:
        row = image * targets + target
        counted = d < tl.load(edges + row)
        candidate = row * CANDIDATES + tl.arange(0, CANDIDATES)
        scale = tl.load(scales + candidate)
        cost = _units(tl.where(counted, d, 0.0)[:, None], EXPONENT, scale[None, :], limit)
        total = tl.sum(tl.where(counted[:, None], cost, 0), 0)
        tl.atomic_add(sums + candidate, total, sem="relaxed")
        target += 1


@triton.jit
def read_class(
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
    inside: tl.tensor,
    share: tl.tensor,
    out: tl.tensor,
    counts: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    CLASSES: tl.constexpr,
    IGNORING: tl.constexpr,
    LEAVE_SQUARED: tl.constexpr,
    ENTER_SQUARED: tl.constexpr,
    ALONE: tl.constexpr,
    WHOLE_WHEN_WRONG: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write what flipping each pixel costs: +value to leave the class set (TP), -value to enter it (TN), else NaN.

    Launch it with `enable_fp_fusion=False`.

    Args:
        z, labels, ignore: as in `read_pixels`.
        inside: int32 [max(K, 2)], 1 for the classes of the set.
        out: float64 [B, P], overwritten; the sign bit tells the list, also of 0.
        counts: int64 [B, 5], added to: TP, FP, FN, TN, non-finite logits.
        share: float64 [1], factor of every item.
        LEAVE_SQUARED: leave items are squared distances; ENTER_SQUARED: enter items are.
        ALONE: the set has one class, so leaving it is exact without water filling.
        WHOLE_WHEN_WRONG: no factor for true negatives whose label's logit is not the largest.
    """
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    place = z + image * z_image + (at // width) * z_row + (at % width) * z_column
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    best_in = tl.full([BLOCK], float("-inf"), dtype)
    best_out = tl.full([BLOCK], float("-inf"), dtype)
    first = tl.full([BLOCK], float("-inf"), dtype)
    ahead = tl.full([BLOCK], 0, tl.int32)
    bad = tl.full([BLOCK], 0, tl.int64)
    for k in range(CLASSES):
        v = _logits(place + k * z_class, live, WIDE)
        bad += tl.where(tl.abs(v) < float("inf"), 0, 1)
        member = tl.load(inside + k)
        best_in = tl.where((member != 0) & (v > best_in), v, best_in)
        best_out = tl.where((member == 0) & (v > best_out), v, best_out)
        ahead = tl.where(v > first, member, ahead)
        first = tl.where(v > first, v, first)
    if CLASSES == 1:
        ahead = tl.where(first > 0, tl.load(inside + 1), tl.load(inside))
        d = tl.abs(first).to(tl.float64)
        behind = d
    else:
        own = tl.where(ahead != 0, best_in, best_out).to(tl.float64)
        behind = tl.where(ahead != 0, best_out, best_in).to(tl.float64)
        d = own - behind
    label = tl.load(labels + image * y_image + (at // width) * y_row + (at % width) * y_column, mask=live, other=-1)
    classes: tl.constexpr = CLASSES if CLASSES > 1 else 2
    counted = live & (label >= 0) & (label < classes)
    if IGNORING:
        counted = counted & (label != ignore)
    mine = tl.load(inside + tl.where(counted, label, 0))
    leaves = counted & (mine != 0) & (ahead != 0)
    enters = counted & (mine == 0) & (ahead == 0)
    charged = tl.full([BLOCK], 0, tl.float64) + tl.load(share)
    if WHOLE_WHEN_WRONG and CLASSES > 1:
        at_label = _logits(place + tl.where(enters, label, 0) * z_class, enters, WIDE)
        charged = tl.where(enters & (at_label != first), 1.0, charged)
    if ENTER_SQUARED:
        squared = enters
        if LEAVE_SQUARED:
            squared = squared | leaves
        if CLASSES == 1:
            d = tl.where(squared, d * d * SAFE, d)
        else:
            pair = d * d * 0.5 * SAFE
            d = tl.where(squared, pair, d)
            deep = squared
            if ALONE:
                deep = deep & enters
            cost = _level_squares(place, z_class, inside, ahead, deep, behind, CLASSES, WIDE, BLOCK)
            d = tl.where(deep, cost * SAFE, d)
    d = d * charged
    value = tl.where(leaves, d, tl.where(enters, d * -1.0, float("nan")))
    tl.store(out + image * pixels + at, value, mask=live)
    tl.atomic_add(counts + image * 5, tl.sum(leaves.to(tl.int64)), sem="relaxed")
    false_in = counted & (mine == 0) & (ahead != 0)
    false_out = counted & (mine != 0) & (ahead == 0)
    tl.atomic_add(counts + image * 5 + 1, tl.sum(false_in.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 5 + 2, tl.sum(false_out.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 5 + 3, tl.sum(enters.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 5 + 4, tl.sum(bad), sem="relaxed")


@triton.jit
def rank_pixels(
    z: tl.tensor,
    z_image: tl.tensor,
    z_class: tl.tensor,
    z_row: tl.tensor,
    z_column: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    best: tl.tensor,
    bad: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    CLASSES: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Read a batch of logits once and write the two largest of each pixel and the first class that has the largest.

    Args:
        z: [B, K, H, W] logits, K >= 2, as in `read_pixels`; FLAT and WIDE too.
        first: [B, P], dtype of z, overwritten with the largest.
        second: as `first`, overwritten with the second largest; equal where they tie.
        best: an integer dtype that holds K, [B, P], overwritten: the first class that has the largest.
        bad: int64 [B], added to: non-finite logits.
    """
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    if FLAT:
        place = z + image * z_image + at * z_column
    else:
        place = z + image * z_image + (at // width) * z_row + (at % width) * z_column
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    one = tl.full([BLOCK], float("-inf"), dtype)
    two = tl.full([BLOCK], float("-inf"), dtype)
    which = tl.full([BLOCK], 0, tl.int32)
    seen = tl.full([BLOCK], 0, tl.int64)
    for k in range(CLASSES):
        v = _logits(place + k * z_class, live, WIDE)
        seen += tl.where(tl.abs(v) < float("inf"), 0, 1)
        ahead = v > one
        two = tl.where(ahead, one, tl.where(v > two, v, two))
        which = tl.where(ahead, k, which)
        one = tl.where(ahead, v, one)
    out = image * pixels + at
    _store_logits(first + out, one, live)
    _store_logits(second + out, two, live)
    tl.store(best + out, which.to(best.dtype.element_ty), mask=live)
    tl.atomic_add(bad + image, tl.sum(seen), sem="relaxed")


@triton.jit
def narrow_labels(
    labels: tl.tensor,
    y_image: tl.tensor,
    y_row: tl.tensor,
    y_column: tl.tensor,
    ignore: tl.tensor,
    out: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    CLASSES: tl.constexpr,
    IGNORING: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write labels in few bytes, and CLASSES where a pixel does not count.

    Args:
        labels, ignore: as in `read_pixels`; IGNORING too.
        out: an integer dtype that holds CLASSES, [B, P], overwritten.
    """
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    label = tl.load(labels + image * y_image + (at // width) * y_row + (at % width) * y_column, mask=live, other=-1)
    counted = (label >= 0) & (label < CLASSES)
    if IGNORING:
        counted = counted & (label != ignore)
    tl.store(out + image * pixels + at, tl.where(counted, label, CLASSES).to(out.dtype.element_ty), mask=live)


@triton.jit
def read_class_ranked(
    z: tl.tensor,
    plane: tl.tensor,
    z_image: tl.tensor,
    z_class: tl.tensor,
    z_row: tl.tensor,
    z_column: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    best: tl.tensor,
    labels: tl.tensor,
    k: tl.tensor,
    share: tl.tensor,
    prices: tl.tensor,
    histogram: tl.tensor,
    counts: tl.tensor,
    width: tl.tensor,
    pixels: tl.tensor,
    CLASSES: tl.constexpr,
    LEAVE_SQUARED: tl.constexpr,
    ENTER_SQUARED: tl.constexpr,
    WHOLE_WHEN_WRONG: tl.constexpr,
    WIDE: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write what flipping each pixel of one class costs at least, from its ranks and the class's own logit.

    Leaving is exact, and so is entering unless ENTER_SQUARED, where it is the pair bound and `price_class` gives the
    distance. A logit is read where a pixel can enter, the second largest where it can leave.

    Args:
        z: [B, K, H, W] logits, K >= 2, as in `read_pixels`.
        plane: the same from class k on.
        first, second, best: [B, P], from `rank_pixels`.
        labels: [B, P], from `narrow_labels`.
        k: the class.
        share, LEAVE_SQUARED, ENTER_SQUARED, WHOLE_WHEN_WRONG: as in `read_class`.
        prices: float64 [B, P], overwritten: +price to leave (TP), -price to enter (TN), else NaN; the sign bit tells
            the list, also of 0.
        histogram: int32 [B, 2, BUCKETS], added to: leave items, enter items.
        counts: int64 [B, 4], added to: TP, FP, FN, TN.
    """
    BUCKETS: tl.constexpr = OCTAVES << BITS
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < pixels
    rank = image * pixels + at
    pixel = image * z_image + (at // width) * z_row + (at % width) * z_column
    label = tl.load(labels + rank, mask=live, other=CLASSES).to(tl.int32)
    leader = tl.load(best + rank, mask=live, other=0).to(tl.int32)
    counted = label < CLASSES
    mine = label == k
    ahead = leader == k
    leaves = counted & mine & ahead
    enters = counted & (mine == 0) & (ahead == 0)
    one = _logits(first + rank, leaves | enters, WIDE)
    two = _logits(second + rank, leaves, WIDE)
    own = _logits(plane + pixel, enters, WIDE)
    # A difference of zeros may be -0; its sign is to tell the list.
    d = tl.abs(one.to(tl.float64) - tl.where(leaves, two, own).to(tl.float64))
    charged = tl.full([BLOCK], 0, tl.float64) + tl.load(share)
    if WHOLE_WHEN_WRONG:
        # The label's logit can be the largest without being the first of them.
        wrong = enters & (leader != label)
        at_label = _logits(z + pixel + tl.where(wrong, label, 0).to(tl.int64) * z_class, wrong, WIDE)
        charged = tl.where(wrong & (at_label != one), 1.0, charged)
    if ENTER_SQUARED:
        squared = enters
        if LEAVE_SQUARED:
            squared = squared | leaves
        d = tl.where(squared, d * d * 0.5 * SAFE, d)
    d = d * charged
    tl.store(prices + rank, tl.where(leaves, d, tl.where(enters, d * -1.0, float("nan"))), mask=live)
    bucket = _bucket(d.to(tl.int64, bitcast=True), BITS)
    ones = tl.full([BLOCK], 1, tl.int32)
    row = histogram + (image * 2 + enters.to(tl.int64)) * BUCKETS
    tl.atomic_add(row + bucket, ones, mask=leaves | enters, sem="relaxed")
    tl.atomic_add(counts + image * 4, tl.sum(leaves.to(tl.int64)), sem="relaxed")
    false_in = counted & (mine == 0) & ahead
    false_out = counted & mine & (ahead == 0)
    tl.atomic_add(counts + image * 4 + 1, tl.sum(false_in.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 4 + 2, tl.sum(false_out.to(tl.int64)), sem="relaxed")
    tl.atomic_add(counts + image * 4 + 3, tl.sum(enters.to(tl.int64)), sem="relaxed")


@triton.jit
def collect_class(
    prices: tl.tensor,
    leave_end: tl.tensor,
    enter_end: tl.tensor,
    cursors: tl.tensor,
    items: tl.tensor,
    where: tl.tensor,
    pixels: tl.tensor,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Gather the items of one image in the buckets before the ends, each block's side by side.

    Args:
        prices: float64 [P], of this image, from `read_class_ranked`.
        leave_end, enter_end: the first bucket left out.
        cursors: int32 [2], where leave and enter items begin; added to.
        items: float64, overwritten with prices, all positive.
        where: int32, overwritten with the pixel of each.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    signed = tl.load(prices + at, mask=at < pixels, other=float("nan"))
    price = tl.abs(signed)
    bucket = _bucket(price.to(tl.int64, bitcast=True), BITS)
    entering = signed.to(tl.int64, bitcast=True) < 0
    for side in range(2):
        end = tl.where(side == 0, leave_end, enter_end)
        within = (signed == signed) & (entering == (side == 1)) & (bucket < end)
        nth = tl.cumsum(within.to(tl.int32), 0)
        begin = tl.atomic_add(cursors + side, tl.sum(within.to(tl.int32)), sem="relaxed")
        tl.store(items + begin + nth - 1, price, mask=within)
        tl.store(where + begin + nth - 1, at.to(tl.int32), mask=within)


@triton.jit
def price_class(
    z: tl.tensor,
    plane: tl.tensor,
    z_class: tl.tensor,
    z_row: tl.tensor,
    z_column: tl.tensor,
    first: tl.tensor,
    labels: tl.tensor,
    inside: tl.tensor,
    share: tl.tensor,
    where: tl.tensor,
    items: tl.tensor,
    width: tl.tensor,
    number: tl.tensor,
    CLASSES: tl.constexpr,
    WHOLE_WHEN_WRONG: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write what it costs some pixels of an image to enter class k, by water filling over all classes.

    Args:
        z, plane, first, labels: of this image, as in `read_class_ranked`; share and WHOLE_WHEN_WRONG too.
        inside: int32 [K], 1 for class k alone.
        where: int32 [number], the pixels.
        items: float64 [number], overwritten.
    """
    nth = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    asked = nth < number
    at = tl.load(where + nth, mask=asked, other=0).to(tl.int64)
    pixel = (at // width) * z_row + (at % width) * z_column
    behind = _logits(plane + pixel, asked, WIDE).to(tl.float64)
    charged = tl.full([BLOCK], 0, tl.float64) + tl.load(share)
    if WHOLE_WHEN_WRONG:
        label = tl.load(labels + at, mask=asked, other=0).to(tl.int64)
        one = _logits(first + at, asked, WIDE)
        at_label = _logits(z + pixel + label * z_class, asked, WIDE)
        charged = tl.where(at_label != one, 1.0, charged)
    ahead = tl.full([BLOCK], 0, tl.int32)
    cost = _level_squares(z + pixel, z_class, inside, ahead, asked, behind, CLASSES, WIDE, BLOCK)
    tl.store(items + nth, cost * SAFE * charged, mask=asked)
