"""|margin| / (sqrt 2 L) <= distance to the nearest <= ||X_c - X||, against nearest images that are known."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robspec.errors import SoundnessAlarm
from robspec.explanations.decision import Decision
from robspec.explanations.errors import AlreadyViolated, NoQuestion
from robspec.explanations.explain import Explained
from robspec.semantics.norm import LINF
from tests.examples import examples
from tests.explanations.networks import Linear, Pixelwise, Radial, asked, constant, explainer, subject

SHAPE = (1, 1, 3, 4)


def orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(columns, rows, generator=generator, dtype=torch.float64))[0].T.float()


def exact(found: Explained) -> float:
    """The distance of what was stored, by numpy."""
    assert found.found is not None
    change = found.found.pixels.astype(np.float64) - found.subject.image[0].numpy().astype(np.float64)
    size = float(np.abs(change).max() if found.question.norm == LINF else np.sqrt((change**2).sum()))
    assert size <= found.found.distance <= size * (1 + 1e-9) + 1e-300
    assert found.found.ratio <= found.question.lower / found.found.distance
    assert 0 <= found.found.pixels.min() <= found.found.pixels.max() <= 1
    return size


@given(st.integers(0, 10**6))
@settings(max_examples=examples(5))
def test_of_orthonormal_scores_the_nearest_change_is_found_and_proved(seed: int) -> None:
    """Of scores W x + b with orthonormal rows the nearest change is at margin / sqrt 2 exactly, so that q is 1."""
    generator = torch.Generator().manual_seed(seed)
    weight = orthonormal(4, 12, seed)
    image = 0.5 + 0.02 * torch.randn(SHAPE, generator=generator)
    bias = 0.05 * torch.randn(4, generator=generator) - weight @ image.flatten()
    found = explainer(Linear(weight, bias), Decision(), constant(), 4).explain(subject(image))
    scores = weight.double() @ image.flatten().double() + bias.double()
    best, second = scores.sort(descending=True)[0][:2].tolist()
    true = (best - second) / math.sqrt(2)
    assert found.question.lower <= true * (1 + 1e-5)
    assert true * (1 - 1e-4) <= exact(found) <= true * (1 + 1e-3)
    assert found.found is not None
    assert 1 - 1e-3 <= found.found.ratio <= 1


@given(st.integers(0, 10**6))
@settings(max_examples=examples(5))
def test_a_named_class_is_reached_at_the_price_of_entering_it(seed: int) -> None:
    """The least ||a|| with (z + a)_k >= (z + a)_j for all j, by brute force over which scores are lowered."""
    generator = torch.Generator().manual_seed(seed)
    weight = orthonormal(4, 12, seed)
    image = 0.5 + 0.02 * torch.randn(SHAPE, generator=generator)
    bias = 0.05 * torch.randn(4, generator=generator) - weight @ image.flatten()
    scores = (weight.double() @ image.flatten().double() + bias.double()).tolist()
    to = scores.index(min(scores))
    found = explainer(Linear(weight, bias), Decision(to), constant(), 4).explain(subject(image))
    others = [k for k in range(4) if k != to]
    costs = []
    for size in range(1, 4):
        for chosen in itertools.combinations(others, size):
            level = (scores[to] + sum(scores[k] for k in chosen)) / (size + 1)
            if all(scores[k] <= level + 1e-12 for k in others if k not in chosen):
                costs.append((level - scores[to]) ** 2 + sum((scores[k] - level) ** 2 for k in chosen))
    true = math.sqrt(min(costs))
    assert found.question.lower <= true * (1 + 1e-5)
    assert true * (1 - 1e-4) <= exact(found) <= true * 1.02
    assert found.reached is not None
    assert int(found.reached.argmax()) == to


@given(st.integers(0, 10**6))
@settings(max_examples=examples(5))
def test_any_linear_classifier_in_a_box(seed: int) -> None:
    """The nearest point of a half-space and a box is clip(x - t w), for the t at which it is on the boundary."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 12, generator=generator)
    image = torch.rand(SHAPE, generator=generator)
    bound = float(torch.linalg.matrix_norm(weight.double(), 2))
    bias = torch.zeros(2)
    found = explainer(Linear(weight, bias), Decision(), constant(bound)).explain(subject(image))
    x, scores = image.flatten().double(), weight.double() @ image.flatten().double()
    direction = (weight[0] - weight[1]).double() * (1 if scores[0] >= scores[1] else -1)
    low, high = 0.0, 1e4
    if float(direction @ (x - high * direction).clamp(0, 1)) > 0:
        assert found.found is None
        return
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(direction @ (x - middle * direction).clamp(0, 1)) > 0 else (low, middle)
    true = float(((x - high * direction).clamp(0, 1) - x).norm())
    assert found.question.lower <= true
    assert true * (1 - 1e-4) <= exact(found) <= true * (1 + 1e-3) + 1e-6


