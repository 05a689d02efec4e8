"""Folders of plug-ins test themselves: nothing in them goes without what every other has."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from robspec import registry, report, tasks
from robspec.cli import check
from robspec.ir.types import Model
from robspec.lower.catalogue import entries, to_json
from robspec.metrics import MetricInfo
from robspec.report import render
from robspec.semantics.constant import ConstantStatus
from robspec.verify.result import CheckReport, Verdict
from tests.report.reports import finished

FORMATS = registry.names(report)


def shown(form: str, report: CheckReport, width: int = 100) -> str:
    """What a reader of a format sees: one line, escapes of the format undone."""
    text = html.unescape(render(form, report, width=width, colour=False))
    if form == "markdown":
        text = re.sub(r"\\(.)", r"\1", text)
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_every_format_shows_every_label(form: str, verdict: Verdict) -> None:
    assumed, proved = (finished(s, verdict) for s in (ConstantStatus.ASSUMED, ConstantStatus.PROVED))
    assert assumed.properties[0].label in shown(form, assumed)
    assert ("assum" in assumed.properties[0].label) == (verdict is Verdict.PROVED)
    assert verdict.value in shown(form, proved)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_note_and_what_is_not_complete(form: str) -> None:
    found = finished(ConstantStatus.PROVED, Verdict.PROVED)
    text = shown(form, found, 200)
    for wanted in ("a note that qualifies every verdict", "a remark beside the verdicts", "auroc", "kept"):
        assert wanted in text
    cut = render(form, replace(found, evaluated=2), width=200, colour=False)
    assert re.search(r"INTERRUPTED|\"complete\": false", cut)


@pytest.mark.parametrize("info", entries(), ids=lambda info: info.name)
def test_every_metric_cites_the_section_its_bound_is_in(info: MetricInfo) -> None:
    """The family is derived from the formula; a page that cites another section describes another bound."""
    assert re.search(rf"MATH\.md sections? [0-9A-Z., and]*{re.escape(to_json(info)['section'])}", info.source)


@pytest.mark.parametrize("task", tasks.every(), ids=lambda t: t.name)
def test_every_task_reads_its_own_example(task: tasks.Task) -> None:
    shape = tuple(int(n) for n in re.findall(r"\d+", task.example))
    assert len(shape) == task.dimensions
    model = Model((1, 4, 4), Fraction(0), Fraction(1), shape, ("a", "b"), sides=task.sides)
    assert model.task is task
    assert model.plane[0] == shape[0]
    assert (model.plane[1:] == (1, 1)) == (task.item == "image")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_named_where_users_look(form: str) -> None:
    """The help of `check` cannot ask the folder of formats, which would import torch."""
    (option,) = [p for p in check.command.params if p.name == "form"]
    assert re.search(rf"\b{form}\b", str(getattr(option, "help", "")))
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "gate-a-model-in-ci.md").read_text(encoding="utf-8")
    assert f"| `{form}` |" in page
