"""Models, data and specifications as Python objects, and what a report shows of itself."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import robspec
from robspec.errors import MissingExtra
from robspec.models.choice import Choice
from robspec.models.errors import ModelChoice
from robspec.session.errors import UnsuitableData, UnsuitableModel
from robspec.syntax import ast

MODEL = """
model {
  input     image  [3, 8, 8] in [0, 1]
  output    logits [2, 8, 8]
  classes   road, car
}
"""
PROPERTY = """
property accurate {
  metric   pixel_accuracy
  norm     l2
  budget   0.01 to 0.02 points 2
  require  mean(worst_case) >= 0.5
}
"""


class Network(nn.Module):
    def __init__(self, *, several: bool = False) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.several = several
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
            self.layer.bias.zero_()

    def forward(self, images: Tensor) -> Any:
        logits = self.layer(images)
        return {"out": logits, "aux": (logits + 1, logits.mean())} if self.several else logits


def samples(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    images = torch.rand((count, 3, 8, 8), generator=draw)
    return [(image, (image[1] > image[0]).long()) for image in images]


@pytest.fixture(scope="module")
def report() -> Any:
    return robspec.check(Network().eval(), MODEL + PROPERTY, data=samples())


def test_a_module_a_text_and_a_data_set(report: Any) -> None:
    assert report.proved
    assert report.images == 3
    assert report.files["model"] == "Network"
    # The largest share of pixels that a budget of 0.01 can flip is found by hand: L = 1, a flip costs d^2 / 2.
    image, _ = samples()[0]
    costs = np.sort((image[1] - image[0]).double().numpy().ravel() ** 2 / 2)
    flips = int((np.cumsum(costs) <= 0.01**2).sum())
    assert report.properties[0].images[0].certified[0] == 1 - Fraction(flips, 64)


def test_a_loader_says_the_same(report: Any) -> None:
    images, masks = zip(*samples(), strict=True)
    loader = DataLoader(TensorDataset(torch.stack(images), torch.stack(masks)), batch_size=2)
    program = torch.export.export(Network().eval(), (torch.rand(1, 3, 8, 8),))
    other = robspec.check(program, MODEL + PROPERTY, data=loader)
    assert [i.certified for i in other.properties[0].images] == [i.certified for i in report.properties[0].images]
    assert other.hashes["data"] == report.hashes["data"]


def test_a_specification_keeps_what_it_says_of_the_labels() -> None:
    spec = MODEL + 'data d {\n images "*.png"\n masks "*.png"\n ignore 255\n}\n' + PROPERTY
    data = [(image, mask.masked_fill(mask == 1, 255)) for image, mask in samples(1)]
    found = robspec.check(Network().eval(), spec, data=data)
    assert found.properties[0].images[0].clean == 1


def test_labels_of_whole_images() -> None:
    spec = """
model {
  input     image  [3, 8, 8] in [0, 1]
  output    logits [2]
  classes   road, car
}
property accurate {
  metric   accuracy
  norm     l2
  budget   0.001
  require  worst_case >= 1 for 50% of images
}
"""
    network = nn.Sequential(Network(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    data = [(image, int(network(image[None])[0].argmax())) for image, _ in samples()]
    assert robspec.check(network, spec, data=data).proved


def test_a_specification_is_built() -> None:
    budget = ast.Budget(ast.Number(Fraction(1, 100), "0.01"))
    reference = ast.MetricReference(ast.Name("pixel_accuracy"))
    measure = ast.Measure("worst_case", "mean")
    built = ast.Property(
        ast.Name("accurate"),
        (
            ast.MetricStatement(reference),
            ast.NormStatement(ast.NormName("l2")),
            budget,
            ast.Require(measure, ">=", ast.Number(Fraction(1, 2), "0.5")),
        ),
    )
    spec = robspec.Spec(MODEL) + built
    assert spec == robspec.Spec(MODEL + PROPERTY.replace(" to 0.02 points 2", ""))
    assert spec.text == str(spec)
    assert "budget   0.01" in spec.text
    assert robspec.Spec(spec.text) == spec
    assert robspec.check(Network().eval(), spec, data=samples(1)).proved


def test_one_of_several_outputs() -> None:
    network = Network(several=True).eval()
    spec = MODEL + PROPERTY
    assert robspec.check(network, spec, data=samples(1), choice=Choice(output="out")).proved
    program = torch.export.export(network, (torch.rand(1, 3, 8, 8),))
    assert robspec.prove(program, output="aux.0").bound == robspec.prove(Network().eval(), shape=(3, 8, 8)).bound
    with pytest.raises(ModelChoice, match=r"out, aux\.0, aux\.1"):
        robspec.prove(program)
    with pytest.raises(ModelChoice, match="nothing called 'nose'"):
        robspec.prove(network, output="nose", shape=(3, 8, 8))
    with pytest.raises(ModelChoice, match="is a tuple"):
        robspec.prove(network, output="aux", shape=(3, 8, 8))


def test_objects_that_are_none() -> None:
    with pytest.raises(UnsuitableModel, match="training mode"):
        robspec.prove(Network(), shape=(3, 8, 8))
    with pytest.raises(UnsuitableModel, match="size of its images"):
        robspec.prove(Network().eval())
    with pytest.raises(UnsuitableModel, match="a dict is no model"):
        robspec.prove({})


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ([], "holds no image"),
        ([{"image": 1}], "not a pair"),
        ([(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.long))], "uint8"),
        ([(torch.zeros(3, 8, 8), torch.zeros(8, 8))], "float32"),
        ([(torch.full((3, 8, 8), 0.1, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.long))], "cannot hold"),
        ([(torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.long)), (torch.zeros(3, 8, 8), 1)], "one kind"),
    ],
)
def test_data_that_are_none(data: Any, what: str) -> None:
    with pytest.raises(UnsuitableData) as refused:
        robspec.check(Network().eval(), MODEL + PROPERTY, data=data)
    assert what in str(refused.value)


def test_values_as_a_frame(report: Any) -> None:
    frame = report.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 6
    assert list(frame.columns) == ["property", "image", "point", "clean", "certified", "attained"]
    exact = [float(v) for i in report.properties[0].images for v in i.certified]
    assert frame["certified"].tolist() == exact


def test_no_pandas(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pandas"):
        report.frame()
    assert len(report.rows()) == 6


def test_a_table_for_notebooks(report: Any) -> None:
    page = report._repr_html_()
    assert page.count("PROVED") == 2
    assert "mean(worst_case) &gt;= 0.5" in page
    assert "about the function over the reals" in page


def test_a_file_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "s.rspec").write_text("language 1\n" + MODEL + PROPERTY)
    assert robspec.check(Network().eval(), tmp_path / "s.rspec", data=samples(1)).proved
    whole = "language 1" + MODEL + 'data d {\n images "*"\n masks "*"\n}' + PROPERTY
    (tmp_path / "whole.rspec").write_text(whole)
    assert robspec.compile(str(tmp_path / "whole.rspec")).model == robspec.compile(whole).model
