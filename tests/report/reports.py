"""Small finished reports, made without a model."""

from __future__ import annotations

from fractions import Fraction

from robspec.notes import Note
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.result import CheckReport, ImageResult, PropertyResult, RequirementResult, Times, Verdict
from tests.tasks.asking import SIDES, program

BODY = """property kept {
  metric auroc
  norm l2
  attack both
  budget 0.1
  require worst_case >= 0.5
}
"""


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
