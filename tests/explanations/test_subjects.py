"""Images taken out of a data set keep what belongs to them, and nothing is asked that has no answer for one image."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from robspec.data.dataset import open_dataset
from robspec.explanations.errors import NoQuestion
from robspec.explanations.question import objective_of
from robspec.explanations.subjects import read_from
from robspec.ir.plans import Attacked, Measure, Ranked
from robspec.ir.types import Data, Degraded, Metric, Model, Property, RadiusQuery
from robspec.semantics.norm import L2
from robspec.semantics.objective import Threshold


def test_an_image_of_a_data_set_is_asked_about_with_its_own_label(tmp_path: Path) -> None:
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", np.full((1, 2, 2), k / 4, np.float32))
    (tmp_path / "t.csv").write_text("image,label\n0.npy,a\n1.npy,b\n2.npy,a\n")
    model = Model((1, 2, 2), Fraction(0), Fraction(1), (2,), ("a", "b"))
    data = open_dataset(Data("d", "*.npy", labels="t.csv"), model, tmp_path)
    found = read_from(data, [str(tmp_path / f"{k}.npy") for k in (1, 2, 0)])
    assert [s.annotation.labels.tolist() for s in found] == [[[[1]]], [[[0]]], [[[0]]]]


def test_ranked_scores_are_no_question_of_one_image() -> None:
    metric = Metric("auroc", Ranked(Measure.AUROC, Attacked.BOTH))
    prop = Property("p", RadiusQuery(L2, (Degraded(metric, Threshold(Fraction(1, 2)), strict=False),)), ())
    with pytest.raises(NoQuestion, match="ranked scores"):
        objective_of(prop, None, 0, "property p")
