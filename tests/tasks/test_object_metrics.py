"""Metrics of objects from the specification to the verdict: class by class, pooled, in sweeps and with confidence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from robspec.api import check
from robspec.lower import compile_text
from robspec.verify.result import CheckReport
from tests.tasks.detecting import BY_LOCATION, SPEC, Blob, Blobs, archive, write_data

ASKED = "property p{n} {{\n  metric {metric}\n  norm l2\n  budget {budget}\n  require {require}\n}}\n"
RADIUS = "property p{n} {{\n  metric {metric}\n  norm l2\n  degraded when {when}\n  require {require}\n}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bright cars, a truck, a dimmer car, nothing; a car that nothing shows. Cells score from -2 to 2."""
    root = tmp_path_factory.mktemp("metrics")
    images = [[Blob((0, 0)), Blob((2, 2))], [Blob((1, 1), 1)], [Blob((3, 3), 0, 204)], [], [Blob((0, 3), 0, 10)]]
    write_data(root, images)
    archive(Blobs(), root / "fixed.pt2")
    archive(Blobs("none"), root / "none.pt2")
    return root


def run(folder: Path, model: str, text: str) -> CheckReport:
    spec = folder / "spec.rspec"
    spec.write_text(text)
    return check(folder / f"{model}.pt2", spec)


def asked(*given: tuple[str, str, str]) -> str:
    return "".join(ASKED.format(n=n, metric=m, budget=b, require=r) for n, (m, b, r) in enumerate(given))


def bounds(report: CheckReport, number: int) -> list[float]:
    return [float(c) for image in report.properties[number].images for c in image.certified if c is not None]


@pytest.mark.parametrize(("model", "spec"), [("fixed", SPEC), ("none", BY_LOCATION)])
def test_a_mislabelled_object_falls_and_another_class_rises(folder: Path, model: str, spec: str) -> None:
    parts = [
        ("mislabelled", "h >= 1", "radius >= 1.9 for all images"),
        ("mislabelled[truck]", "h >= 1", "radius >= 2.8 for all images"),
    ]
    text = "".join(RADIUS.format(n=n, metric=m, when=w, require=r) for n, (m, w, r) in enumerate(parts))
    report = run(folder, model, spec.format(properties=text))
    # Two scores of 2 each way; the dim car falls by 1.2; where a car is missed anyway the other class rises by 2.
    assert bounds(report, 0) == pytest.approx([8**0.5, 8**0.5, (1.2**2 + 4) ** 0.5, np.inf, 2], rel=1e-4)
    assert bounds(report, 1) == pytest.approx([np.inf, 8**0.5, np.inf, np.inf, np.inf], rel=1e-4)
    assert all(p.label.startswith("PROVED") for p in report.properties)


def test_counts_pool_to_the_sum_of_what_each_image_loses(folder: Path) -> None:
    text = asked(
        ("pooled mislabelled", "0 to 4.01 points 2", "worst_case <= 5"),
        ("pooled missed[car]", "0 to 2.1 points 2", "worst_case <= 4"),
        ("pooled false_positives", "0 to 2.1 points 2", "worst_case <= 5"),
        ("pooled recall[car]", "0 to 2.1 points 2", "worst_case >= 0.25"),
    )
    report = run(folder, "fixed", SPEC.format(properties=text))
    assert bounds(report, 0) == [0, 2 + 1 + 1 + 1]
    assert bounds(report, 1) == [1, 1 + 1 + 1]
    assert bounds(report, 2) == [0, 5]
    assert bounds(report, 3) == [0.75, 0.25]


def test_requirements_of_every_kind_are_decided(folder: Path) -> None:
    text = asked(
        ("recall", "0.5", "worst_case >= 1 for 75% of images"),
        ("recall[car]", "0.5", "quantile(0.5, worst_case) >= 1"),
        ("missed", "0 to 2.1 points 2", "mean(worst_case) <= 0.8"),
        ("recall", "0.5", "mean(worst_case) >= 0.01 with confidence 95%"),
        ("recall", "0.5", "worst_case >= 1 for 30% of images with confidence 90%"),
        ("mean_average_precision(0.5 to 0.95)", "0 to 1 points 2", "worst_case >= 0.7"),
        ("average_precision(0.5 to 0.6)[truck]", "1", "worst_case >= 0.99"),
        ("mislabelled", "1", "worst_case <= 0 for all images"),
    )
    report = run(folder, "fixed", SPEC.format(properties=text))
    got = [p.label.split(",")[0] for p in report.properties]
    assert got == ["PROVED"] * 8
    assert bounds(report, 2) == [0, 1, 0, 1, 0, 1, 0, 0, 1, 1]
    # All cars that are found stay found at 1: 3 of 4 at a precision of 1, the truck at 1.
    (worst,) = {Fraction(c) for c in report.properties[5].images[0].certified if c is not None}
    assert Fraction(76, 101) / 2 + Fraction(1, 2) > worst > Fraction(876, 1000)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mean_average_precision(0.5 to 0.97)", "E0150"),
        ("mean_average_precision(0.95 to 0.5)", "E0150"),
        ("mean_average_precision(0 to 0.5)", "E0150"),
        ("recall(0.5 to 0.95)", "E0104"),
        ("coco_average_precision(0.5 to 0.95)", "E0104"),
        ("mean_average_precision(0.5 to nowhere)", "E0102"),
        ("mislabelled(1)", "E0104"),
    ],
)
def test_ranges_that_are_none_are_refused(name: str, code: str) -> None:
    found, diagnostics = compile_text(SPEC.format(properties=asked((name, "0.1", "worst_case >= 0.1"))))
    assert found is None
    assert code in {d.code for d in diagnostics}


def test_with_one_class_nothing_is_mislabelled() -> None:
    text = SPEC.format(properties=asked(("mislabelled", "0.1", "worst_case <= 1 for all images")))
    found, diagnostics = compile_text(text.replace("car, truck", "car").replace("scores [2, 16]", "scores [1, 16]"))
    assert found is None
    assert [d.code for d in diagnostics] == ["E0144"]
