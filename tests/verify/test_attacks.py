"""Every attack on linear maps whose worst case is known: near it, and never beyond what is certified."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robspec.api import check
from robspec.semantics.norm import L1, L2, LINF, Norm
from robspec.verify import attacks, balls
from robspec.verify.attacks._hunt import Hunt, shortened
from robspec.verify.descent import distance_up, fitted
from robspec.verify.goals import cheapest
from tests.cli.conftest import Brightness, export, write_images

NORMS = st.sampled_from([L1, L2, LINF])
CHANGES = st.lists(st.floats(-2, 2, width=32), min_size=12, max_size=12)


class Pixels(torch.nn.Module):
    """Logits (0, x): one channel, each pixel by itself, so that the margin of a pixel is its distance from 0."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """See `robspec.verify.descent.Differentiable`."""
        return torch.cat([torch.zeros_like(images), images], 1)

    def differentiable(self, images: torch.Tensor) -> torch.Tensor:
        """See `robspec.verify.descent.Differentiable`."""
        return self.logits(images)


class Share:
    """The share of positive pixels, minus a threshold."""

    def __init__(self, threshold: torch.Tensor) -> None:
        self.threshold = threshold

    def margins(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, 1].flatten(1)

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        return (self.margins(logits) > 0).double().mean(1) - self.threshold

    def soft(self, logits: torch.Tensor, scale: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        right = torch.sigmoid(self.margins(logits).double() / scale[:, None])
        return (right * chosen).mean(1) - self.threshold

    def rows(self, places: torch.Tensor) -> Share:
        return Share(self.threshold[places])


CLEAN = torch.linspace(0.2, 0.9, 16, dtype=torch.float32).reshape(1, 1, 4, 4)
ORDERED = CLEAN.flatten().double().numpy()


def cost(count: int, norm: Norm) -> float:
    """How far the image has to move for its `count` cheapest pixels to be at 0."""
    return float(np.linalg.norm(ORDERED[:count], {L1: 1, L2: 2, LINF: np.inf}[norm]))


def hunt(norm: Norm, eps: float, aim: int, steps: int, threshold: float = 0.0) -> Hunt:
    return Hunt(
        Pixels(),
        CLEAN,
        torch.zeros_like(CLEAN),
        Share(torch.tensor([threshold], dtype=torch.float64)),
        torch.tensor([float(aim)], dtype=torch.float64),
        norm,
        torch.tensor([eps], dtype=torch.float64),
        steps,
        (-1.0, 1.0),
        lambda: False,
    )


@pytest.mark.parametrize("name", attacks.names())
def test_every_method_names_its_source_and_is_in_the_table(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "attacks.md"
    assert f"\n| `{name}` |" in page.read_text(encoding="utf-8")
    assert "Source:" in (attacks.load(name).search.__doc__ or "")


@pytest.mark.parametrize("norm", [L1, L2, LINF])
@pytest.mark.parametrize("name", attacks.names())
def test_within_a_ball_the_cheapest_pixels_are_lost(name: str, norm: Norm) -> None:
    """With a hundredth more budget than six pixels cost, six are lost and never seven."""
    asked = hunt(norm, cost(6, norm) * 1.01, 6, 200)
    found = attacks.load(name).search(asked)
    assert float(balls.sizes(found - CLEAN, norm)) <= float(asked.eps)
    lost = int((found <= 0).sum())
    # A fixed mask and sparse steps and a norm that breathes share the budget less well; the default is exact.
    least = 6 if name in ("pgd", "bisection") else 1 if norm == L1 or name == "asma" else 4
    assert least <= lost <= 6, lost


@pytest.mark.parametrize("norm", [L1, L2, LINF])
@pytest.mark.parametrize("name", [n for n in attacks.names() if attacks.load(n).smallest])
def test_the_smallest_change_is_found(name: str, norm: Norm) -> None:
    """No method does better than the truth; bisection comes within a hundredth of it."""
    asked = hunt(norm, float("inf"), 6, 400, threshold=10 / 16)
    found = shortened(asked, attacks.load(name).search(asked))
    assert int((found <= 0).sum()) >= 6, name
    far = float(balls.sizes(found - CLEAN, norm)) / cost(6, norm)
    assert far >= 1, (name, far)
    near = 1.01 if name == "bisection" else 3.0
    assert far <= near, (name, far)


@pytest.mark.parametrize("norm", [L1, L2, LINF])
@pytest.mark.parametrize(("lost", "steps"), [(12, 40), (96, 40), (40, 160)])
def test_a_hundredth_is_enough_on_larger_maps(norm: Norm, lost: int, steps: int) -> None:
    """192 independent pixels, in l1 too, where a sparse step moves eight of them."""
    clean = 0.2 + 0.7 * torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    goal = Share(torch.tensor([1 - lost / 192], dtype=torch.float64))
    aim = torch.tensor([float(lost)], dtype=torch.float64)
    asked = replace(hunt(norm, math.inf, lost, steps), clean=clean, start=torch.zeros_like(clean), goal=goal, aim=aim)
    found = shortened(asked, attacks.load("bisection").search(asked))
    assert int((found <= 0).sum()) >= lost
    cheapest_ones = clean.flatten().sort().values[:lost].double().numpy()
    true = float(np.linalg.norm(cheapest_ones, {L1: 1, L2: 2, LINF: np.inf}[norm]))
    assert 1 <= float(balls.sizes(found - clean, norm)) / true <= 1.01


def test_no_slope_is_no_step() -> None:
    slope = torch.tensor([[0.0, 0.0], [1e-30, 0.0]]).reshape(2, 1, 1, 2)
    step = balls.straight(torch.ones(2, dtype=torch.float64), slope)
    moved = slope * balls.spread(step).float()
    assert bool(torch.isfinite(moved).all())
    assert moved[0].tolist() == [[[0.0, 0.0]]]


@given(CHANGES)
def test_a_straight_step_ends_where_independent_squares_vanish(values: list[float]) -> None:
    """Of a sum of squares of entries, each by its own, the step leads to 0; of any linear map it never leads away."""
    at = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 3, 4)
    squares = (at**2).sum((1, 2, 3))
    step = balls.straight(squares, 2 * at)
    assert float((at - balls.spread(step) * 2 * at).abs().max()) < 1e-9
    matrix = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(3, 12)
    wrong = matrix @ at.flatten()
    slope = (2 * matrix.T @ wrong).reshape(1, 1, 3, 4)
    ended = at - balls.spread(balls.straight((wrong**2).sum()[None], slope)) * slope
    # Nearer to every point where the map is 0, such as the origin.
    assert float(ended.norm()) <= float(at.norm()) + 1e-9


@given(NORMS, CHANGES, st.floats(0.001, 5))
def test_projections_are_nearest_points(norm: Norm, change: list[float], eps: float) -> None:
    """Inside the ball, and what is left over is normal to it: <x - p, y - p> <= 0 for the ball's points y."""
    given_ = torch.tensor(change, dtype=torch.float64).reshape(1, 1, 3, 4)
    radius = torch.tensor([eps], dtype=torch.float64)
    put = balls.inside(given_, radius, norm)
    assert float(balls.sizes(put, norm)) <= eps * (1 + 1e-12)
    left = given_ - put
    dual = {L1: LINF, L2: L2, LINF: L1}[norm]
    # The largest <left, y> over the ball is eps times the dual norm.
    assert eps * float(balls.sizes(left, dual)) - float((left * put).sum()) <= 1e-9 * (1 + eps)


