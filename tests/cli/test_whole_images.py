"""Classification and scores through the whole command line: check, attack, cross-check, certificate, recheck."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run, export

SIDE = 4
HEAD = """language 1
model {
  input image [1, 4, 4] in [0, 1]
"""
CLASSIFY = (
    HEAD
    + """  output scores [3]
  classes left, right, none
}
data d {
  images "img/*.npy"
  labels "labels.csv"
}
property kept {
  metric accuracy
  norm l2
  budget 0 to 0.2 points 3
  require mean(worst_case) >= 0.3
}
property near {
  metric top_k(2)
  norm linf
  degraded when h < 1
  require radius >= 0.001 for 50% of images
}
property found {
  metric recall[left]
  norm l2
  budget 0.05
  require worst_case >= 0.1
}
property even {
  metric balanced_accuracy
  norm l2
  degraded when h <= 0.1
  require radius >= 0.01
}
"""
)
SCORES = (
    HEAD
    + """  output score [1]
  annotation normal | anomalous
}
data d {
  images "two/*/*.npy"
  labels by folder
}
property separates {
  metric auroc
  norm l2
  attack both
  budget 0 to 0.2 points 3
  require worst_case >= 0.2
}
property alarms {
  metric fpr_at_tpr(0.5)
  norm linf
  attack both
  degraded when h >= 0.5
  require radius >= 0.0001
}
property average {
  metric average_precision
  norm l2
  attack anomalous
  budget 0.05
  require worst_case >= 0.2
}
"""
)


class Linear(torch.nn.Module):
    """Orthonormal rows: the constant is 1, and the nearest other class of an image is known."""

    def __init__(self, outputs: int, *, sigmoid: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        rows = torch.linalg.qr(torch.randn(SIDE * SIDE, outputs, generator=generator, dtype=torch.float64)).Q.T
        self.rows = torch.nn.Parameter(rows.float().contiguous())
        self.sigmoid = sigmoid

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = image.flatten(1) @ self.rows.T
        return torch.sigmoid(found[:, 0]) if self.sigmoid else found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a table of labels that is right four times in five, and two folders by score."""
    root = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(5)
    images = rng.random((20, 1, SIDE, SIDE), dtype=np.float32)
    classify, score = Linear(3).eval(), Linear(1, sigmoid=True).eval()
    with torch.no_grad():
        said = classify(torch.from_numpy(images)).argmax(1).tolist()
        scores = score(torch.from_numpy(images)).tolist()
    (root / "img").mkdir()
    middle = sorted(scores)[10]
    rows = ["image,label"]
    for k, image in enumerate(images):
        np.save(root / "img" / f"{k:02}.npy", image)
        side = "anomalous" if (scores[k] >= middle) ^ (k % 6 == 0) else "normal"
        (root / "two" / side).mkdir(parents=True, exist_ok=True)
        np.save(root / "two" / side / f"{k:02}.npy", image)
        rows.append(f"{k:02}.npy,{('left', 'right', 'none')[said[k] if k % 5 else (said[k] + 1) % 3]}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "c.rspec").write_text(CLASSIFY)
    (root / "s.rspec").write_text(SCORES)
    export(classify, root / "c.pt2", SIDE, 1)
    export(score, root / "s.pt2", SIDE, 1)
    return root


def test_classification_is_certified_attacked_and_cross_checked(
    folder: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("--attack", "10", "--cross-check", "2", "--format", "json", "--output", "r.json")
    result = robspec("check", folder / "c.pt2", folder / "c.rspec", *asked)
    report = json.loads(Path("r.json").read_text())
    assert result.status in (0, 1, 3), result.err
    assert report["cross_check"]["disagreed"] == 0
    assert report["cross_check"]["agreed"] > 10
    kept, near, found, even = report["properties"]
    # The margin of a linear classifier with orthonormal rows is the distance times sqrt 2: nothing is given away.
    certified = [[Fraction(p["exact"]) for p in image["certified"]] for image in kept["images"]]
    logits = Linear(3).double()(
        torch.from_numpy(np.stack([np.load(p) for p in sorted((folder / "img").glob("*"))])).double()
    )
    labels = ["left", "right", "none"]
    table = [row.split(",")[1] for row in (folder / "labels.csv").read_text().splitlines()[1:]]
    for row, label, values in zip(logits.tolist(), table, certified, strict=True):
        own = row.pop(labels.index(label))
        margin = (own - max(row)) / 2**0.5
        for eps, value in zip((0.0, 0.1, 0.2), values, strict=True):
            if abs(margin - eps) > 1e-5:
                assert value == int(margin > eps)
    assert len(near["images"]) == 20
    assert [len(p["images"]) for p in (found, even)] == [1, 1]
    assert near["lipschitz"]["input_norm"] == "linf"


@pytest.mark.parametrize("name", ["c", "s"])
def test_a_certificate_is_confirmed_and_an_altered_one_rejected(
    folder: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model, spec = folder / f"{name}.pt2", folder / f"{name}.rspec"
    result = robspec("check", model, spec, "--certificate", "c.json", "--format", "json", "--output", "r.json")
    assert result.status in (0, 3), result.err
    assert robspec("recheck", "c.json", model, spec).status == 0
    content = json.loads(Path("c.json").read_text())
    for prop in content["properties"]:
        point = prop["images"][0]["points"][0]
        if point["certified"] in (None, "inf", "0"):
            continue
        was = point["certified"]
        point["certified"] = str(Fraction(was) * Fraction(101, 100))
        Path("altered.json").write_text(json.dumps(content))
        assert robspec("recheck", "altered.json", model, spec).status != 0
        point["certified"] = was


def test_scores_are_the_files_own_output(
    folder: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A last sigmoid is kept: a quarter of the logit's constant, and no note of a head that is taken off."""
    monkeypatch.chdir(tmp_path)
    result = robspec("check", folder / "s.pt2", folder / "s.rspec", "--format", "json", "--output", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert result.status in (0, 3), result.err
    constant = Fraction(report["properties"][0]["lipschitz"]["value"]["exact"])
    assert Fraction(1, 4) <= constant < Fraction(2501, 10000)
    assert "head-taken-off" not in [note["code"] for note in report["remarks"]]
    clean, *attacked = (Fraction(p["exact"]) for p in report["properties"][0]["images"][0]["certified"])
    assert clean > attacked[0] > attacked[1]


def test_attacked_images_lower_what_is_attained_and_refute_what_is_false(
    folder: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each image is attacked in its own ball; the stored ones are the witness, and the score is theirs again."""
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "s.rspec"
    spec.write_text(SCORES.split("property alarms")[0].replace(">= 0.2", ">= 0.7").replace("points 3", "points 2"))
    asked = ("--data", folder, "--attack", "10", "--format", "json", "--output", "r.json", "--witness-dir", "w")
    result = robspec("check", folder / "s.pt2", spec, *asked)
    assert result.status == 1, result.err
    (whole,) = json.loads(Path("r.json").read_text())["properties"][0]["images"]
    certified, attained = (Fraction(whole[key][1]["exact"]) for key in ("certified", "attained"))
    assert certified <= attained < Fraction(whole["clean"]["exact"])
    again = robspec("replay", "w/separates.witness.json", folder / "s.pt2", spec, "--data", folder)
    assert (again.status, "E0605" in again.err) == (2, True)
    scores: dict[bool, list[float]] = {False: [], True: []}
    clean = {
        f"two/{side}/{p.name}": np.load(p)
        for side in ("normal", "anomalous")
        for p in (folder / "two" / side).iterdir()
    }
    names = sorted(clean)
    with np.load(Path("w") / "separates-1.npz") as stored:
        moved = np.concatenate([stored[k] for k in stored.files if k.startswith("images")])
    for name, image in zip(names, moved, strict=True):
        assert np.linalg.norm(image.astype(np.float64) - clean[name]) <= 0.2
        assert image.min() >= 0 <= 1 >= image.max()
        score = Linear(1, sigmoid=True)(torch.from_numpy(image)[None]).item()
        scores["anomalous" in name].append(score)
    pairs = [(s > a) + (s == a) / 2 for s in scores[True] for a in scores[False]]
    assert attained == Fraction(sum(pairs)) / len(pairs)


def test_a_map_of_logits_is_no_decision_about_an_image(
    folder: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "m.rspec"
    spec.write_text(CLASSIFY.replace("[3]", "[4]").replace("none\n", "none, other\n"))
    result = robspec("check", folder / "c.pt2", spec, "--data", folder)
    assert result.status == 2
    assert "E0402" in result.err
    assert "[3]" in result.err


def test_rounding_is_proved_of_classifiers_and_scores_alike(folder: Path, robspec: Run, tmp_path: Path) -> None:
    for model, spec in (("c.pt2", "c.rspec"), ("s.pt2", "s.rspec")):
        given = ("--arithmetic", "real", "--no-store")
        path = tmp_path / f"{model}.json"
        result = robspec("check", folder / model, folder / spec, *given, "--certificate", path)
        assert result.status in (0, 1, 3), result.err
        again = robspec("recheck", path, folder / model, folder / spec, "--arithmetic", "real")
        assert again.status == 0, again.err
    found = robspec("check", folder / "s.pt2", folder / "s.rspec", *given, "--attack", "5")
    assert found.status in (0, 1, 3), found.err
    # The sigmoid is part of what the file returns, and of what is rounded.
    deployed = robspec("check", folder / "s.pt2", folder / "s.rspec", "--arithmetic", "deployed", "--no-store")
    assert "taking elementary functions" in " ".join(deployed.out.split())
