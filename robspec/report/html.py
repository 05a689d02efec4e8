"""A page for people: verdicts, plots, the worst images; one file that needs nothing beside it."""

from __future__ import annotations

import base64
import importlib.resources
import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from robspec.report import _findings, _plots
from robspec.report._words import (
    AT_BEST,
    asked_text,
    attained_heading,
    attained_value,
    certified_text,
    concrete_text,
    constant_line,
    overall_line,
    point_text,
    value_text,
)
from robspec.semantics.norm import decimal_text
from robspec.verify.result import CheckReport, Panel, PropertyResult, Value

_ROWS = 2000
"""Images listed for a property."""


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the report as one HTML file; every text from a file is escaped by the template engine."""
    text = importlib.resources.files("robspec.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(text).render(_facts(report)) + "\n"


def _facts(report: CheckReport) -> dict[str, Any]:
    findings = _findings.findings(report)
    status = report.exit_status(allow_unknown=report.allow_unknown)
    return {
        "spec": report.files.get("spec", ""),
        "model": report.files.get("model", ""),
        "overall": overall_line(report),
        "tone": {0: "good", 3: "open"}.get(status, "bad"),
        "troubles": [f for f in findings if f.group == _findings.CHECK],
        "claims": [f for f in findings if f.group == _findings.MODEL],
        "properties": [_property(p, report, findings) for p in report.properties],
        "pictures": [
            {"image": p.image, "words": p.words, "panels": list(map(_panel, p.panels))} for p in report.pictures
        ],
        "constants": list(dict.fromkeys(constant_line(p.constant) for p in report.properties)),
        "notes": [
            *map(str, report.remarks),
            *([AT_BEST] if attained_heading(report) == "at best" else ()),
            *report.notes,
        ],
        "hashes": report.hashes,
        "versions": report.versions,
        "params": {name: decimal_text(value) for name, value in report.program.params},
        "attained": attained_heading(report),
        "counted": f"{report.evaluated} of {report.images} images in {report.times.total:.1f} s, "
        f"backend {report.backend}, forward pass in {report.forward}",
    }


def _panel(panel: Panel) -> dict[str, Any]:
    shown = {"title": panel.title, "data": _data("png", panel.png), "legend": panel.legend, "key": panel.key}
    return {**shown, "large": quote(panel.large)}


def _property(prop: PropertyResult, report: CheckReport, findings: tuple[_findings.Finding, ...]) -> dict[str, Any]:
    classes = report.program.model.classes
    attained = attained_heading(report)
    plots = [p for p in (_plots.curve(prop, attained), _plots.spread(prop, attained)) if p is not None]
    mine = [f for f in findings if f.group == prop.source.name]
    return {
        "name": prop.source.name,
        "query": asked_text(prop.source, classes),
        "label": prop.label,
        "verdict": prop.verdict.value,
        "rows": [
            {
                "text": _findings.requirement_text(prop, item, classes),
                "certified": certified_text(item),
                "attained": concrete_text(prop, item),
                "label": prop.worded(item.verdict),
                "verdict": item.verdict.value,
                "details": found.details[1:],
            }
            for item, found in zip(prop.requirements, mine, strict=True)
        ],
        "plots": [_data("svg+xml", p.encode()) for p in plots],
        "points": [point_text(prop.source.query, k, classes) for k in range(_points(prop))],
        "images": list(_images(prop)),
        "more": max(0, len(prop.images) - _ROWS),
    }


def _points(prop: PropertyResult) -> int:
    return len(prop.images[0].certified) if prop.images else 0


def _images(prop: PropertyResult) -> Iterator[dict[str, Any]]:
    up = any(not r.requirement.relation.upward for r in prop.requirements)
    order = sorted(prop.images, key=lambda i: _worth(i.certified[-1], up=up))
    for image in order[:_ROWS]:
        yield {
            "image": image.image,
            "clean": value_text(image.clean, up=up),
            "values": [
                (value_text(c, up=up), attained_value(c, a, up=up))
                for c, a in zip(image.certified, image.attained, strict=True)
            ],
        }


def _worth(value: Value | None, *, up: bool) -> float:
    if value is None:
        return math.inf
    return -float(value) if up else float(value)


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
