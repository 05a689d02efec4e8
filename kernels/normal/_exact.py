"""Normal numbers from words of 32 bits: comparisons, counting and a table of integers, no arithmetic that rounds.

|Z| lies in a cell from j / 64 to (j + 1) / 64. A cell is drawn with a chance in proportion to the density at its left
end, exp(-j^2 / 2^13), by comparing a uniform number with the sums of those, and a place y in the cell by another one.
What is drawn is kept with the ratio of the densities, exp(-y (2j + y) / 2^13), for which uniform numbers fall: the
first below y, each later one below the one before, each time with a chance of (2j + y) / 2^13 besides. How often that
goes on is even with exactly the chance asked for (von Neumann; Forsythe 1972; Karney 2016).

Uniform numbers have as many digits of 32 bits as it takes to tell which of two is smaller, `DIGITS` at most. Two that
are equal in all of them make a try void. `state` holds the digits of four numbers, then how many of each are drawn,
the place of the next word, and 1 where a try is void.

Source: von Neumann 1951, "Various techniques used in connection with random digits"; Karney 2016, "Sampling exactly
from the normal distribution", ACM Transactions on Mathematical Software 42.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled

TRY = 4096
"""Words that are at hand when a try begins; one that takes more is void, with a chance below 2^-600."""
CELLS = 24 * 64
"""Beyond |Z| = 24 nothing is drawn, where less than a chance of 2^-418 lies."""
DIGITS = 14
GUIDE = 1 << 12
"""First words are looked up by their first 12 bits."""
_CELL, _PLACE = 0, 1
_ROWS = 4
_KNOWN = _ROWS * DIGITS
_NEXT = _KNOWN + _ROWS
_VOID = _NEXT + 1
STATE = _VOID + 1


@compiled()
def numbers(words: Any, sums: Any, guide: Any, found: Any, done: int) -> int:
    """Fill in standard normal numbers, times 2^32 and rounded down, as far as the words suffice.

    Args:
        words: uint32, random; `TRY` of them are needed to begin a number.
        sums: uint32 [CELLS - 1, DIGITS], the chance of each cell and those before it, as digits; rounded down.
        guide: int16 [GUIDE], the first cell whose sum may exceed a number with these first bits.
        found: int64, what to fill.
        done: how many are filled already.

    Returns:
        How many are filled now.
    """
    state = np.zeros(STATE, np.int64)
    while done < found.size and state[_NEXT] + TRY <= words.size:
        state[_VOID] = 0
        j = _cell(words, sums, guide, state)
        place = _fresh(_PLACE, words, state)
        word = _word(words, state)
        # The sides of a die for the first fall, and a coin for the sign.
        kept = _kept(j, word & 8191, words, state)
        if kept and state[_VOID] == 0:
            size = (j << 26) + (place >> 6)
            # Below what is cut off there is always something: rounded down, -v is -floor(v) - 1.
            found[done] = -size - 1 if word >> 31 else size
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
    state[DIGITS * row] = _word(words, state)
    state[_KNOWN + row] = 1
    return state[DIGITS * row]


@compiled()
def _digit(row: int, place: int, words: Any, state: Any) -> Any:
    if state[_KNOWN + row] == place:
        state[DIGITS * row + place] = _word(words, state)
        state[_KNOWN + row] = place + 1
    return state[DIGITS * row + place]


@compiled()
def _below(one: int, other: int, words: Any, state: Any) -> bool:
    """Whether one number is below another; digits are drawn until that shows."""
    for place in range(DIGITS):
        a, b = _digit(one, place, words, state), _digit(other, place, words, state)
        if a != b:
            return bool(a < b)
    state[_VOID] = 1
    return False


@compiled()
def _cell(words: Any, sums: Any, guide: Any, state: Any) -> Any:
    """The first cell whose sum exceeds a uniform number."""
    first = _fresh(_CELL, words, state)
    j = np.int64(guide[first >> 20])
    while j < CELLS - 1:
        if first < sums[j, 0] or (first == sums[j, 0] and _under(j, words, sums, state)):
            break
        j += 1
    return j


@compiled()
def _under(j: Any, words: Any, sums: Any, state: Any) -> bool:
    """Whether the uniform number of the cell is below a sum whose first digit it has."""
    for place in range(1, DIGITS):
        digit = _digit(_CELL, place, words, state)
        if digit != sums[j, place]:
            return bool(digit < sums[j, place])
    state[_VOID] = 1
    return False


@compiled()
def _kept(j: int, side: int, words: Any, state: Any) -> bool:
    """True with probability exp(-y (2j + y) / 2^13).

    Args:
        j: the cell.
        side: of a die with 2^13 of them: 2j will do, and one where another number is below y.
        words: see `numbers`.
        state: see above.
    """
    last, other, even = _PLACE, 2, True
    while True:
        if side > 2 * j:
            return even
        _fresh(other, words, state)
        if side == 2 * j and not _below(other, _PLACE, words, state):
            return even
        if side == 2 * j:
            _fresh(other, words, state)
        if not _below(other, last, words, state):
            return even
        even = not even
        last, other = other, 5 - other
        side = _word(words, state) & 8191
