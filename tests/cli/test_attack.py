"""`check --attack`: concrete images refute what clean ones do not, and alarm where a bound is false."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.models.loading import LoadedModel, load
from robspec.verify.attack import Attacker
from robspec.verify.run import ImageBatch
from tests.cli.conftest import Brightness, Project, Run, export

WORSE = """
property accurate {
  metric %s
  norm %s
  budget %s
  require mean(worst_case) %s
}
"""


def check(robspec: Run, project: Project, body: str, *options: object, attack: int = 40) -> tuple[int, dict, str]:
    project.write_spec(body)
    result = robspec("check", project.model, project.spec, "--format", "json", "--attack", attack, *options)
    return result.status, json.loads(result.out) if result.out else {}, result.err


def test_a_stored_image_within_the_budget_refutes(project: Project, robspec: Run, tmp_path: Path) -> None:
    """REFUTED: a concrete X' in the input range, ||X' - X|| (rounded up) <= eps, violates it from its stored file."""
    body = WORSE % ("pixel_accuracy", "l2", "2", ">= 0.9")
    project.write_spec(body)
    assert robspec("check", project.model, project.spec).status == 3
    status, report, _ = check(robspec, project, body, "--witness-dir", tmp_path / "w")
    assert status == 1
    assert report["attack_steps"] == 40
    witness = json.loads((tmp_path / "w/accurate.witness.json").read_text())
    (violation,) = witness["violations"]
    model, values = load(project.model), []
    for entry in violation["images"]:
        clean = np.asarray(Image.open(project.root / entry["image"])).transpose(2, 0, 1).astype(np.float32) / 255
        found = clean
        if "stored" in entry:
            found = np.load(tmp_path / "w" / entry["stored"], allow_pickle=False)
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1
        exact = sum(
            (Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(found.flat, clean.flat, strict=True)
        )
        assert exact <= Fraction(entry["distance"]) ** 2 <= 4
        predicted = model.logits(torch.from_numpy(found)[None]).argmax(1)[0].numpy()
        mask = np.asarray(Image.open(project.root / entry["image"].replace("images", "masks")))
        values.append(Fraction(int((predicted == mask).sum()), mask.size))
        assert values[-1] == Fraction(entry["attained"])
    assert sum(values, Fraction(0)) / len(values) == Fraction(violation["attained"]) < Fraction("0.9")


def test_with_rounding_only_what_violates_beyond_it_refutes(project: Project, robspec: Run, tmp_path: Path) -> None:
    """Exact rationals: the stored image is within eps of every image its file may mean, and violates by more than
    delta.
    """
    body = WORSE % ("pixel_accuracy", "l2", "2", ">= 0.9")
    status, report, _ = check(robspec, project, body, "--arithmetic", "real", "--witness-dir", tmp_path / "w")
    assert status == 1
    delta = Fraction(report["properties"][0]["lipschitz"]["rounding"]["exact"])
    assert delta > 0
    (violation,) = json.loads((tmp_path / "w/accurate.witness.json").read_text())["violations"]
    model, values = load(project.model, forward_dtype=torch.float64), []
    for entry in violation["images"]:
        stored = np.asarray(Image.open(project.root / entry["image"])).transpose(2, 0, 1)
        found = (stored / 255).astype(np.float32)
        if "stored" in entry:
            found = np.load(tmp_path / "w" / entry["stored"], allow_pickle=False)
        pairs = zip(found.flat, stored.flat, strict=True)
        exact = sum((Fraction(float(a)) - Fraction(int(b), 255)) ** 2 for a, b in pairs)
        assert "stored" not in entry or exact <= Fraction(entry["distance"]) ** 2 <= 4
        logits = model.logits(torch.from_numpy(found)[None])[0]
        mask = torch.from_numpy(np.array(Image.open(project.root / entry["image"].replace("images", "masks"))))
        own = logits.gather(0, mask.long()[None])[0]
        wrong = logits.amax(0) - own > 2 * float(delta)
        values.append(1 - Fraction(int(wrong.sum()), mask.numel()))
        assert values[-1] <= Fraction(entry["attained"])
    assert sum(values, Fraction(0)) / len(values) <= Fraction(violation["attained"]) < Fraction("0.9")


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize(
    "metric", ["stability", "iou[bright]", "fnr[dark]", "specificity[bright]", "mean_iou", "mean_accuracy"]
)
def test_what_is_attained_lies_between_the_bound_and_the_clean_value(
    project: Project, robspec: Run, metric: str, norm: str
) -> None:
    """Attacks inside the ball never beat the certificate."""
    sign = -1 if metric.startswith("fnr") else 1
    body = WORSE % (metric, norm, {"l1": "6", "l2": "1.5", "linf": "0.5"}[norm], "<= 0.9" if sign < 0 else ">= 0.1")
    status, report, err = check(robspec, project, body, "--allow", "unknown", "--attack-all")
    assert status in (0, 1), err
    worse = 0
    for image in report["properties"][0]["images"]:
        clean, low, met = (
            Fraction(v["exact"]) for v in (image["clean"], image["certified"][0], image["attained"][0])
        )
        assert sign * low <= sign * met <= sign * clean
        worse += met != clean
    assert worse > 0


def test_an_attack_below_a_certified_bound_is_an_alarm(project: Project, robspec: Run, tmp_path: Path) -> None:
    """A certified bound above an attacked value on the same image is a soundness alarm."""

    class Squared(Brightness):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = super().forward(image)
            return logits * logits.abs() + 0.1 * logits * logits * logits

    model = export(Squared(), tmp_path / "m.pt2")
    body = WORSE % ("pixel_accuracy", "l2", "2", ">= 0.1")
    project.write_spec(body.replace("lipschitz", "#"))
    options = ("--attack", 40, "--attack-all", "--witness-dir", tmp_path / "w")
    result = robspec("check", model, project.spec, "--assume-lipschitz", "0.0001", *options)
    assert result.status == 4, result.out
    assert "E0901" in result.err
    assert "--assume-lipschitz is too small" in result.err
    (kept,) = (tmp_path / "w").iterdir()
    assert str(kept) in result.err
    assert np.load(kept).shape == (3, 8, 8)


def test_what_the_search_does_not_know_is_left_as_it_was(project: Project, robspec: Run) -> None:
    _, report, err = check(robspec, project, WORSE % ("pixel_accuracy", "l(3)", "2", ">= 0.9"), "--attack-all")
    assert report["attack_searches"] == 0, err
    for image in report["properties"][0]["images"]:
        assert image["attained"][0] == image["clean"]
        assert "attack_distance" not in image


def test_a_certificate_holds_no_attack(project: Project, robspec: Run, tmp_path: Path) -> None:
    status, _, err = check(
        robspec, project, WORSE % ("pixel_accuracy", "l2", "1", ">= 0.1"), "--certificate", tmp_path / "c.json"
    )
    assert status == 2
    assert "E0601" in err


@pytest.mark.parametrize("what", ["image", "logits"])
def test_what_is_no_number_is_not_attained(
    project: Project, robspec: Run, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a concrete image in the input range with finite logits counts as attained."""
    honest = LoadedModel.logits

    def logits(self: LoadedModel, images: torch.Tensor) -> torch.Tensor:
        away = (255 * images - (255 * images).round()).abs().amax(dim=(1, 2, 3))
        return torch.where((away > 0.01)[:, None, None, None], torch.nan, honest(self, images))

    if what == "logits":
        monkeypatch.setattr(LoadedModel, "logits", logits)
    else:
        nothing = lambda _, prop, constant, batch, point: iter([torch.full_like(batch.images, torch.nan)])  # noqa: E731
        monkeypatch.setattr(Attacker, "_search", nothing)
    body = WORSE % ("mean_iou", "l2", "2", ">= 0.1")
    _, report, err = check(robspec, project, body, "--allow", "unknown", attack=5)
    assert report["attack_steps"] == 5, err
    for image in report["properties"][0]["images"]:
        assert image["attained"] == [image["clean"]]
        assert "attack_distance" not in image


