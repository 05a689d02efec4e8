"""UNKNOWN explains itself: which gap, how far a proof reaches by the code that certifies, what costs, what next."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Project, Run, export

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "report-json.md"
BUDGET = """
property accurate {{
  metric {metric}
  norm {norm}
  budget {budget}
  require {require}
}}
"""


class Loose(torch.nn.Module):
    """The logits (-s, s), through a wide layer and back: the proof pays for both."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image - 0.5).sum(1, keepdim=True) * 6**-0.5
        wide = torch.cat([torch.relu(s * 4.0), torch.relu(s * -4.0), torch.relu(s), torch.relu(-s)], 1)
        back = torch.tensor([[-0.25, 0.25, 0.0, 0.0], [0.25, -0.25, 0.0, 0.0]])
        return torch.einsum("bchw,kc->bkhw", wide, back)


def gaps(project: Project, robspec: Run, *options: str) -> list[dict[str, Any]]:
    """The gaps of an unknown check, in JSON."""
    result = robspec("check", project.model, project.spec, "--format", "json", *options)
    assert result.status == 3, result.err
    found = [r["gap"] for p in json.loads(result.out)["properties"] for r in p["requirements"] if r["gap"]]
    for gap in found:
        assert all(f"`{name}`" in PAGE.read_text() for name in gap)
        assert all(f"`{cause}`" in PAGE.read_text() for cause in gap["causes"])
    return found


def ask(project: Project, budget: object, require: str, *, metric: str = "pixel_accuracy", norm: str = "l2") -> None:
    project.write_spec(BUDGET.format(budget=budget, require=require, metric=metric, norm=norm))


REQUIREMENTS = [
    ("mean(worst_case) >= 0.9", "pixel_accuracy", "l2"),
    ("worst_case >= 0.9 for all images", "pixel_accuracy", "l2"),
    ("worst_case >= 0.9 for 50% of images", "iou[bright]", "l2"),
    ("min(worst_case) >= 0.9", "mean_iou", "l2"),
    ("mean(worst_case) >= 0.9", "pixel_accuracy", "linf"),
    ("worst_case >= 0.9", "pooled iou[bright]", "l2"),
]


@pytest.mark.parametrize(("require", "metric", "norm"), REQUIREMENTS)
def test_the_largest_budget_is_proved_and_little_more_is_not(
    require: str, metric: str, norm: str, project: Project, robspec: Run
) -> None:
    ask(project, 50, require, metric=metric, norm=norm)
    (gap,) = gaps(project, robspec)
    reach = Fraction(gap["provable"]["exact"])
    assert 0 < reach < 50
    ask(project, float(reach), require, metric=metric, norm=norm)
    assert robspec("check", project.model, project.spec).status == 0
    ask(project, float(reach * Fraction(101, 100)), require, metric=metric, norm=norm)
    assert robspec("check", project.model, project.spec).status == 3


def test_a_sweep_has_one_reach(project: Project, robspec: Run) -> None:
    ask(project, "20.1 to 60.1 points 3", "mean(worst_case) >= 0.9")
    found = gaps(project, robspec)
    assert len(found) == 3
    assert len({gap["provable"]["exact"] for gap in found}) == 1
    assert len({gap["needed"]["exact"] for gap in found}) == 3