def test_a_class_out_of_the_range_is_not_found() -> None:
    """0 <= x <= 1 leaves a score of at most 12: no image is beyond, however near the bound says it may be."""
    module = Linear(torch.cat([torch.zeros(1, 12), torch.ones(1, 12)]), torch.tensor([13.0, 0.0]))
    found = explainer(module, Decision(1), constant(4)).explain(subject(torch.full(SHAPE, 0.5)))
    assert found.found is None
    assert 0 < found.question.lower < math.inf


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_a_ball_is_reached_along_its_radius(radius: float) -> None:
    """Of |x| - r the nearest zero is at | |x| - r |, and its gradient has norm 1 all the way."""
    image = 0.5 + 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)
    true = abs(float((image - 0.5).double().norm()) - radius)
    found = explainer(Radial(radius), Decision(), constant()).explain(subject(image))
    assert found.question.lower <= true * (1 + 1e-6)
    assert true * (1 - 1e-6) <= exact(found) <= true * (1 + 1e-4)
    assert found.found is not None
    assert found.found.ratio > 1 - Fraction(1, 1000)


class Net(nn.Module):
    def __init__(self, inputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.a = nn.Parameter(torch.randn(6, inputs, generator=generator))
        self.b = nn.Parameter(torch.randn(6, generator=generator))
        self.c = nn.Parameter(torch.randn(3, 6, generator=generator))

    def forward(self, image: Tensor) -> Tensor:
        hidden = (image.flatten(1) - 0.5) @ self.a.T + 0.2 * self.b
        pairs = hidden.unflatten(1, (3, 2))
        return torch.cat([pairs.amax(2), pairs.amin(2)], 1) @ self.c.T

    def bound(self) -> float:
        norms = [float(torch.linalg.matrix_norm(m.detach().double(), 2)) for m in (self.a, self.c)]
        return norms[0] * norms[1]


@given(st.integers(0, 10**6), st.integers(2, 3))
@settings(max_examples=examples(5))
def test_no_image_of_a_grid_is_nearer_than_proved(seed: int, inputs: int) -> None:
    """lower <= distance to the nearest, the nearest of every image of a grid among them."""
    module = Net(inputs, seed)
    image = torch.rand(1, 1, 1, inputs, generator=torch.Generator().manual_seed(seed))
    try:
        found = explainer(module, Decision(), constant(module.bound()), 3).explain(subject(image))
    except AlreadyViolated:
        pytest.fail("a decision is never other than itself")
    steps = torch.linspace(0, 1, 401 if inputs == 2 else 65)
    grid = torch.cartesian_prod(*[steps] * inputs)
    with torch.no_grad():
        decided = module(grid).argmax(1)
        present = module(image.flatten(1)).argmax(1)
    away = (grid - image.flatten()).double().norm(dim=1)[decided != present]
    if len(away):
        assert float(found.question.lower) <= float(away.min())
    if found.found is not None:
        assert found.question.lower <= found.found.distance
        assert len(away) == 0 or exact(found) <= 2.5 * float(away.min()) + 0.02


def test_a_constant_that_is_too_small_raises_the_alarm() -> None:
    """A find nearer than the certified bound is a contradiction, not a better answer."""
    image = torch.full(SHAPE, 0.5)
    module = Linear(orthonormal(2, 12, 0), torch.tensor([0.2, 0.0]))
    explainer(module, Decision(), constant()).explain(subject(image))
    with pytest.raises(SoundnessAlarm, match="E0901"):
        explainer(module, Decision(), constant(0.9)).explain(subject(image))


def test_on_a_tie_nothing_is_proved() -> None:
    """A tie counts as flipped: the closed ball contains the boundary, so the bound is 0 and so is q."""
    module = Linear(orthonormal(2, 12, 0), torch.zeros(2))
    found = explainer(module, Decision(), constant()).explain(subject(torch.zeros(SHAPE)))
    assert found.question.lower == 0
    assert found.found is not None
    assert found.found.ratio == 0 < found.found.distance


def test_a_decision_that_is_as_asked_is_refused() -> None:
    module = Linear(orthonormal(2, 12, 0), torch.tensor([9.0, 0.0]))
    with pytest.raises(AlreadyViolated, match="E0851"):
        explainer(module, Decision(0), constant()).explain(subject(torch.full(SHAPE, 0.5)))


@pytest.mark.parametrize(
    ("decision", "what"),
    [(Decision(4), "no class 4"), (Decision(0, (3, 0)), "no pixel 3,0"), (Decision(0, (0, 1)), "no pixel 0,1")],
)
def test_questions_about_nothing_are_refused(decision: Decision, what: str) -> None:
    module = Linear(orthonormal(4, 12, 0), torch.zeros(4))
    with pytest.raises(NoQuestion, match=what):
        explainer(module, decision, constant(), 4).explain(subject(torch.rand(SHAPE)))


def test_a_map_is_asked_at_a_pixel() -> None:
    image = torch.linspace(0.1, 0.9, 16).reshape(1, 1, 4, 4)
    with pytest.raises(NoQuestion, match="--pixel"):
        explainer(Pixelwise(), Decision(), constant()).explain(subject(image))
    found = explainer(Pixelwise(), Decision(1, (0, 2)), constant()).explain(subject(image))
    true = 0.5 - float(image[0, 0, 0, 2])
    assert found.question.lower <= true <= exact(found) <= true * (1 + 1e-3)
    assert found.changed is not None
    assert found.changed.nonzero().tolist() == [[0, 2]]
    assert torch.equal(found.flips, found.changed)


def shades(seed: int = 3) -> tuple[Tensor, Tensor]:
    """Grey values none of which is mid-grey, and labels of which three are wrong."""
    image = torch.rand((1, 1, 5, 6), generator=torch.Generator().manual_seed(seed))
    labels = (image[:, 0] > 0.5).long()
    labels.view(-1)[:3] = 1 - labels.view(-1)[:3]
    return image, labels


CONDITIONS = [
    "metric pixel_accuracy norm l2 degraded when h <= 0.6",
    "metric pixel_accuracy norm l2 degraded when h < 0.6",
    "metric stability norm l2 degraded when h <= 0.8",
    "metric recall[c1] norm l2 degraded when h <= 0.5",
    "metric fpr[c1] norm l2 degraded when h >= 0.4",
    "metric iou[c1] norm l2 degraded when h <= 0.4",
    "metric dice[c0] norm l2 degraded when h <= 0.8 * h0",
    "metric precision[c1] norm l2 degraded when h < 0.7",
    "metric mean_iou norm l2 degraded when h <= 0.5",
    "norm l2 degraded when pixel_accuracy <= 0.7 and stability <= 0.8",
    "norm l2 degraded when recall[c1] <= 0.3 or recall[c0] <= 0.5",
]


def fewest(image: Tensor, labels: Tensor, body: str) -> float:
    """The nearest image by brute force over how many dark and bright, right and wrong pixels change sides, cheapest
    first: no other choice can be nearer, as each pixel is flipped by itself and only its group counts."""
    grey, truth = image.flatten().double() - 0.5, labels.flatten()
    before = (grey > 0).long()
    groups = [
        sorted(torch.nonzero((truth == t) & (before == b)).flatten().tolist(), key=lambda i: abs(float(grey[i])))
        for t, b in itertools.product((0, 1), repeat=2)
    ]
    met = _meaning(body, before, truth)
    best = math.inf
    for counts in itertools.product(*(range(len(g) + 1) for g in groups)):
        flipped = [i for g, n in zip(groups, counts, strict=True) for i in g[:n]]
        after = before.clone()
        after[flipped] = 1 - after[flipped]
        cost = float((grey[flipped] ** 2).sum())
        if cost < best and met(after):
            best = cost
    return math.sqrt(best)


def _meaning(body: str, before: Tensor, truth: Tensor):
    def counts(p: Tensor, k: int) -> tuple[int, int, int, int]:
        return tuple(int(((p == k) == a)[(truth == k) == b].sum()) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0)))

    def f(top: int, below: int) -> Fraction:
        return Fraction(top, below) if below else Fraction(0)

    def accuracy(p: Tensor) -> Fraction:
        return f(int((p == truth).sum()), len(truth))

    def stability(p: Tensor) -> Fraction:
        return f(int((p == before).sum()), len(truth))

    def rate(name: str, k: int):
        def value(p: Tensor) -> Fraction:
            tp, fp, fn, tn = counts(p, k)
            pairs = {
                "recall": (tp, tp + fn),
                "fpr": (fp, fp + tn),
                "iou": (tp, tp + fp + fn),
                "dice": (2 * tp, 2 * tp + fp + fn),
                "precision": (tp, tp + fp),
            }
            return f(*pairs[name])

        return value

    return {
        CONDITIONS[0]: lambda p: accuracy(p) <= Fraction(3, 5),
        CONDITIONS[1]: lambda p: accuracy(p) < Fraction(3, 5),
        CONDITIONS[2]: lambda p: stability(p) <= Fraction(4, 5),
        CONDITIONS[3]: lambda p: rate("recall", 1)(p) <= Fraction(1, 2),
        CONDITIONS[4]: lambda p: rate("fpr", 1)(p) >= Fraction(2, 5),
        CONDITIONS[5]: lambda p: rate("iou", 1)(p) <= Fraction(2, 5),
        CONDITIONS[6]: lambda p: rate("dice", 0)(p) <= Fraction(4, 5) * rate("dice", 0)(before),
        CONDITIONS[7]: lambda p: rate("precision", 1)(p) < Fraction(7, 10),
        CONDITIONS[8]: lambda p: rate("iou", 0)(p) + rate("iou", 1)(p) <= 1,
        CONDITIONS[9]: lambda p: accuracy(p) <= Fraction(7, 10) and stability(p) <= Fraction(4, 5),
        CONDITIONS[10]: lambda p: rate("recall", 1)(p) <= Fraction(3, 10) or rate("recall", 0)(p) <= Fraction(1, 2),
    }[body]