@pytest.mark.parametrize("at", [0, 2])
def test_an_interrupted_attack_keeps_what_is_certified(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole = tmp_path / "whole.json"
    robspec("check", project.model, project.spec, "--format", "json", "--output", whole)
    expected = json.loads(whole.read_text())
    asked = 0

    def search(_: Attacker, prop: object, constant: object, batch: ImageBatch, point: int) -> Iterator[torch.Tensor]:
        nonlocal asked
        asked += 1
        if asked > at:
            raise KeyboardInterrupt
        yield batch.images

    monkeypatch.setattr(Attacker, "_search", search)
    monkeypatch.setattr(Attacker, "group", lambda _: 1)
    path = tmp_path / "partial.json"
    options = ("--attack", 2, "--attack-all", "--no-store", "--output", path)
    assert robspec("check", project.model, project.spec, *options, "--format", "json").status == 130
    report = json.loads(path.read_text())
    assert (report["complete"], report["images"]) == (False, {"total": 4, "evaluated": 4})
    assert report["attack_searches"] == at
    for found, known in zip(report["properties"], expected["properties"], strict=True):
        assert found["verdict"] == known["verdict"] == "PROVED"
        assert [i["certified"] for i in found["images"]] == [i["certified"] for i in known["images"]]
    asked = 0
    assert robspec("check", project.model, project.spec, *options).status == 130
    assert f"INTERRUPTED in the attack, after {at} searches; every image is certified" in path.read_text()
