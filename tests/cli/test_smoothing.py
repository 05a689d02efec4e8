"""Properties by smoothing on the command line: verdicts with a probability, and no constant of the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

from robspec.recheck.errors import CertificateRejected
from robspec.recheck.recheck import compiled
from robspec.session.baseline import _lessened
from robspec.syntax.source import read_source
from tests.cli.conftest import SPEC, Project, Run, export
from tests.tasks.detecting import BY_LOCATION, Blob, Blobs, archive, write_data

VOTED = """
property voted {
  metric pixel_accuracy
  norm l2
  budget 0.1
  by smoothing { sigma 0.1 samples 60 alpha 0.01 }
  require mean(worst_case) >= 0.2
}
"""
FOUND = """
property found {
  metric missed
  norm l2
  budget 0.2
  by smoothing { sigma 0.25 samples 100 alpha 0.001 }
  require worst_case <= 0 for all images
}
"""
BY_CONSTANT = """
property accurate {
  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.5
}
"""


class Steep(torch.nn.Module):
    """Logits without a constant."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image - 0.5).sum(1, keepdim=True) * 1e3
        return torch.cat([-(s**3), s**3], 1)


def test_a_network_without_a_constant_is_answered(robspec: Run, project: Project) -> None:
    model = export(Steep(), project.root / "steep.pt2")
    project.spec.write_text(SPEC.format(claim="1", properties=VOTED).replace("  lipschitz l2 <= 1\n", ""))
    result = robspec("check", model, project.spec)
    assert result.status == 0, result.err
    assert "PROVED with probability 0.99" in " ".join(result.out.split())
    assert "1 proved with a probability" in result.out
    found = json.loads(robspec("check", model, project.spec, "--format", "json").out)
    (prop,) = found["properties"]
    assert (prop["lipschitz"]["status"], prop["lipschitz"]["value"]) == ("sampled", None)
    assert prop["label"] == "PROVED with probability 0.99"
    assert prop["requirements"][0]["attained"] is None
    assert "smoothing-abstains" in [r["code"] for r in found["remarks"]]


def test_the_answer_is_the_same_in_any_batch(robspec: Run, project: Project) -> None:
    project.write_spec(VOTED)
    rows = [
        json.loads(robspec("check", project.model, project.spec, "--batch-size", n, "--format", "json").out)
        for n in (1, 3)
    ]
    assert rows[0]["properties"] == rows[1]["properties"]


def test_both_methods_in_one_specification(robspec: Run, project: Project) -> None:
    project.write_spec(BY_CONSTANT + VOTED)
    result = robspec("check", project.model, project.spec, "--output", f"html={project.root / 'r.html'}")
    assert result.status == 0, result.err
    assert "1 proved, 1 proved with a probability" in result.out
    assert "PROVED with probability 0.99" in (project.root / "r.html").read_text()


@pytest.mark.parametrize("options", [("--attack", "5"), ("--cross-check", "1"), ("--certificate", "c.json")])
def test_options_without_a_meaning_are_refused(robspec: Run, project: Project, options: tuple[str, ...]) -> None:
    project.write_spec(VOTED)
    result = robspec("check", project.model, project.spec, *options)
    assert result.status == 2
    assert "E0601" in result.err
    project.write_spec(BY_CONSTANT)
    options = tuple(str(project.root / o) if o.endswith("json") else o for o in options)
    assert robspec("check", project.model, project.spec, *options).status == 0


def test_what_samples_do_not_certify_is_unknown(robspec: Run, project: Project) -> None:
    project.write_spec(VOTED.replace(">= 0.2", ">= 1"))
    result = robspec("check", project.model, project.spec)
    assert result.status == 3
    assert "samples refute nothing" in " ".join(result.out.split())


