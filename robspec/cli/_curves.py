"""Certified and found against eps, for every model of a comparison."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robspec.session.compare import Cell, Row

_COLOURS = ("#1f5a8a", "#c0622b", "#3a7d44", "#6a4c93", "#8a1f4b", "#555555")


def drawn(rows: Sequence[Row], form: str) -> bytes:
    """Draw a panel for each worst-case property: lines over its budgets, the area of each gap filled.

    Args:
        rows: the models.
        form: "svg" or "png".
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(c.property for r in rows for c in r.cells if c.eps is not None))
    with mpl.rc_context({"svg.hashsalt": "robspec"}):
        figure = Figure(figsize=(5.5, 0.6 + 3.0 * max(len(names), 1)), layout="constrained")
        panels = figure.subplots(max(len(names), 1), 1, squeeze=False)[:, 0]
        for panel, name in zip(panels, names, strict=False):
            for k, row in enumerate(rows):
                cells = [c for c in row.cells if c.property == name and c.eps is not None]
                _lines(panel, cells, Path(row.model).stem, _COLOURS[k % len(_COLOURS)])
            panel.set_title(name, fontsize=9, loc="left")
            panel.set_xlabel("eps", fontsize=8)
            panel.tick_params(labelsize=7)
            panel.legend(fontsize=6, frameon=False)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(out, format=form, dpi=150, metadata=metadata)
    return out.getvalue()


def _lines(panel: object, cells: Sequence[Cell], model: str, colour: str) -> None:
    xs = [float(c.eps or 0) for c in cells]
    certified, found, local = (
        [_number(v) for v in values]
        for values in (
            [c.certified for c in cells],
            [c.attained for c in cells],
            [c.local for c in cells],
        )
    )
    draw = panel.plot  # type: ignore[attr-defined]
    draw(xs, certified, "-", marker=".", color=colour, label=f"{model}: certified")
    draw(xs, found, "--", marker=".", color=colour, label=f"{model}: found")
    if not all(map(math.isnan, local)):
        draw(xs, local, ":", color=colour, label=f"{model}: were L the measured slope")
    panel.fill_between(xs, certified, found, color=colour, alpha=0.12)  # type: ignore[attr-defined]


def _number(value: object) -> float:
    found = math.nan if value is None else float(value)  # type: ignore[arg-type]
    return found if math.isfinite(found) else math.nan