@pytest.mark.parametrize("body", CONDITIONS)
def test_pixels_that_flip_by_themselves(body: str) -> None:
    """Where every pixel is free, the nearest is known by brute force, and the bound's flips are those to be made."""
    image, labels = shades()
    prop = asked(body, (5, 6))
    found = explainer(Pixelwise(), prop, constant()).explain(subject(image, labels))
    true = fewest(image, labels, body)
    assert found.question.lower <= true * (1 + 1e-9)
    assert true * (1 - 1e-6) <= exact(found) <= true * 1.02
    assert found.found is not None
    if "and" not in body and "mean" not in body:
        assert found.found.ratio >= Fraction(97, 100)


def test_in_linf_as_many_pixels_as_needed_move_by_the_same() -> None:
    image, labels = shades()
    prop = asked("metric pixel_accuracy norm linf degraded when h <= 0.6", (5, 6))
    found = explainer(Pixelwise(), prop, constant(30**0.5, LINF)).explain(subject(image, labels))
    right = (image[:, 0] > 0.5).long() == labels
    ordered = (image[:, 0] - 0.5).abs()[right].sort()[0]
    true = float(ordered[12 - 3 - 1])
    assert found.question.lower <= true
    assert true * (1 - 1e-6) <= exact(found) <= true * 1.02


