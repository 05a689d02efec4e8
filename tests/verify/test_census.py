"""What the notes of a report are counted from."""

from __future__ import annotations

import torch

from robspec.bounds.context import Context
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.verify.census import Census
from tests.bounds.language import SPEC


def test_the_parts_of_a_sum_look_where_the_sum_looks() -> None:
    text = SPEC.format(
        channels=3,
        names="c0, c1, c2",
        metric="mine in region",
        definitions="metric mine = 0.25 * iou[c0] + 0.75 * recall[c1]",
        requirement="mean(worst_case) >= 0.1",
    )
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    census = Census(program)
    logits, labels = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [1, 2]]])
    region = torch.tensor([[[True, False], [True, True]]])
    (view,) = census.views.values()
    census.add(["i"], Context(backends()["reference"], logits, labels, 255, region))
    assert (view.properties, view.pixels, view.counted, view.by_class) == (["p"], 4, 3, [1, 1, 1])
