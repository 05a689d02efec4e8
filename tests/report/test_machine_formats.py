"""Formats for machines: what their real readers make of them, and hostile names in them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import junitparser
import pytest
from sarif_pydantic import Sarif

from robspec.notes import Note
from robspec.report import render, sarif
from robspec.semantics.constant import ConstantStatus
from robspec.verify.result import CheckReport, Verdict
from tests.report.reports import finished

HOSTILE = "a,b:c%\n::error::<b>&\"'|`@x\x00\x1b\ud800]]>"


def report(verdict: Verdict, **changes: object) -> CheckReport:
    return replace(finished(ConstantStatus.PROVED, verdict), **changes)  # type: ignore[arg-type]


def junit(found: CheckReport) -> junitparser.JUnitXml:
    return junitparser.JUnitXml.fromstring(render("junit", found).encode())  # type: ignore[arg-type]


def hostile(verdict: Verdict) -> CheckReport:
    """Every text a file could have put in is made of what formats take for markup."""
    found = report(verdict, remarks=(Note("r", HOSTILE, HOSTILE, {}),), files={"spec": HOSTILE, "model": HOSTILE})
    (prop,) = found.properties
    images = tuple(replace(i, image=HOSTILE) for i in prop.images)
    rows = tuple(replace(r, witnesses=(HOSTILE,), reason=HOSTILE) for r in prop.requirements)
    return replace(found, properties=(replace(prop, images=images, requirements=rows),))


@pytest.mark.parametrize(
    ("verdict", "allowed", "failed"),
    [
        (Verdict.PROVED, False, 0),
        (Verdict.REFUTED, True, 1),
        (Verdict.UNKNOWN, False, 1),
        (Verdict.UNKNOWN, True, 0),
    ],
)
def test_every_format_fails_what_the_exit_status_fails(verdict: Verdict, allowed: bool, failed: int) -> None:
    found = report(verdict, allow_unknown=allowed)
    assert bool(found.exit_status(allow_unknown=allowed)) == bool(failed)
    suite = junit(found)
    assert (suite.failures, suite.errors, suite.tests) == (failed, 0, 1)
    (log,) = Sarif.model_validate_json(render("sarif", found)).runs
    assert len(log.results or []) == failed
    listed = [e for e in json.loads(render("gitlab", found)) if e["severity"] != "info"]
    assert len(listed) == failed
    assert len([line for line in render("github", found).splitlines() if line[:4] in ("::er", "::wa")]) == failed


def test_what_is_unknown_is_a_failure_with_its_gap_and_never_skipped() -> None:
    text = render("junit", report(Verdict.UNKNOWN))
    assert 'message="UNKNOWN: certified 0.5000, required worst_case &gt;= 0.5; attained 0.7500' in text
    assert 'skipped="0"' in text
    assert "<skipped" not in text


def test_a_cut_check_is_an_error_though_everything_so_far_is_proved() -> None:
    cut = report(Verdict.PROVED, evaluated=2)
    suite = junit(cut)
    assert (suite.failures, suite.errors) == (0, 1)
    (log,) = Sarif.model_validate_json(render("sarif", cut)).runs
    assert [r.rule_id for r in log.results or []] == ["interrupted"]
    assert json.loads(render("sarif", cut))["runs"][0]["invocations"][0]["executionSuccessful"] is False


@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_hostile_names_add_nothing(verdict: Verdict) -> None:
    found = hostile(verdict)
    junit(found)
    Sarif.model_validate_json(render("sarif", found))
    json.loads(render("gitlab", found))
    for line in render("github", found).splitlines():
        assert line.startswith(
            ("::error file=a%2Cb%3Ac%25%0A%3A%3Aerror", "::warning file=", "::notice ", "robspec: ")
        )
    for line in render("markdown", found).splitlines():
        assert "<b>" not in line.replace("\\<b\\>", "")
        assert "@x" not in line


def test_every_sarif_result_has_a_place_and_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(Verdict.REFUTED)
    (prop,) = found.properties
    many = replace(prop, requirements=prop.requirements * 7)
    monkeypatch.setattr(sarif, "MOST", 5)
    (run,) = json.loads(render("sarif", replace(found, properties=(many,))))["runs"]
    assert len(run["results"]) == 5
    for result in run["results"]:
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "s.rspec"
        assert place["physicalLocation"]["region"]["startLine"] >= 1
    notes = [n["message"]["text"] for n in run["invocations"][0]["toolExecutionNotifications"]]
    assert "2 of 7 results are left out" in notes


def test_github_shows_the_last_that_it_shows_as_how_many_more_there_are() -> None:
    found = report(Verdict.REFUTED)
    (prop,) = found.properties
    many = replace(prop, requirements=prop.requirements * 13)
    lines = [x for x in render("github", replace(found, properties=(many,))).splitlines() if x.startswith("::error")]
    assert len(lines) == 10
    assert "and 4 more" in lines[-1]


def test_fingerprints_stay_while_the_value_moves() -> None:
    found = report(Verdict.UNKNOWN)
    (prop,) = found.properties
    moved = replace(prop, requirements=tuple(replace(r, certified=Fraction(1, 3)) for r in prop.requirements))
    before, after = (
        json.loads(render("gitlab", r))[1]["fingerprint"] for r in (found, replace(found, properties=(moved,)))
    )
    assert before == after


def test_github_keeps_remarks_beyond_those_it_shows() -> None:
    remarks = tuple(Note(f"r{k}", f"place {k}", f"something {k} to know", {}) for k in range(13))
    lines = render("github", report(Verdict.PROVED, remarks=remarks)).splitlines()
    assert sum(line.startswith("::notice") for line in lines) == 10
    assert all(sum(f"something {k} to know" in line for line in lines) == 1 for k in range(13))


@pytest.mark.parametrize(
    ("attained", "heading"),
    [(Fraction(3, 4), "clean"), (Fraction(7, 8), "at best"), (Fraction(300001, 400000), "clean")],
)
def test_clean_values_that_rounding_may_better_are_not_called_clean(attained: Fraction, heading: str) -> None:
    found = finished(ConstantStatus.PROVED, Verdict.UNKNOWN)
    (prop,) = found.properties
    images = tuple(replace(image, attained=(attained,)) for image in prop.images)
    text = render("text", replace(found, properties=(replace(prop, images=images),)))
    assert text.splitlines()[0].split("certified")[1].strip().startswith(heading)
    assert ("at best: what the clean images may be worth" in text) is (heading == "at best")