@given(NORMS, CHANGES, st.floats(0.001, 3))
def test_a_steepest_step_has_length_one_and_climbs(norm: Norm, slope: list[float], length: float) -> None:
    given_ = torch.tensor(slope, dtype=torch.float64).reshape(1, 1, 3, 4)
    step = balls.steepest(given_, norm)
    if bool(given_.abs().max() > 1e-6):
        assert abs(float(balls.sizes(step, norm)) - 1) < 1e-9
        assert float((given_ * step).sum()) > 0
    shorter = balls.shrunk(given_, torch.tensor([length * balls.weight(given_, norm)]).double(), norm)
    assert float(balls.sizes(shorter, norm)) <= float(balls.sizes(given_, norm))


@given(NORMS, CHANGES, st.fractions(Fraction(1, 10**7), 3))
def test_images_are_rounded_into_their_ball(norm: Norm, change: list[float], eps: Fraction) -> None:
    clean = np.linspace(0, 1, 12, dtype=np.float32)
    image = (clean + np.array(change, dtype=np.float32)).astype(np.float32)
    put = fitted(image, clean, eps, norm)
    assert distance_up(put, clean, norm) <= eps
    exact = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(put, clean, strict=True)]
    assert {L1: sum(exact), LINF: max(exact)}.get(norm, Fraction(0)) <= eps
    if norm == L2:
        assert sum(e * e for e in exact) <= eps * eps
    far = distance_up(image, clean, norm)
    if eps > Fraction(1, 100) and far > eps:
        assert distance_up(put, clean, norm) >= eps * Fraction(98, 100)


