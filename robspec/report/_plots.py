"""Plots of a property as SVG, by matplotlib where it is installed."""

from __future__ import annotations

import io
import math
import re

from robspec.ir.types import RadiusQuery, WorstCaseQuery
from robspec.verify.result import PropertyResult, RequirementResult, Value

_INK, _CERTIFIED, _ATTAINED, _ASKED = "#333333", "#1f5a8a", "#c0622b", "#888888"


def curve(prop: PropertyResult, attained: str) -> str | None:
    """Plot aggregates over a sweep, one line for each requirement.

    Args:
        prop: the property.
        attained: what the attained values are called.

    Returns:
        SVG; None without a sweep, or without matplotlib.
    """
    query = prop.source.query
    points = query.budgets if isinstance(query, WorstCaseQuery) else query.points
    if len(points) < 2:
        return None
    rows: dict[str, list[RequirementResult]] = {}
    for item in prop.requirements:
        rows.setdefault(item.requirement.text, []).append(item)
    lines = {text: items for text, items in rows.items() if len(items) == len(points)}
    xs = [float(p) for p in points]
    drawn = [(t, xs, [_number(i.certified) for i in r], [_number(i.attained) for i in r]) for t, r in lines.items()]
    return _drawn(drawn, "eps" if isinstance(query, WorstCaseQuery) else "kappa", attained)


def spread(prop: PropertyResult, attained: str) -> str | None:
    """Plot every image's values at the last swept point, the worst first, and what is asked.

    Args:
        prop: the property.
        attained: what the attained values are called.

    Returns:
        SVG; None with less than two images that have a value, or without matplotlib.
    """
    ends = [(i.certified[-1], i.attained[-1]) for i in prop.images]
    known = sorted((_number(c), _number(a)) for c, a in ends if c is not None)
    if len(known) < 2:
        return None
    asked = [float(r.requirement.bound) for r in prop.requirements]
    radius = isinstance(prop.source.query, RadiusQuery)
    return _spread(known, sorted(set(asked)), "radius" if radius else "value", attained)


def _number(value: Value | None) -> float:
    return math.nan if value is None else float(value)


def _drawn(lines: list[tuple[str, list[float], list[float], list[float]]], axis: str, attained: str) -> str | None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(5, 3), layout="constrained")
    panel = figure.subplots()
    for k, (text, xs, certified, attain) in enumerate(lines):
        style = ("-", "--", ":", "-.")[k % 4]
        panel.plot(xs, certified, style, color=_CERTIFIED, label=f"certified: {text}", linewidth=1.6)
        panel.plot(xs, attain, style, color=_ATTAINED, label=f"{attained}: {text}", linewidth=1.0)
    panel.set_xlabel(axis)
    panel.legend(fontsize=7, frameon=False)
    return _svg(figure)


def _spread(known: list[tuple[float, float]], asked: list[float], axis: str, attained: str) -> str | None:
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return None
    figure = Figure(figsize=(5, 3), layout="constrained")
    panel = figure.subplots()
    places = range(1, len(known) + 1)
    panel.plot(places, [c for c, _ in known], ".", color=_CERTIFIED, label="certified", markersize=5)
    finite = [(k, a) for k, (_, a) in zip(places, known, strict=True) if math.isfinite(a)]
    if finite:
        panel.plot([k for k, _ in finite], [a for _, a in finite], ".", color=_ATTAINED, label=attained, markersize=3)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    for value in asked[:4]:
        panel.axhline(value, color=_ASKED, linewidth=0.8)
    panel.set_xlabel("images, by certified value")
    panel.set_ylabel(axis)
    panel.legend(fontsize=7, frameon=False)
    return _svg(figure)


def _svg(figure: object) -> str:
    """The picture without what would differ from run to run."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "robspec"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})  # type: ignore[attr-defined]
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), count=1, flags=re.DOTALL)
