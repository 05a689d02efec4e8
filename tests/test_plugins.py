"""Folders of plug-ins test themselves: nothing in them goes without what every other has."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from robspec import registry, report, tasks
from robspec.ir.types import Model
from robspec.lower.catalogue import entries, to_json
from robspec.metrics import MetricInfo
from robspec.notes import Note
from robspec.report import render
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.result import CheckReport, ImageResult, PropertyResult, RequirementResult, Times, Verdict
from tests.tasks.asking import SIDES, program

FORMATS = registry.names(report)
BODY = """property kept {
  metric auroc
  norm l2
  attack both
  budget 0.1
  require worst_case >= 0.5
}
"""


def shown(form: str, report: CheckReport, width: int = 100) -> str:
    """What a reader of a format sees: one line, escapes of the format undone."""
    text = html.unescape(render(form, report, width=width, colour=False))
    if form == "markdown":
        text = re.sub(r"\\(.)", r"\1", text)
    return re.sub(r"\s+", " ", text)


def finished(status: ConstantStatus, verdict: Verdict) -> CheckReport:
    """A report of one property, with a note of each kind a format must not lose."""
    compiled = program(SIDES + BODY)
    (prop,) = compiled.properties
    constant = Constant(Fraction(2), L2, L2, status, "because it is so")
    decided = RequirementResult(prop.requirements[0], 0, Fraction(1, 2), Fraction(3, 4), verdict, "for this reason")
    images = (ImageResult("all 3 images", Fraction(3, 4), (Fraction(1, 2),), (Fraction(3, 4),)),)
    return CheckReport(
        program=compiled,
        properties=(PropertyResult(prop, constant, images, (decided,)),),
        claims=(),
        images=3,
        evaluated=3,
        backend="cpu",
        forward="float32",
        hashes={"spec": "a" * 64, "model": "b" * 64, "data": "c" * 64},
        versions={"robspec": "0"},
        times=Times(),
        notes=("a note that qualifies every verdict",),
        remarks=(Note("a-remark", "data d", "a remark beside the verdicts", {}),),
        files={"spec": "s.rspec", "model": "m.pt2"},
    )


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
