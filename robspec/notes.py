"""What a report remarks beside its verdicts: nothing here changes one, everything may change what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

Figure: TypeAlias = int | Fraction | str | tuple[str, ...]
"""A number, exact; a text; or names."""

_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Note:
    """One remark, shown by every report format.

    Args:
        code: lower-case words joined by hyphens, such as "class-without-pixels"; stable, listed with its figures in
            docs/reference/report-json.md.
        where: what it is about: a data set, a property, a file.
        text: one sentence, without full stop; the figures are in it.
        figures: the same for a program, by name.
    """

    code: str
    where: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        return f"note: {self.where}: {self.text}"


def listed(names: tuple[str, ...]) -> str:
    """List the first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def percent(share: Fraction) -> str:
    """Write a share in per cent to one decimal, rounded down, and never as 0 or 100 where it is neither."""
    tenths = share * 1000
    if 0 < tenths < 1:
        return "less than 0.1 %"
    whole, rest = divmod(int(tenths), 10)
    return f"{whole}.{rest} %" if rest else f"{whole} %"
