"""Karney's algorithm N on words of 32 bits: comparisons and counting alone, no arithmetic that rounds.

Uniform numbers are rows, x and three others, of four digits each. `state` holds their digits, from `_KNOWN` on how
many of each row are drawn so far, at `_NEXT` the place of the next word, and at `_VOID` 1 where a try is void: the
words are used up, or two numbers are equal in all their digits.

Source: Karney 2016, "Sampling exactly from the normal distribution", ACM Transactions on Mathematical Software 42.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled

TRY = 4096
"""Words that one try may take; more have a chance below 2^-300."""
_KNOWN, _NEXT, _VOID, _SIZE = 16, 20, 21, 22


@compiled()
def numbers(words: Any, found: Any, done: int) -> int:
    """Fill in standard normal numbers, times 2^32 and rounded down, as far as the words suffice.

    Args:
        words: uint32, random; `TRY` of them are needed to begin a number.
        found: int64, what to fill.
        done: how many are filled already.

    Returns:
        How many are filled now.
    """
    state = np.zeros(_SIZE, np.int64)
    while done < found.size and state[_NEXT] + TRY <= words.size:
        state[_VOID] = 0
        k = 0
        while _half(words, state):
            k += 1
        kept = True
        for _ in range(k * (k - 1)):
            if not _half(words, state):
                kept = False
                break
        if not kept:
            continue
        _fresh(0, words, state)
        for _ in range(k + 1):
            if not _test(k, words, state):
                kept = False
                break
        if not kept:
            continue
        minus = _word(words, state) & 1
        if state[_VOID] != 0:
            continue
        size = k * 4294967296 + state[0]
        # Below what is cut off there is always something: rounded down, -v is -floor(v) - 1.
        found[done] = -size - 1 if minus == 1 else size
        done += 1
    return done


@compiled()
def _word(words: Any, state: Any) -> Any:
    place = state[_NEXT]
    if place >= words.size:
        state[_VOID] = 1
        return np.int64(0)
    state[_NEXT] = place + 1
    return np.int64(words[place])


@compiled()
def _fresh(row: int, words: Any, state: Any) -> Any:
    state[4 * row] = _word(words, state)
    state[_KNOWN + row] = 1
    return state[4 * row]


@compiled()
def _digit(row: int, place: int, words: Any, state: Any) -> Any:
    if state[_KNOWN + row] == place:
        state[4 * row + place] = _word(words, state)
        state[_KNOWN + row] = place + 1
    return state[4 * row + place]


@compiled()
def _below(one: int, other: int, words: Any, state: Any) -> bool:
    """Whether one number is below another; digits are drawn until that shows."""
    for place in range(4):
        a, b = _digit(one, place, words, state), _digit(other, place, words, state)
        if a != b:
            return bool(a < b)
    state[_VOID] = 1
    return False


@compiled()
def _half(words: Any, state: Any) -> bool:
    """True with probability exp(-1/2): it is even how many uniform numbers fall, the first below 1/2."""
    row, even = 1, True
    if _fresh(row, words, state) >= 2147483648:
        return True
    while True:
        even = not even
        _fresh(3 - row, words, state)
        if not _below(3 - row, row, words, state):
            return even
        row = 3 - row


@compiled()
def _test(k: int, words: Any, state: Any) -> bool:
    """True with probability exp(-x (2k + x) / (2k + 2)): x falls, each time with a chance (2k + x) / (2k + 2)."""
    last, other, even = 0, 1, True
    while True:
        _fresh(other, words, state)
        if not _below(other, last, words, state):
            return even
        # Of 2k + 2 sides all but two will do, and one where another number is below x; as many words for each side.
        sides = 2 * k + 2
        word = _word(words, state)
        while word >= 4294967296 // sides * sides:
            word = _word(words, state)
        side = word % sides
        if side == sides - 1:
            return even
        if side == sides - 2:
            _fresh(3, words, state)
            if not _below(3, 0, words, state):
                return even
        even = not even
        last, other = other, 3 - other
