"""Exact costs in a file, so that those of many images need no memory."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Place:
    """Where two lists of costs are.

    Args:
        start: of the first, in bytes.
        counts: how many each holds.
        width: bytes of one cost.
        unit: of one, in ||a||_q^q.
    """

    start: int
    counts: tuple[int, int]
    width: int
    unit: Fraction


class Spool:
    """Lists of costs in a temporary file, without rounding; it is gone once the spool is."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the spool goes)
        weakref.finalize(self, self._file.close)

    def write(self, a: Sequence[int | Fraction], b: Sequence[int | Fraction], unit: Fraction) -> Place:
        """Append two lists of costs, at least 0, in one unit."""
        # In a unit that measures them all, every cost is whole.
        whole = math.lcm(*{cost.denominator for cost in (*a, *b)})
        costs = [cost.numerator * (whole // cost.denominator) for cost in (*a, *b)]
        width = max((cost.bit_length() for cost in costs), default=0) // 8 + 1
        start = self._file.seek(0, 2)
        self._file.write(b"".join(cost.to_bytes(width, "little") for cost in costs))
        return Place(start, (len(a), len(b)), width, unit / whole)

    def read(self, place: Place) -> tuple[list[int], list[int], Fraction]:
        """Read back two lists and their unit; the same costs, in a unit that may be finer."""
        self._file.seek(place.start)
        count, width = sum(place.counts), place.width
        raw = self._file.read(count * width)
        if len(raw) != count * width:
            raise OSError("the file of costs is shorter than what was written to it")
        costs = [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
        return costs[: place.counts[0]], costs[place.counts[0] :], place.unit
