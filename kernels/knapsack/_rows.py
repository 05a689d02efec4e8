"""The pass over logits of whole images, compiled by numba: one row of logits an image, one margin.

Each logit is read once, and as the integer of its bits: maxima of integers are taken in eight lanes at once, those of
floating-point numbers one by one. Numbers from 0 on are ordered as their bits are, numbers below 0 the other way
round, and without its sign the largest says whether all are finite. Blocks of a row have a fixed length, so that no
lanes are left over, and keep their extremes: what lies before and behind a row's own class is that of the other
blocks, and the rest of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled

ROWS = 64
"""Rows a task works on."""
_BLOCK = 256
"""Logits of a block."""


@compiled()
def extremes(bits: Any, start: int, stop: int) -> Any:
    """The largest, the least and the largest without its sign of some numbers' bits.

    Returns:
        Of no numbers: minus infinity's largest, as all numbers are above it, and nothing else that matters.
    """
    integer = bits.dtype.type
    sign = integer(np.iinfo(bits.dtype).max)
    largest, least, size = integer(~sign), sign, integer(0)
    # Unsigned places need no look at whether they count from the end, so that lanes can be loaded.
    for k in range(np.uint64(start), np.uint64(stop)):
        value = bits[k]
        size = integer(max(size, integer(value & sign)))
        largest = integer(max(largest, value))
        least = integer(min(least, value))
    return largest, least, size


@compiled()
def block(bits: Any, start: int) -> Any:
    """The same of one block, whose length is known when this is compiled."""
    integer = bits.dtype.type
    sign = integer(np.iinfo(bits.dtype).max)
    largest, least, size = integer(~sign), sign, integer(0)
    first = np.uint64(start)
    for k in range(np.uint64(_BLOCK)):
        value = bits[first + k]
        size = integer(max(size, integer(value & sign)))
        largest = integer(max(largest, value))
        least = integer(min(least, value))
    return largest, least, size


@compiled()
def blocks(bits: Any, tops: Any, lows: Any) -> Any:
    """The extremes of a row, and those of its blocks, the last of which is shorter or empty.

    Args:
        bits: [K].
        tops: [K // _BLOCK + 1], overwritten.
        lows: the same.
    """
    integer = bits.dtype.type
    sign = integer(np.iinfo(bits.dtype).max)
    largest, least, size = integer(~sign), sign, integer(0)
    whole = bits.size // _BLOCK
    # In the order of memory, which is what is waited for.
    for i in range(whole + 1):
        top, low, wide = block(bits, i * _BLOCK) if i < whole else extremes(bits, i * _BLOCK, bits.size)
        tops[i], lows[i] = top, low
        largest, least, size = integer(max(largest, top)), integer(min(least, low)), integer(max(size, wide))
    return largest, least, size


@compiled()
def beside(bits: Any, own: int, tops: Any, lows: Any) -> Any:
    """The largest and least before a place and behind it, of a row whose blocks are known."""
    integer = bits.dtype.type
    at = own // _BLOCK
    before, least_before, _ = extremes(bits, at * _BLOCK, own)
    behind, least_behind, _ = extremes(bits, own + 1, min((at + 1) * _BLOCK, bits.size))
    for i in range(at):
        before, least_before = integer(max(before, tops[i])), integer(min(least_before, lows[i]))
    for i in range(at + 1, tops.size):
        behind, least_behind = integer(max(behind, tops[i])), integer(min(least_behind, lows[i]))
    return before, least_before, behind, least_behind


@compiled()
def number(largest: Any, least: Any, bits: Any, held: Any) -> Any:
    """The largest number of which the bits' extremes are known, minus infinity of none.

    Args:
        largest: of the bits.
        least: of the bits.
        bits: [1], the bits of `held`, overwritten.
        held: floating point [1].
    """
    if largest < 0 <= least:
        return held.dtype.type(-np.inf)
    bits[0] = largest if largest >= 0 else least
    return held[0]


@compiled()
def first_of(row: Any, value: Any, tops: Any, lows: Any, bits: Any, held: Any) -> int:
    """Where a value that is the largest of a row occurs first.

    Args:
        row: floating point [K], finite.
        value: its largest.
        tops: of its blocks.
        lows: of its blocks.
        bits: [1], the bits of `held`, overwritten.
        held: floating point [1].
    """
    at = 0
    while number(tops[at], lows[at], bits, held) != value:
        at += 1
    for k in range(at * _BLOCK, row.size):
        if row[k] == value:
            return k
    return 0


@compiled()
def read(
    begin: int,
    end: int,
    z: Any,
    bits: Any,
    labels: Any,
    ignore: int,
    every: bool,
    margins: Any,
    kept: Any,
    finite: Any,
) -> None:
    """Write each image's margin, its class's logit minus the largest other, or |z| of a single one.

    Args:
        begin: the first task to do, of `ROWS` images each.
        end: the task after the last.
        z: [B, K] logits, contiguous, float32 or float64.
        bits: the same as signed integers.
        labels: [B], or [0] for none.
        ignore: the label left out, or a number no label has.
        every: True when every image not ignored is an item, False when only those predicted as labelled are.
        margins: float64 [B], overwritten, NaN where an image is no item.
        kept: bool [B], overwritten: whether the label counts.
        finite: bool [B], overwritten.
    """
    images, classes = z.shape
    labelled = labels.size > 0
    for task in range(begin, end):
        held = np.empty(1, z.dtype)
        mark = held.view(bits.dtype)
        held[0] = np.inf
        infinite = mark[0]
        tops, lows = np.empty(classes // _BLOCK + 1, bits.dtype), np.empty(classes // _BLOCK + 1, bits.dtype)
        for b in range(task * ROWS, min((task + 1) * ROWS, images)):
            row = z[b]
            label = labels[b] if labelled else 0
            kept[b] = not labelled or label != ignore
            margins[b] = np.nan
            largest, least, size = blocks(bits[b], tops, lows)
            finite[b] = size < infinite
            if not kept[b] or not finite[b]:
                continue
            if classes == 1:
                # What is no class is the predicted one never.
                if every or label == (1 if row[0] > 0 else 0):
                    margins[b] = abs(np.float64(row[0]))
                continue
            top = number(largest, least, mark, held)
            own = first_of(row, top, tops, lows, mark, held) if every else label
            # The first class of the largest logit is predicted.
            if own < 0 or own >= classes or row[own] != top:
                continue
            before, least_before, behind, least_behind = beside(bits[b], own, tops, lows)
            first, rest = number(before, least_before, mark, held), number(behind, least_behind, mark, held)
            if row[own] > first:
                margins[b] = abs(np.float64(row[own]) - np.float64(max(first, rest)))
