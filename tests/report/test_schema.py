"""JSON reports follow the published schema, and the schema says something."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from robspec.report import render
from robspec.semantics.constant import ConstantStatus
from robspec.verify.result import Verdict
from tests.report.reports import finished

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "reference" / "report.schema.json").read_text("utf-8"))


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
