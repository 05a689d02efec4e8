"""Combined objectives on images where a part is undefined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch

from robspec.bounds import FamilyBound, open_bound
from robspec.bounds.context import Context
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.decide import decide
from robspec.verify.evaluate import BatchEvaluator
from robspec.verify.result import Verdict

SPEC = """language 1
model {{
  input image [3, 1, 4] in [0, 1]
  output logits [3, 1, 4]
  classes a, b, c
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
}}
property p {{
  norm l2
  degraded when {condition}
  require radius >= 0.1 for all images
}}
"""


@pytest.mark.parametrize(
    ("condition", "certified", "verdict"),
    [
        ("pixel_accuracy <= 0.75 or iou[c] <= 0.5", 0, Verdict.UNKNOWN),
        ("iou[c] <= 0.5 or pixel_accuracy <= 0.75", 0, Verdict.UNKNOWN),
        ("pixel_accuracy <= 0.75 and iou[c] <= 0.5", None, Verdict.UNKNOWN),
        ("pixel_accuracy < 0 and iou[c] <= 0.5", math.inf, Verdict.PROVED),
        ("pixel_accuracy <= 1 or iou[c] <= 0.5", 0, Verdict.REFUTED),
    ],
)
def test_a_tie_decides_beside_an_undefined_part(condition: str, certified: object, verdict: Verdict) -> None:
    """One of four pixels is tied: an attack of size 0 takes it, but the clean image is right everywhere."""
    program, diagnostics = compile_text(SPEC.format(condition=condition))
    assert program is not None, diagnostics
    logits = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]]).T.reshape(1, 3, 1, 4)
    context = Context(backends()["cpu"], logits, torch.zeros(1, 1, 4, dtype=torch.int64), None)
    prop = program.properties[0]
    found = BatchEvaluator(context, ["x"]).answer(prop, Constant(Fraction(1), L2, L2, ConstantStatus.PROVED))
    assert found[0].certified == (certified,)
    assert decide(prop, prop.requirements[0], found, 0, 1, complete=True).verdict is verdict


METRICS = ("pixel_accuracy", "iou[c]", "mean_iou", "precision[a]", "recall[b]", "mean_dice", "stability", "dice[a]")
BUDGETS = ("0.1", "0.1 to 2 points 3", "0.4")


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_budgets_gathered_from_all_properties_are_answered_as_alone(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = SPEC[: SPEC.index("property")].replace("{{", "{").replace("}}", "}").replace("1, 4", "3, 4")
    asked = [(metric, budgets) for metric in METRICS for budgets in BUDGETS]
    text = "".join(
        f"property p{i} {{ metric {m}\n norm {norm}\n budget {b}\n require min(worst_case) >= 0.1 }}\n"
        for i, (m, b) in enumerate(asked)
    )
    program, diagnostics = compile_text(head + text)
    assert program is not None, diagnostics
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 3, 4, generator=random)
    labels = torch.randint(0, 3, (2, 3, 4), generator=random)
    context = Context(backends()["cpu"], logits, labels, None)
    pairs = [(p, Constant(Fraction(1), p.query.norm, L2, ConstantStatus.PROVED)) for p in program.properties]
    alone = [BatchEvaluator(context, ["x", "y"], pairs=True).answer(*pair) for pair in pairs]

    sweeps: list[Sequence[Fraction]] = []

    class Counting:
        def __init__(self, bound: FamilyBound) -> None:
            self.clean, self._bound = bound.clean, bound

        def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
            sweeps.append(budgets)
            return self._bound.worst_case(budgets)

    monkeypatch.setattr("robspec.verify.evaluate.open_bound", lambda *given: Counting(open_bound(*given)))
    together = BatchEvaluator(context, ["x", "y"], together=pairs)
    pricing = BatchEvaluator(context, ["x", "y"], pairs=True, together=pairs)
    assert [pricing.answer(*pair) for pair in pairs] == alone
    sweeps.clear()
    for pair in pairs:
        together.answer(*pair)
    assert len(sweeps) == len(METRICS)
    assert {len(budgets) for budgets in sweeps} == {4}
