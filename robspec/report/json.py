"""The machine-readable report, documented in docs/reference/report-json.md."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

from robspec.notes import Figure, Note
from robspec.privacy.accountant import RELATION
from robspec.report._words import asked_text, point_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import exact_text
from robspec.verify.result import (
    CheckReport,
    ClaimResult,
    CrossChecked,
    Gap,
    ImageResult,
    PrivacyResult,
    PropertyResult,
    RequirementResult,
    Value,
    Worst,
)

SCHEMA = "robspec-report"
SCHEMA_VERSION = 1


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the whole report, every per-image value included, as one JSON document."""
    return "".join(pieces(report))


def pieces(report: CheckReport) -> Iterator[str]:
    """Write the same in pieces: all images as one object would take ten times the memory of the text."""
    marks = {secrets.token_hex(16): _images(prop, 8) for prop in report.properties}
    found = document(replace(report, properties=tuple(replace(p, images=()) for p in report.properties)))
    for entry, prop, mark in zip(found["properties"], report.properties, marks, strict=True):
        entry.update(_property(prop, report.program.model.classes, images=mark))
    left = _text(found, 0)
    for mark, images in marks.items():
        before, left = left.split(f'"{mark}"')
        yield before
        yield from images
    yield f"{left}\n"


def _text(value: object, margin: int) -> str:
    """Write a value whose lines after the first begin with so many blanks."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    return text.replace("\n", "\n" + " " * margin)


def _images(prop: PropertyResult, margin: int) -> Iterator[str]:
    """Write the list of a property's images, one at a time."""
    lines = "\n" + " " * margin
    for place, image in enumerate(prop.images):
        yield ("[" if not place else ",") + lines + _text(_image(image), margin)
    yield lines[:-2] + "]" if prop.images else "[]"


def document(report: CheckReport) -> dict[str, Any]:
    """Build the document.

    Args:
        report: the check.

    Returns:
        JSON-ready values; exact rationals as strings beside their nearest double, infinity as the string "inf".
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "complete": report.complete,
        "exit_status": report.exit_status(),
        "files": dict(report.files),
        "sha256": dict(report.hashes),
        "versions": dict(report.versions),
        "params": {name: str(value) for name, value in report.program.params},
        "backend": report.backend,
        "forward": report.forward,
        "device": report.device,
        "arithmetic": report.arithmetic,
        "notes": list(report.notes),
        "remarks": [_note(n) for n in report.remarks],
        "attack_steps": report.attack_steps,
        "attack_methods": list(report.attack_methods),
        "attack_searches": report.attack_searches,
        "claims": [_claim(c) for c in report.claims],
        "privacy": _privacy(report.privacy),
        "images": {"total": report.images, "evaluated": report.evaluated},
        "seconds": {
            "load": report.times.load,
            "prove": report.times.prove,
            "forward": report.times.forward,
            "bound": report.times.bound,
            "attack": report.times.attack,
            "reasons": report.times.reasons,
            "total": report.times.total,
            "cross_check": report.times.cross_check,
        },
        "cross_check": _cross_check(report.cross_check),
        "properties": [_property(p, report.program.model.classes) for p in report.properties],
    }


def _cross_check(found: CrossChecked | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "asked": found.asked,
        "complete": found.complete,
        "images": list(found.images),
        "comparisons": [asdict(c) for c in found.comparisons],
        "agreed": sum(c.agreed is True for c in found.comparisons),
        "disagreed": len(found.disagreements),
        "not_solved": sum(c.agreed is None for c in found.comparisons),
        "reproducers": list(found.reproducers),
    }


def _note(note: Note) -> dict[str, Any]:
    figures = {name: _figure(value) for name, value in note.figures.items()}
    return {"code": note.code, "where": note.where, "text": note.text, "figures": figures}


def _figure(value: Figure) -> Any:
    if isinstance(value, Fraction):
        return _value(value)
    return list(value) if isinstance(value, tuple) else value


def _constant(constant: Constant) -> dict[str, Any]:
    return {
        "value": None if constant.status is ConstantStatus.SAMPLED else _value(constant.value),
        "input_norm": constant.input_norm.name,
        "output_norm": constant.output_norm.name,
        "status": constant.status.value,
        "note": constant.note,
        **({"rounding": _value(constant.rounding)} if constant.rounding else {}),
    }


def _claim(claim: ClaimResult) -> dict[str, Any]:
    return {
        "claim": claim.text,
        "claimed": _value(claim.claimed),
        "proved": _value(claim.proved),
        "measured": _value(claim.measured),
        "verdict": claim.verdict.value,
        "reason": claim.reason,
    }


def _privacy(found: PrivacyResult | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "requirement": found.asked.text,
        "epsilon": _value(found.asked.epsilon),
        "delta": _value(found.asked.delta),
        "bound": _value(None if found.epsilon is None else Fraction(found.epsilon)),
        "relation": RELATION,
        "verdict": found.verdict.value,
        "label": found.label,
        "reason": found.reason,
        "card": found.card,
        "facts": found.facts,
        "proved": list(found.proved),
        "trusted": list(found.trusted),
    }


def _property(result: PropertyResult, classes: tuple[str, ...], images: str | None = None) -> dict[str, Any]:
    """Build a property's entry; its images, or what stands for them."""
    return {
        "name": result.source.name,
        "query": asked_text(result.source, classes),
        "norm": result.source.query.norm.name,
        "lipschitz": _constant(result.constant),
        "verdict": result.verdict.value,
        "label": result.label,
        "excluded": list(result.excluded),
        "requirements": [_requirement(result, r, classes) for r in result.requirements],
        "images": [_image(i) for i in result.images] if images is None else images,
        **({} if result.data is None else {"data": asdict(result.data)}),
    }


def _requirement(prop: PropertyResult, result: RequirementResult, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "requirement": result.requirement.text,
        "point": point_text(prop.source.query, result.point, classes),
        "certified": _value(result.certified),
        "attained": _value(result.attained),
        "verdict": result.verdict.value,
        "label": prop.worded(result.verdict),
        "reason": result.reason,
        "witnesses": list(result.witnesses),
        "worst": _worst(prop.worst(result)),
        "gap": _gap(result.gap),
    }


def _gap(found: Gap | None) -> dict[str, Any] | None:
    if found is None:
        return None
    cost = found.costliest
    return {
        "causes": list(found.causes),
        "provable": _value(found.provable),
        "needed": _value(found.needed),
        "measured": _value(found.measured),
        "costliest": None if cost is None else asdict(cost),
        "advice": list(found.advice),
    }


def _worst(found: Worst | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "image": found.image,
        "certified": _value(found.certified),
        "attained": _value(found.attained),
        "images": found.images,
    }


def _image(result: ImageResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "image": result.image,
        "clean": _value(result.clean),
        "certified": [_value(v) for v in result.certified],
        "attained": [_value(v) for v in result.attained],
    }
    if result.pairs:
        found["pair_bound"] = [_value(v) for v in result.pairs]
    if result.attacks:
        found["attack_distance"] = [None if a is None else _value(a.distance) for a in result.attacks]
    return found


def _value(value: Value | None) -> dict[str, Any] | None:
    """Exact and nearest-double forms; None where undefined."""
    if value is None:
        return None
    if value == math.inf:
        return {"exact": "inf", "approx": None}
    exact = Fraction(value)
    return {"exact": exact_text(exact), "approx": float(exact)}
