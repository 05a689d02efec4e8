"""The table of `robspec lipschitz --rounding`: what each node adds to the error of the logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from robspec.cli import _options

if TYPE_CHECKING:
    from robspec.function.program import AnyProgram
    from robspec.lipschitz.rounding.recursion import Rounding


def bounds(program: AnyProgram, channels: int, given: tuple[float, float]) -> list[Rounding]:
    """Bound the rounding of both precisions for images in a range.

    Args:
        program: the loaded export.
        channels: of an image.
        given: smallest and largest value of an image as the network takes it.
    """
    from robspec.lipschitz import directed
    from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE
    from robspec.lipschitz.rounding.recursion import Box, bound

    if not all(map(math.isfinite, given)):
        raise click.BadParameter(f"{given[0]:g} to {given[1]:g} is no range of numbers", param_hint="--range")
    low, high = (Fraction(v) for v in given)
    if low >= high:
        raise click.BadParameter(f"{given[0]:g} is not below {given[1]:g}", param_hint="--range")
    middle = float((low + high) / 2)
    radius = directed.ceil_float(max(high - Fraction(middle), Fraction(middle) - low))
    return bound(program, Box((middle,) * channels, (radius,) * channels, (0.0,) * channels), (DOUBLE, SINGLE))


def as_json(found: Sequence[Rounding]) -> list[dict[str, Any]]:
    """Write bounds for a JSON report."""
    return [asdict(rounding) for rounding in found]


def show(found: Sequence[Rounding], given: tuple[float, float], *, everything: bool) -> None:
    """Print one table for each precision."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=_options.table_width())
    for rounding in found:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("node", no_wrap=True)
        for name in ("magnitude", "adds", "error", "share"):
            table.add_column(name, justify="right", no_wrap=True, min_width=8)
        table.add_column("from", no_wrap=True)
        shown = [line for line in rounding.lines if everything or line.added > 0.0]
        for line in shown:
            figures = (f"{line.magnitude:.3g}", f"{line.added:.2g}", f"{line.error:.2g}", f"{100 * line.share:.1f} %")
            table.add_row(Text(line.name), *figures, Text(line.what))
        console.print(f"\nrounding in {rounding.precision}, images in [{given[0]:g}, {given[1]:g}]", highlight=False)
        console.print(table)
        hidden = len(rounding.lines) - len(shown)
        if hidden:
            console.print(f"{hidden} nodes that add nothing are left out (--all shows them)", highlight=False)
        text = f"logits in {rounding.precision} are within {rounding.delta:.4g} (l2) of the function over the reals"
        console.print(text, style="bold", highlight=False)
        console.print("not in it: the rounding of pixels, which `robspec check` adds", highlight=False)
