"""Attacks on detectors: vanishing, fabrication, mislabelling; what is found counts as it is stored and read back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from robspec.api import check
from robspec.diagnostics import Source
from robspec.errors import SoundnessAlarm
from robspec.lower import compile_source
from robspec.session.check import Check, Options
from robspec.session.replay import replay
from robspec.verify.result import CheckReport
from robspec.verify.witness import write_witnesses
from tests.tasks.detecting import BY_LOCATION, SIDE, SPEC, STRIDE, Blob, Blobs, archive, write_data

ASKED = "property p {{\n  metric {metric}\n  norm {norm}\n  budget {budget}\n  require {require}\n}}\n"


class Walking(Blobs):
    """Boxes that leave their cells as soon as an image is brighter or darker than the clean ones."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = super().forward(images)
        off = images[:, :2].sum((1, 2, 3)) - STRIDE * STRIDE * 191 / 255
        return scores, boxes + off[:, None, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A car and a truck, each on its own image; half bright, so that an attack can go either way."""
    root = tmp_path_factory.mktemp("attacked")
    write_data(root, [[Blob((0, 0), 0, 191)], [Blob((2, 1), 1, 191)]])
    archive(Blobs(), root / "fixed.pt2")
    archive(Blobs("none"), root / "none.pt2")
    return root


def run(folder: Path, text: str, model: str = "fixed", steps: int | None = 12) -> CheckReport:
    spec = folder / "spec.rspec"
    spec.write_text(text)
    return check(folder / f"{model}.pt2", spec, attack=steps, witness_dir=folder / "alarms")


# A bright cell scores 4 * 191/255 - 2 = 0.996, a dark one -2. In linf no score of a cell moves by more than 4 eps.
@pytest.mark.parametrize(
    ("spec", "metric", "norm", "near", "below", "require"),
    [
        (SPEC, "recall", "l2", "1.02", "0.98", "worst_case >= 1 for all images"),
        (SPEC, "missed", "linf", "0.26", "0.03", "worst_case <= 0 for all images"),
        (SPEC, "false_positives", "l2", "2.05", "1.9", "worst_case <= 0 for all images"),
        (BY_LOCATION, "false_positives", "linf", "0.51", "0.05", "worst_case <= 0 for all images"),
        (BY_LOCATION, "mislabelled", "l2", "2.28", "2.2", "worst_case <= 0 for all images"),
        (SPEC, "pooled precision", "l2", "2.05", "0.98", "worst_case >= 0.9"),
    ],
)
def test_each_kind_of_attack_finds_what_the_certificate_leaves_open(
    folder: Path, spec: str, metric: str, norm: str, near: str, below: str, require: str
) -> None:
    model = "fixed" if spec is SPEC else "none"
    for budget, label in ((near, "REFUTED"), (below, "PROVED")):
        text = spec.format(properties=ASKED.format(metric=metric, norm=norm, budget=budget, require=require))
        report = run(folder, text, model)
        (found,) = report.properties
        assert found.label.startswith(label), (metric, budget)
        for image in found.images:
            for low, high in zip(image.certified, image.attained, strict=True):
                assert low is not None
                assert high is not None
                assert (low >= high) if found.source.query.metric.lower_is_better else (low <= high)  # type: ignore[union-attr]


RADIUS = (
    "property p {{\n  {metric}\n  norm {norm}\n  degraded when {when}\n  require radius >= 3 for all images\n}}\n"
)
FALLS, RISES = 4 * 191 / 255 - 2, 2.0


@pytest.mark.parametrize(
    ("spec", "norm", "when", "exact"),
    [
        (SPEC, "l2", "recall < 1", FALLS),
        (SPEC, "linf", "missed >= 1", FALLS / 4),
        (SPEC, "l2", "false_positives >= 1", RISES),
        (BY_LOCATION, "l2", "mislabelled >= 1", (FALLS**2 + RISES**2) ** 0.5),
        (SPEC, "l2", "missed >= 1 and false_positives >= 1", (FALLS**2 + RISES**2) ** 0.5),
        (SPEC, "l2", "missed >= 1 or false_positives >= 1", FALLS),
    ],
)
def test_radii_are_found_within_a_hundredth_and_refute(
    folder: Path, spec: str, norm: str, when: str, exact: float
) -> None:
    """Scores are linear and each moves for itself, so that the exact radius is known."""
    metric = "metric " + when.split()[0] if " and " not in when and " or " not in when else ""
    condition = "h " + when.split(maxsplit=1)[1] if metric else when
    asked = RADIUS.format(metric=metric, norm=norm, when=condition)
    report = run(folder, spec.format(properties=asked), "fixed" if spec is SPEC else "none", steps=40)
    (found,) = report.properties
    assert found.label.startswith("REFUTED")
    for image in found.images:
        low, high = image.certified[0], image.attained[0]
        assert low is not None
        assert high is not None
        # Pixels are stored in float32 and thresholds known to 2^-22 alone.
        assert low <= high
        assert exact * (1 - 1e-5) <= float(high) <= 1.01 * exact
        assert image.attacks[0] is not None
        assert image.attacks[0].distance == high


def test_average_precision_is_attacked_image_by_image(folder: Path) -> None:
    asked = ASKED.format(
        metric="mean_average_precision(0.5 to 0.6)",
        norm="l2",
        budget="0.9 to 1.05 points 2",
        require="worst_case >= 0.5",
    )
    (found,) = run(folder, SPEC.format(properties=asked)).properties
    (whole,) = found.images
    assert whole.attained == (1, 0)
    assert whole.certified[0] is not None
    assert whole.certified[0] > Fraction(999, 1000)


def test_a_witness_is_stored_inside_the_ball_and_shown_again(folder: Path, tmp_path: Path) -> None:
    asked = ASKED.format(metric="recall", norm="l2", budget="1.02", require="worst_case >= 1 for all images")
    text = SPEC.format(properties=asked)
    spec = folder / "spec.rspec"
    spec.write_text(text)
    source = Source(text, str(spec))
    program, diagnostics = compile_source(source)
    assert program is not None
    with Check(program, source, diagnostics, folder / "fixed.pt2", spec, Options(attack=12)) as work:
        (written,) = write_witnesses(work.finish(work.run()).report, tmp_path)
    document = json.loads(written.path.read_text())
    (violation,) = document["violations"]
    for entry in violation["images"]:
        assert 0 < Fraction(entry["distance"]) <= Fraction("1.02")
        stored = np.load(tmp_path / entry["stored"])
        assert stored.dtype == np.float32
        assert stored.shape == (3, SIDE, SIDE)
        assert stored.min() >= 0
        assert stored.max() <= 1
        # The network by hand: every cell of the class scores below 0.
        number = int(entry["image"][-5])
        cells = 4 * stored[number].astype(np.float64).reshape(4, 4, 4, 4).mean((1, 3)) - 2
        assert cells.max() < 0
    shown = replay(written.path, program, folder / "fixed.pt2", folder / "spec.rspec")
    assert shown.violated
    assert [s.value for s in shown.shown] == [0] * len(violation["images"])
    # Of another size it is no witness.
    for entry in violation["images"]:
        np.save(tmp_path / entry["stored"], np.zeros((3, 4, 4), np.float32))
    assert not replay(written.path, program, folder / "fixed.pt2", folder / "spec.rspec").violated


def test_boxes_that_walk_off_contradict_the_assumption_that_they_stay(folder: Path) -> None:
    archive(Walking(), folder / "walking.pt2")
    asked = ASKED.format(metric="recall", norm="l2", budget="0.98", require="worst_case >= 1 for all images")
    with pytest.raises(SoundnessAlarm) as raised:
        run(folder, SPEC.format(properties=asked), "walking")
    assert "write `boxes proved`" in str(raised.value.mend)


def test_boxes_that_are_no_numbers_attain_nothing(folder: Path) -> None:
    class Broken(Blobs):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores, boxes = super().forward(images)
            # Clean images have one bright cell of 191; any other sum divides by nothing.
            off = (images.sum((1, 2, 3)) - 16 * 191 / 255).abs()[:, None, None]
            return scores, boxes + torch.log(0.01 - off).clamp(max=0) * 0

    archive(Broken(), folder / "broken.pt2")
    asked = ASKED.format(metric="recall", norm="l2", budget="1.02", require="worst_case >= 1 for all images")
    (found,) = run(folder, SPEC.format(properties=asked), "broken").properties
    assert all(image.attained == (1,) for image in found.images)