def test_what_nothing_can_bring_about_is_said_to_be_out_of_reach() -> None:
    image, labels = shades()
    prop = asked("metric pixel_accuracy norm l2 degraded when h < 0", (5, 6))
    found = explainer(Pixelwise(), prop, constant()).explain(subject(image, labels))
    assert (found.question.lower, found.found) == (math.inf, None)


def test_a_requirement_that_fails_already_leaves_q_undefined() -> None:
    image, labels = shades()
    prop = asked("metric pixel_accuracy norm l2 degraded when h <= 0.9", (5, 6))
    with pytest.raises(AlreadyViolated, match="q is undefined"):
        explainer(Pixelwise(), prop, constant()).explain(subject(image, labels))


def test_a_metric_that_is_undefined_is_no_question() -> None:
    image, labels = shades()
    prop = asked("metric recall[c1] norm l2 degraded when h <= 0.5", (5, 6))
    with pytest.raises(NoQuestion, match="undefined on this image"):
        explainer(Pixelwise(), prop, constant()).explain(subject(image, torch.zeros_like(labels)))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("metric pooled iou[c1] norm l2 degraded when h <= 0.5", "one number for all images"),
        ("metric pixel_accuracy norm l1 degraded when h <= 0.5", "not in l1"),
    ],
)
def test_what_is_no_question_of_one_image(body: str, what: str) -> None:
    image, labels = shades()
    prop = asked(body, (5, 6))
    with pytest.raises(NoQuestion, match=what):
        explainer(Pixelwise(), prop, constant()).explain(subject(image, labels))


def test_the_same_seed_finds_the_same_image() -> None:
    module = Net(12, 5)
    one, two = (
        explainer(module, Decision(), constant(module.bound()), 3).explain(subject(torch.full(SHAPE, 0.4)))
        for _ in range(2)
    )
    assert one.found is not None
    assert two.found is not None
    assert one.found.distance == two.found.distance
    assert np.array_equal(one.found.pixels, two.found.pixels)
