"""Reports follow the schemas that are shipped, and these say something."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from robspec.report import json as as_json
from robspec.report import render
from robspec.semantics.constant import ConstantStatus
from robspec.verify.result import Verdict
from tests.report.reports import finished
from tests.report.test_machine_formats import hostile

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCHEMA = json.loads((REFERENCE / "report.schema.json").read_text("utf-8"))


def document(verdict: Verdict) -> Any:
    return json.loads(render("json", finished(ConstantStatus.PROVED, verdict)))


@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_reports_follow_it(verdict: Verdict) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document(verdict), SCHEMA)


def test_every_field_that_is_written_is_required_and_described() -> None:
    found = document(Verdict.UNKNOWN)
    for name in found:
        assert name in SCHEMA["properties"]
        cut = {k: v for k, v in found.items() if k != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cut, SCHEMA)
    for part in ("requirements", "images"):
        for name in found["properties"][0][part][0]:
            cut = copy.deepcopy(found)
            del cut["properties"][0][part][0][name]
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(cut, SCHEMA)


@pytest.mark.parametrize("wrong", [{"verdict": "MAYBE"}, {"certified": {"exact": "a", "approx": 1}}, {"label": 3}])
def test_what_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    found = document(Verdict.PROVED)
    found["properties"][0]["requirements"][0].update(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, SCHEMA)


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_formats_for_machines_follow_their_schemas(form: str, verdict: Verdict) -> None:
    """The narrower schemas that are shipped; the makers' own is asked by `make sarif-check`."""
    schema = json.loads((REFERENCE / f"{form}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    found = finished(ConstantStatus.PROVED, verdict)
    for report in (found, replace(found, evaluated=2), hostile(verdict)):
        jsonschema.validate(json.loads(render(form, report)), schema)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every field and every entry of a document, with what holds it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
def test_a_document_with_anything_else_in_it_does_not_follow_them(form: str) -> None:
    schema = json.loads((REFERENCE / f"{form}.schema.json").read_text("utf-8"))
    whole = json.loads(render(form, finished(ConstantStatus.PROVED, Verdict.UNKNOWN)))
    free = {"sha256", "summary"}
    for place, _ in enumerate(places(whole)):
        cut = copy.deepcopy(whole)
        holder, key = list(places(cut))[place]
        if isinstance(holder, list) or key in free or set(holder) <= {"spec", "model", "data"}:
            continue
        holder[key] = {"no": "such thing"}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cut, schema)
        del holder[key]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cut, schema)
        holder["another"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cut, schema)


def test_a_result_without_a_place_or_too_many_do_not_follow_it() -> None:
    schema = json.loads((REFERENCE / "sarif.schema.json").read_text("utf-8"))
    log = json.loads(render("sarif", finished(ConstantStatus.PROVED, Verdict.REFUTED)))
    (run,) = log["runs"]
    whole = run["results"]
    run["results"] = whole * 25_001
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, schema)
    for empty in ([], [{}]):
        run["results"] = [{**whole[0], "locations": empty}]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(log, schema)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_a_report_written_piece_by_piece_is_its_document(verdict: Verdict, count: int) -> None:
    found = finished(ConstantStatus.PROVED, verdict)
    (prop,) = found.properties
    images = tuple(replace(prop.images[0], image=f'{n}"\n\\') for n in range(count))
    report = replace(found, properties=(replace(prop, images=images), prop))
    text = json.dumps(as_json.document(report), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    assert render("json", report) == text