def test_the_cheapest_pixels_are_those_that_come_next() -> None:
    margins = torch.tensor([[0.3, -0.1, 0.0, 0.1, 0.2], [1.0, 2.0, 3.0, 4.0, 5.0]])
    chosen = cheapest(margins, torch.tensor([2.0, 9.0]))
    assert chosen.tolist() == [[False, True, False, True, False], [True] * 5]


SPEC = """language 1
model {
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes dark, bright
}
data val {
  images "images/*.png"
  masks "masks/*.png"
}
"""
WORST = "property p {{\n  metric {}\n  norm l2\n  budget {}\n  require {}\n}}\n"
RADIUS = "property p {{\n  metric {}\n  norm l2\n  degraded when {}\n  require radius >= {} for all images\n}}\n"


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear map of slope 1 in l2 along the difference of its logits: what is certified is the truth."""
    root = tmp_path_factory.mktemp("linear")
    write_images(root)
    export(Brightness(), root / "bright.pt2")
    return root


def asked(bright: Path, text: str, **options: object) -> object:
    (bright / "s.rspec").write_text(SPEC + text)
    return check(bright / "bright.pt2", bright / "s.rspec", **options)


def test_attacks_come_within_a_hundredth_of_an_exact_certificate(bright: Path) -> None:
    """One image at a time: what is attained with one per cent more budget is what is certified or worse."""
    text = WORST.format("pixel_accuracy", "2 to 2.02 points 2", "mean(worst_case) >= 0.99")
    report = asked(bright, text, attack=60, attack_all=True)
    for image in report.properties[0].images:
        assert image.certified[0] <= image.attained[0]
        assert image.certified[1] <= image.attained[1] <= image.certified[0]


def test_radii_are_refuted_by_images_nearer_than_asked(bright: Path) -> None:
    text = RADIUS.format("pixel_accuracy", "h <= 0.8", "4")
    report = asked(bright, text, attack=160)
    (found,) = report.properties
    assert found.label == "REFUTED"
    for image in found.images:
        assert image.certified[0] <= image.attained[0] <= image.certified[0] * Fraction(101, 100)
        assert image.attacks[0].distance == image.attained[0]


@pytest.mark.parametrize(("norm", "steps", "near"), [("l2", 40, 1.01), ("linf", 40, 1.01), ("l1", 400, 1.03)])
def test_radii_found_are_near_the_true_ones(bright: Path, norm: str, steps: int, near: float) -> None:
    """A pixel is wrong once its sum of channels is brought to 1.5; the cheapest fifth of all is the way to 0.8."""
    text = RADIUS.format("pixel_accuracy", "h <= 0.8", "40").replace("norm l2", f"norm {norm}")
    (found,) = asked(bright, text, attack=steps).properties
    for image in found.images:
        pixels = np.asarray(Image.open(bright / image.image)).astype(np.float64) / 255
        labels = np.asarray(Image.open(bright / "masks" / Path(image.image).name))
        sums = (pixels - 0.5).sum(2)
        right = (sums > 0) == (labels == 1)
        need = math.ceil(0.2 * labels.size) - int((~right).sum())
        costs = np.sort(np.abs(sums[right]))[:need]
        truth = {"l1": costs.sum(), "l2": math.sqrt((costs**2).sum() / 3), "linf": costs.max() / 3}[norm]
        assert truth * (1 - 1e-5) <= float(image.attained[0]) <= truth * near


@pytest.mark.parametrize("joined", ["and", "or"])
def test_combined_conditions_are_met_by_images_nearer_than_asked(bright: Path, joined: str) -> None:
    text = RADIUS.format("pixel_accuracy", f"h <= 0.9 {joined} recall[bright] <= 0.7", "6")
    (found,) = asked(bright, text, attack=160).properties
    assert found.label == "REFUTED"
    nearer = [image for image in found.images if image.attacks and image.attacks[0]]
    assert nearer
    for image in nearer:
        assert image.certified[0] <= image.attained[0] < 6
        assert image.attacks[0].distance == image.attained[0]


def test_only_what_is_undecided_is_attacked(bright: Path) -> None:
    """An image whose certificate meets what is asked of all is left alone, and a proved property altogether."""
    text = WORST.format("pixel_accuracy", "0.5", "worst_case >= 0.5 for all images")
    report = asked(bright, text, attack=5)
    assert report.properties[0].label == "PROVED"
    assert report.attack_searches == 0
    assert asked(bright, text, attack=5, attack_all=True).attack_searches == 4
    text = WORST.format("pixel_accuracy", "1.5", "worst_case >= 0.98 for all images")
    report = asked(bright, text, attack=5)
    assert 0 < report.attack_searches <= 4


def test_the_answer_is_the_same_whatever_the_batch(bright: Path) -> None:
    text = WORST.format("iou[bright]", "1.5", "mean(worst_case) >= 0.95")
    found = []
    for size in (1, 3):
        report = asked(
            bright, text, attack=6, attack_restarts=2, attack_methods=("pgd", "dag"), attack_all=True, batch_size=size
        )
        found.append([i.attained for i in report.properties[0].images])
    assert found[0] == found[1]


def test_when_the_time_is_up_what_was_found_counts(bright: Path) -> None:
    text = WORST.format("pixel_accuracy", "2", "mean(worst_case) >= 0.9")
    report = asked(bright, text, attack=6, attack_seconds=1e-9)
    assert report.exit_status() == 3
    (note,) = [r for r in report.remarks if r.code == "attack-out-of-time"]
    assert note.figures == {"searches": 4, "finished": 0}
    assert "the 1e-09 seconds of --attack-seconds were over after 0 of 4 searches" in note.text


def test_a_pooled_metric_of_segmentation_is_attacked(bright: Path) -> None:
    text = WORST.format("pooled iou[bright]", "2", "worst_case >= 0.99")
    report = asked(bright, text, attack=20)
    (whole,) = report.properties[0].images
    assert whole.certified[0] <= whole.attained[0] < whole.clean


def test_an_unknown_method_is_one_error(bright: Path) -> None:
    with pytest.raises(Exception, match="E0601") as caught:
        asked(
            bright, WORST.format("pixel_accuracy", "2", "mean(worst_case) >= 0.9"), attack=1, attack_methods=("pg",)
        )
    assert "did you mean `pgd`?" in str(caught.value)
