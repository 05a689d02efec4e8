"""The cross-check as people read it: what was compared, grouped; what disagrees or is unsolved, one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from robspec.oracle.compare import Comparison
from robspec.verify.result import CrossChecked

_SHOWN = 5


def lines(found: CrossChecked, seconds: float) -> Iterator[RenderableType]:
    """Describe a cross-check.

    Args:
        found: what was compared.
        seconds: what it took.

    Returns:
        Lines and tables; the first says how many comparisons were made, also when there were none.
    """
    total, wrong = len(found.comparisons), found.disagreements
    open_ones = [c for c in found.comparisons if c.agreed is None]
    agreed = total - len(wrong) - len(open_ones)
    head = f"cross-check, {len(found.images)} images: {agreed} of {total} comparisons agree, {len(wrong)} disagree"
    head += f", {len(open_ones)} not solved; {seconds:.1f} s"
    if not found.complete:
        head += ", INTERRUPTED"
    if not agreed and not wrong:
        head += ": NOTHING WAS CROSS-CHECKED"
    yield Text(head, style="bold red" if wrong or not agreed else "bold")
    groups: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for c in found.comparisons:
        groups.setdefault((c.property, _plain(c.what), c.direction, _plain(c.method)), []).append(c)
    table = _grid()
    shown = ""
    for (name, what, direction, method), members in groups.items():
        if name != shown:
            # A row of its own would be as wide as the name: the table starts anew.
            if table.row_count:
                yield table
            table = _grid()
            yield Text(f"  {name}", style="bold")
            shown = name
        agreed = sum(c.agreed is True for c in members)
        style = "" if agreed == len(members) else "yellow"
        table.add_row(f"{agreed}/{len(members)}", direction, what, method, style=style)
    if groups:
        yield table
    yield from _one_by_one(wrong, "bold red")
    yield from _one_by_one(open_ones[:_SHOWN], "yellow")
    for path in found.reproducers:
        yield Text(f"  reproducer: {path}", style="bold red")
    if wrong:
        yield Text("SOUNDNESS ALARM: no verdict above may be trusted", style="bold red")
    else:
        yield Text("solver answers are floating point: evidence, not proof", style="dim")


def _grid() -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=7, justify="right")
    table.add_column(width=16)
    table.add_column(ratio=5)
    table.add_column(ratio=4)
    return table


def _one_by_one(comparisons: Sequence[Comparison], style: str) -> Iterator[Text]:
    for c in comparisons:
        word = "DISAGREES" if c.agreed is False else "not solved"
        yield Text(f"  {word}: {c.property}, {c.image}, {c.what}", style=style)
        yield Text(f"    certified {c.bound}; {c.direction}: {c.optimum}; {c.note}", style=style)


def _plain(text: str) -> str:
    """Leave out what differs from image to image."""
    text = re.sub(r" at \(\d+, \d+\)|, \d+ (?:moves|pixels)\b|(?<=crop): worst case at eps = [^,]*", "", text)
    return re.sub(r"^(crop \S+): worst case at eps = [^,]*", r"\1: worst case at a budget for a third of it", text)
