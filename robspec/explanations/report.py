"""What `robspec counterfactual` says, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from robspec.explanations.explain import Explained, ratios
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import directed_text, exact_text
from robspec.verify.result import Value

SCHEMA, SCHEMA_VERSION = "robspec-counterfactual", 1
NOTES = (
    "arithmetic: the forward pass is taken as exact, in the model's own type and in float64: the bound is the "
    "smaller of the two, and a counterfactual counts in both",
    "distances are of the float32 pixels in counterfactual.npy; PNGs are rounded views of them",
)
"""What every number takes for granted."""


def line(result: Explained) -> str:
    """Say in one line what was found of an image."""
    question, found = result.question, result.found
    proved = f"proved{question.constant.qualifier}"
    if question.lower == math.inf:
        return f"{result.subject.name}: no image has {question.text}: {proved}"
    low = directed_text(Fraction(question.lower), 6, up=False)
    if found is None:
        return f"{result.subject.name}: no image with {question.text} was found; none within {low}: {proved}"
    high, ratio = directed_text(found.distance, 6, up=True), directed_text(found.ratio, 4, up=False)
    nothing = "" if question.lower else " (nothing is proved: a decision lies on its boundary)"
    return (
        f"{result.subject.name}: {question.text} at {question.norm} distance {high}; none within {low}: {proved}; "
        f"q = {ratio}{nothing}"
    )


def text(results: Sequence[Explained], constant: Constant | None, notes: Sequence[str]) -> str:
    """Write the lines after those of the images: the ratios together, and what they stand on."""
    return "".join(f"{part}\n" for part in _lines(results, constant, notes))


def _lines(results: Sequence[Explained], constant: Constant | None, notes: Sequence[str]) -> Iterator[str]:
    shown = [f"{name} {directed_text(value, 4, up=False)}" for name, value in ratios(results)]
    if shown:
        count = sum(r.found is not None for r in results)
        yield f"q of {count} images: {', '.join(shown)}"
    if any(r.found is not None for r in results):
        yield "each nearest counterfactual is at least q times as far as the one found"
    if constant is not None:
        proved = constant.status is ConstantStatus.PROVED
        status = "proved" if proved else "ASSUMED, not proved, and with it every lower bound and q"
        yield f"L <= {constant.text} ({constant.input_norm} -> {constant.output_norm}), {status}"
    yield from notes


def document(
    results: Sequence[Explained],
    constant: Constant | None,
    notes: Sequence[str],
    facts: Mapping[str, Any],
    extra: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Build the JSON document.

    Args:
        results: of the images, in order.
        constant: what the bounds stand on; None where no image was asked about.
        notes: what is taken for granted.
        facts: further entries of the document, such as the model file.
        extra: further entries of each image.
        failed: images about which there was nothing to ask, with code and reason.

    Returns:
        JSON-ready values; exact rationals as strings beside their nearest double.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **facts,
        "constant": None if constant is None else _constant(constant),
        "images": [{**_image(r), **more} for r, more in zip(results, extra, strict=True)],
        "failed": [dict(f) for f in failed],
        "ratios": {name: _number(value) for name, value in ratios(results)},
        "notes": list(notes),
    }


def _constant(constant: Constant) -> dict[str, Any]:
    return {
        "value": _number(constant.value),
        "input_norm": constant.input_norm.name,
        "output_norm": constant.output_norm.name,
        "status": constant.status.value,
        "note": constant.note,
    }


def _image(result: Explained) -> dict[str, Any]:
    found = result.found
    status = "found" if found is not None else "none-exists" if result.question.lower == math.inf else "not-found"
    return {
        "image": result.subject.name,
        "question": result.question.text,
        "norm": result.question.norm.name,
        "status": status,
        "lower": _number(result.question.lower),
        "distance": None if found is None else _number(found.distance),
        "q": None if found is None else _number(found.ratio),
        "pixels_the_bound_flips": int(result.flips.sum()),
        "pixels_flipped": None if result.changed is None else int(result.changed.sum()),
    }


def _number(value: Value) -> dict[str, Any]:
    if value == math.inf:
        return {"exact": "inf", "approx": None}
    return {"exact": exact_text(value), "approx": float(value)}