def test_a_model_whose_images_depend_on_each_other_is_refused(robspec: Run, project: Project) -> None:
    class Company(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            s = (image - image.mean(0, keepdim=True)).sum(1, keepdim=True)
            return torch.cat([-s, s], 1)

    model = export(Company(), project.root / "company.pt2")
    project.write_spec(VOTED)
    result = robspec("check", model, project.spec)
    assert result.status == 2
    assert "E0403" in result.err


def test_samples_are_less_than_a_proof_to_a_baseline(robspec: Run, project: Project) -> None:
    """Neither an assumed constant nor a test with a probability takes the place of a proof without a word."""
    baseline = project.root / "b.json"
    project.write_spec(BY_CONSTANT)
    assert robspec("check", project.model, project.spec, "--baseline", baseline, "--update-baseline").status == 0
    project.write_spec(
        BY_CONSTANT.replace("  budget", "  by smoothing { sigma 0.2 samples 100 alpha 0.01 }\n  budget")
    )
    result = robspec("check", project.model, project.spec, "--baseline", baseline)
    # Another question, answered with a probability: new, and what was proved is gone.
    assert "gone: accurate" in result.out + result.err
    # Voted on as the network computes, where what is gone was about the reals.
    assert "worse: arithmetic: real before" in result.err
    assert result.status == 3
    assert robspec("check", project.model, project.spec, "--baseline", baseline, "--update-baseline").status == 3
    assert robspec("check", project.model, project.spec, "--baseline", baseline).status == 0


def test_a_smaller_probability_is_less_to_a_baseline(robspec: Run, project: Project) -> None:
    """0.9 is the beginning of 0.99, and no better for it."""
    baseline = project.root / "b.json"
    voted = "  by smoothing {{ sigma 0.2 samples 200 alpha {alpha} }}\n  budget"

    def asked(alpha: str, *rest: str) -> tuple[int, str]:
        project.write_spec(BY_CONSTANT.replace("  budget", voted.format(alpha=alpha)))
        result = robspec("check", project.model, project.spec, "--baseline", baseline, *rest)
        return result.status, result.err

    assert asked("0.01", "--update-baseline")[0] == 0
    status, said = asked("0.1")
    assert status == 3
    assert "PROVED with probability 0.99 before, now PROVED with probability 0.9," in said
    assert asked("0.01")[0] == 0
    assert asked("0.001")[0] == 0


@pytest.mark.parametrize(
    ("now", "before", "less"),
    [
        (" with probability 1/3", "PROVED with probability 0.99", True),
        (" with probability 2/3", "PROVED with probability 1/3", False),
        (" with probability 0.9", "PROVED with probability 0.99", True),
        (" with probability 0.99", "PROVED with probability 0.9", False),
        (" with probability 0.9", "PROVED with probability 0.9 of the first 2 of 4 images", False),
        (" with probability 0.9", "PROVED with probability 1/0", True),
        (" with probability 0.9", "PROVED with probability " + "9" * 5000, True),
        (", assuming L <= 1 (not proved)", "PROVED with probability 0.9", True),
        (" with probability 0.9", "PROVED", True),
        ("", "PROVED, assuming L <= 1 (not proved)", False),
    ],
)
def test_qualifiers_are_compared_as_numbers_where_they_are_chances(now: str, before: str, less: bool) -> None:
    assert _lessened(now, before) == less


def test_images_that_mix_under_noise_alone_are_sampled_one_by_one(robspec: Run, project: Project) -> None:
    """Within the range of the input nothing mixes, and a node without a constant hides what follows from the proof.

    Alone, a bright pixel is found bright less often than the budget needs; in batches of eight, far more often.
    """

    class Company(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            beyond = torch.relu(image - 1).sum(1, keepdim=True).mean(0, keepdim=True) - 0.07
            s = (image - 0.5).sum(1, keepdim=True)
            y = s * s * s * 0 + beyond
            return torch.cat([-y, y], 1)

    model = export(Company(), project.root / "company.pt2")
    voted = VOTED.replace("pixel_accuracy", "recall[bright]").replace(
        "sigma 0.1 samples 60", "sigma 0.25 samples 100"
    )
    project.spec.write_text(SPEC.format(claim="1", properties=voted).replace("  lipschitz l2 <= 1\n", ""))
    result = robspec("check", model, project.spec)
    assert result.status == 3, result.out + result.err


def test_no_certificate_speaks_of_samples(project: Project) -> None:
    """Not even one that was made to fit: it would confirm a verdict on the network, and not on the vote."""
    assert compiled(read_source(project.write_spec(BY_CONSTANT)), {}).properties
    with pytest.raises(CertificateRejected, match="answered by smoothing"):
        compiled(read_source(project.write_spec(BY_CONSTANT + VOTED)), {})


def test_a_counterfactual_is_about_the_network(robspec: Run, project: Project) -> None:
    """What samples stand for is no constant of the network, whose bound would be read off it."""
    project.write_spec(VOTED)
    image = min((project.root / "images").iterdir())
    result = robspec("counterfactual", project.model, image, "--spec", project.spec, "--property", "voted")
    assert result.status == 2
    assert "E0601" in result.err
    assert "the network itself" in " ".join(result.err.split())


WHOLE = """language 1
model {
  input image [3, 8, 8] in [0, 1]
  output logits [2]
  classes dark, bright
}
data d {
  images "sorted/*/*.png"
  labels by folder
}
property each {
  metric accuracy
  norm l2
  degraded when h <= 0.5
  by smoothing { sigma 0.25 samples 100 alpha 0.05 }
  require radius >= 0.4 for all images
}
property together {
  metric recall[bright]
  norm l2
  budget 0.1
  by smoothing { sigma 0.25 samples 100 alpha 0.05 }
  require worst_case >= 1
}
"""


def test_whole_images_are_certified_as_cohen_has_it(robspec: Run, project: Project) -> None:
    """Found in all of 100 samples: sigma times the quantile of (alpha / images) ^ (1 / 100)."""

    class Mean(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            s = image.mean(dim=(1, 2, 3)) - 0.5
            return torch.stack([-s, s], 1)

    for value, name in ((10, "dark"), (245, "bright")):
        folder = project.root / "sorted" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(folder / "0.png")
    project.spec.write_text(WHOLE)
    model = export(Mean(), project.root / "mean.pt2")
    result = robspec("check", model, project.spec, "--format", "json")
    assert result.status == 0, result.err
    each, together = json.loads(result.out)["properties"]
    exact = 0.25 * norm.ppf((0.05 / 2) ** (1 / 100))
    for image in each["images"]:
        assert exact - 1e-6 < image["certified"][0]["approx"] <= exact
    assert together["images"][0]["certified"][0]["exact"] in ("1", "1/1")


def test_a_detector_is_answered_alike_in_any_batch(robspec: Run, tmp_path: Path) -> None:
    write_data(tmp_path, [[Blob((0, 0)), Blob((2, 2), 1)], [Blob((1, 3), 0, 250)], []])
    spec = tmp_path / "s.rspec"
    spec.write_text(BY_LOCATION.format(properties=FOUND))
    model = archive(Blobs("none"), tmp_path / "m.pt2")
    reports = []
    for size in (1, 3):
        result = robspec("check", model, spec, "--batch-size", size, "--format", "json")
        assert result.status == 0, result.err
        reports.append(json.loads(result.out)["properties"])
    assert reports[0] == reports[1]
    assert reports[0][0]["label"] == "PROVED with probability 0.999"