def test_a_constant_that_is_too_large_and_images_near_the_boundary(project: Project, robspec: Run) -> None:
    ask(project, 50, "mean(worst_case) >= 0.9")
    (gap,) = gaps(project, robspec)
    assert gap["causes"] == ["images-near-boundary", "no-attack-tried"]  # the proved constant is the true one
    assert gap["needed"]["approx"] < gap["measured"]["approx"] <= 1.0001
    reach = gap["provable"]["approx"]
    loose = Project(project.root, export(Loose(), project.root / "loose.pt2"), project.spec)
    loose.write_spec(
        BUDGET.format(budget=reach * 0.9, require="mean(worst_case) >= 0.9", metric="pixel_accuracy", norm="l2"), "9"
    )
    (gap,) = gaps(loose, robspec)
    assert gap["causes"] == ["constant-too-large", "no-attack-tried"]
    assert 1.0 < gap["needed"]["approx"] < 1.2
    assert gap["costliest"]["factor"] > 1
    assert 0 < gap["costliest"]["share"] <= 1
    assert any("robspec lipschitz" in line for line in gap["advice"])
    text = robspec("check", loose.model, loose.spec).out
    assert "the constant is too large" in text
    result = robspec("lipschitz", loose.model, "--seconds", "0", "--format", "json")
    assert json.loads(result.out)["costliest"]["name"] == gap["costliest"]["name"]
    assert f"costliest: {gap['costliest']['name']}" in robspec("lipschitz", loose.model, "--seconds", "0").out


def test_the_conversion_of_norms_can_cost_most(project: Project, robspec: Run) -> None:
    ask(project, 50, "mean(worst_case) >= 0.9", norm="linf")
    (gap,) = gaps(project, robspec)
    assert gap["costliest"]["name"] == "conversion"
    assert gap["costliest"]["factor"] == pytest.approx(192**0.5, rel=1e-3)


def test_the_text_says_it_too(project: Project, robspec: Run) -> None:
    ask(project, 50, "mean(worst_case) >= 0.9")
    result = robspec("check", project.model, project.spec)
    text = " ".join(result.out.split())
    for part in ("why: ", "no attack was tried", "proved: for eps <= ", "next: ", "`--attack 20`", "`robspec train"):
        assert part in text, text
    assert "smoothing" not in text
    after = robspec("check", project.model, project.spec, "--attack", "2")
    assert "no attack was tried" not in after.out
    assert "--attack 20" not in after.out


def test_a_radius_has_its_reach_from_the_certified_radii(project: Project, robspec: Run) -> None:
    far = BUDGET.replace("budget {budget}", "degraded when h <= 0.25").replace(
        "{require}", "radius >= {} for all images"
    )
    far = far.replace("{metric}", "pixel_accuracy").replace("{norm}", "l2")
    project.write_spec(far.format(90))
    (gap,) = gaps(project, robspec)
    assert "no-attack-tried" in gap["causes"]
    reach = Fraction(gap["provable"]["exact"])
    project.write_spec(far.format(float(reach) * 0.999))
    assert robspec("check", project.model, project.spec).status == 0
    project.write_spec(far.format(float(reach) * 1.001))
    assert robspec("check", project.model, project.spec).status == 3


def test_what_is_decided_has_no_gap(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--format", "json")
    assert result.status == 0
    assert all(r["gap"] is None for p in json.loads(result.out)["properties"] for r in p["requirements"])
    assert "why:" not in robspec("check", project.model, project.spec).out


def test_a_search_that_is_interrupted_leaves_the_verdicts(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robspec.verify.gap.largest_budgets", interrupted)
    ask(project, 50, "mean(worst_case) >= 0.9")
    assert gaps(project, robspec) == []
    assert "UNKNOWN" in robspec("check", project.model, project.spec).out


def test_the_costliest_layer_is_named_not_the_code_of_torch(project: Project, robspec: Run, tmp_path: Path) -> None:
    layer = torch.nn.Conv2d(3, 2, 1)
    torch.nn.init.constant_(layer.weight, 1.0)
    model = export(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Sequential(layer)), tmp_path / "layers.pt2")
    shown = " ".join(robspec("lipschitz", model, "--seconds", 0).out.split())
    assert "costliest: conv2d (module 1.0, in torch's own code), a factor of up to 2.449491" in shown
    project.write_spec(BUDGET.format(metric="stability", norm="l2", budget=1, require="min(worst_case) >= 1"))
    shown = " ".join(robspec("check", model, project.spec).out.split())
    assert "costliest: conv2d (module 1.0, in torch's own code) multiplies" in shown
