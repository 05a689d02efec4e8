"""Certificates against attacks on whole models: the true worst case where it is computable, a search where it is not.

Both models are float64 and given to the bound with a constant that is decided here, not proved by robspec.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.bounds import FamilyBound, open_bound
from robspec.bounds.context import Context
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from tests.bounds.language import metric
from tests.examples import examples
from tests.kernels.oracle import predict
from tests.property.meaning import value
from tests.property.questions import CPU, IGNORED, TEXTS, asked, sense

F = Fraction


def bound_of(text: str, classes: int, logits: torch.Tensor, labels: list[int], lipschitz: Fraction) -> FamilyBound:
    """Open a metric's bound on one image of float64 logits [K, pixels]."""
    seen = Context(CPU, logits.reshape(1, classes, 1, -1), torch.tensor(labels).reshape(1, 1, -1), IGNORED)
    return open_bound(metric(text, classes), seen, Constant(lipschitz, L2, L2, ConstantStatus.PROVED))


@dataclass(frozen=True)
class Linear:
    """Two classes, one linear map of two channels for each pixel; everything a small dyadic rational.

    Args:
        weight: 2 x 2, logits = weight x pixel + bias.
        bias: of the two classes.
        pixels: the clean image.
        labels: its annotation.
    """

    weight: tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]
    bias: tuple[Fraction, Fraction]
    pixels: tuple[tuple[Fraction, Fraction], ...]
    labels: tuple[int, ...]

    def logits(self) -> list[tuple[Fraction, Fraction]]:
        """Exact logits."""
        (a, b), (c, d) = self.weight
        return [(a * x + b * y + self.bias[0], c * x + d * y + self.bias[1]) for x, y in self.pixels]

    def constant(self) -> Fraction:
        """A double no smaller than the spectral norm: L^2 I - W W' is positive semi-definite, decided exactly."""
        (a, b), (c, d) = self.weight
        p, q, r = a * a + b * b, a * c + b * d, c * c + d * d
        norm = math.sqrt(float(p + r + F(math.sqrt(float((p - r) ** 2 + 4 * q * q)))) / 2)
        while (s := F(norm) ** 2) < max(p, r) or (s - p) * (s - r) < q * q:
            norm = math.nextafter(norm, math.inf)
        return F(norm)

    def worst(self, text: str, eps: Fraction) -> Fraction | None:
        """The true worst value: to flip a pixel its margin must be crossed along the difference of the rows."""
        logits = self.logits()
        slope = sum(((u - v) ** 2 for u, v in zip(*self.weight, strict=True)), F(0))
        clean = [predict([float(z) for z in row]) for row in logits]
        prices = [(row[0] - row[1]) ** 2 for row in logits]
        found = []
        for flips in itertools.product((False, True), repeat=len(clean)):
            spent = sum((price for price, flip in zip(prices, flips, strict=True) if flip), F(0))
            # With slope 0 a pixel flips only if it is tied, and then only by being called so: leave it as it is.
            if (spent <= eps * eps * slope) if slope else not any(flips):
                predicted = [1 - c if flip else c for c, flip in zip(clean, flips, strict=True)]
                found.append(value(text, list(self.labels), clean, predicted))
        if None in found:
            return None
        worst = max if metric(text, 2).lower_is_better else min
        return worst(v for v in found if v is not None)


EIGHTH = st.integers(-16, 16).map(lambda n: F(n, 8))
TWO = st.tuples(EIGHTH, EIGHTH)
LINEAR = st.builds(
    lambda w, b, image: Linear(w, b, tuple(p for p, _ in image), tuple(y for _, y in image)),
    st.tuples(TWO, TWO),
    TWO,
    st.lists(st.tuples(TWO, st.sampled_from([0, 1, 1, 0, IGNORED])), min_size=1, max_size=7),
)
BINARY = [t.replace("[c0, c2]", "[c0]").replace("[c0, c1]", "[c1]") for t in TEXTS]


class TestLinearModel:
    """We certify a LOWER bound of the minimum over the ball of h(f(X'), Y)."""

    @pytest.mark.parametrize("text", BINARY)
    @settings(max_examples=examples(15))
    @given(model=LINEAR, eps=st.fractions(0, 2, max_denominator=16))
    def test_the_truth_is_never_worse(self, text: str, model: Linear, eps: Fraction) -> None:
        logits = torch.tensor([[float(z) for z in row] for row in model.logits()], dtype=torch.float64).T
        certified = bound_of(text, 2, logits, list(model.labels), model.constant()).worst_case([eps])[0][0]
        truth = model.worst(text, eps)
        assert (certified is None) == (truth is None)
        if certified is not None and truth is not None:
            sign = -1 if metric(text, 2).lower_is_better else 1
            assert sign * certified <= sign * truth

    @pytest.mark.parametrize("text", ["pixel_accuracy", "iou[c1]", "dice[c0]", "fnr[c1]", "precision[c1]"])
    @settings(max_examples=examples(15))
    @given(model=LINEAR, eps=st.fractions(0, 2, max_denominator=16))
    def test_an_antisymmetric_map_is_certified_exactly(self, text: str, model: Linear, eps: Fraction) -> None:
        """Rows w and -w: the margin moves by 2 |w| per unit, the logits by sqrt 2 |w|; relaxing loses nothing."""
        row = model.weight[0]
        model = Linear((row, (-row[0], -row[1])), model.bias, model.pixels, model.labels)
        if row == (0, 0):
            return
        logits = torch.tensor([[float(z) for z in row] for row in model.logits()], dtype=torch.float64).T
        bound = bound_of(text, 2, logits, list(model.labels), model.constant())
        certified, truth = bound.worst_case([eps])[0][0], model.worst(text, eps)
        wider = model.worst(text, eps * (1 + F(1, 2**16)) + F(1, 2**30))
        if certified is not None and truth is not None and wider is not None:
            sign = -1 if metric(text, 2).lower_is_better else 1
            assert sign * wider <= sign * certified <= sign * truth


SIDE, CHANNELS, CLASSES = 3, 2, 3


class Small(torch.nn.Module):
    """Two convolutions with a 1-Lipschitz activation between; the constant is the product of two dense norms."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Conv2d(CHANNELS, 4, 3, padding=1).double()
        self.second = torch.nn.Conv2d(4, CLASSES, 1).double()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, H, W] of images [B, C, H, W]."""
        logits: torch.Tensor = self.second(torch.relu(self.first(image)))
        return logits

    def constant(self) -> Fraction:
        """A bound on ||W1|| ||W2||: dense singular values, and a margin far beyond their rounding."""
        bound = 1.0
        for layer, channels in ((self.first, CHANNELS), (self.second, 4)):
            basis = torch.eye(channels * SIDE**2, dtype=torch.float64).reshape(-1, channels, SIDE, SIDE)
            offset = layer(torch.zeros_like(basis[:1]))
            columns = (layer(basis) - offset).reshape(len(basis), -1)
            bound *= float(torch.linalg.matrix_norm(columns, 2)) * (1 + 1e-12)
        return F(bound)


def attacks(model: Small, image: torch.Tensor, labels: torch.Tensor, eps: float) -> Iterator[torch.Tensor]:
    """Perturbed images inside the ball, by projected gradient steps on the summed margins and on single pixels."""
    generator = torch.Generator().manual_seed(0)
    focus = [torch.ones(SIDE * SIDE), *torch.eye(SIDE * SIDE)[:: max(SIDE, 1)]]
    for weights in focus:
        delta = torch.randn(image.shape, generator=generator, dtype=torch.float64)
        for _ in range(4):
            delta = delta * (eps * (1 - 1e-9) / max(float(delta.norm()), 1e-300))
            moved = (image + delta).detach().requires_grad_(True)
            logits = model(moved).reshape(CLASSES, -1)
            own = logits.gather(0, labels.clamp(0, CLASSES - 1).reshape(1, -1))[0]
            others = logits.scatter(0, labels.clamp(0, CLASSES - 1).reshape(1, -1), -math.inf).amax(0)
            loss = (torch.relu(own - others + 1e-3) * weights).sum()
            (slope,) = torch.autograd.grad(loss, moved)
            yield moved.detach()
            delta = delta - slope * (eps / max(float(slope.norm()), 1e-300))
        yield image + delta * (eps * (1 - 1e-9) / max(float(delta.norm()), 1e-300))


class TestAttacks:
    """A certified bound above an attacked value on the same image is a soundness alarm."""

    @settings(max_examples=examples(8))
    @given(
        seed=st.integers(0, 9999),
        labels=st.lists(st.sampled_from([0, 1, 2, 1, 0, 2, IGNORED]), min_size=SIDE**2, max_size=SIDE**2),
        trust=st.booleans(),
        eps=st.floats(0.0, 1.5, width=16),
    )
    def test_nothing_inside_the_ball_beats_the_certificate(
        self, seed: int, labels: list[int], trust: bool, eps: float
    ) -> None:
        model = Small(seed)
        image = torch.rand(1, CHANNELS, SIDE, SIDE, dtype=torch.float64)
        with torch.no_grad():
            logits, constant = model(image), model.constant()
        clean = logits.argmax(1).flatten().tolist()
        if trust:  # a model that is right everywhere has the most to lose
            labels = [p if y != IGNORED else y for p, y in zip(clean, labels, strict=True)]
        certified = {
            text: bound_of(text, CLASSES, logits[0].reshape(CLASSES, -1), labels, constant).worst_case([F(eps)])[0][0]
            for text in TEXTS
        }
        for moved in attacks(model, image, torch.tensor(labels), eps):
            assert float((moved - image).norm()) <= eps
            with torch.no_grad():
                found = model(moved).argmax(1).flatten().tolist()
            for text, low in certified.items():
                attained = value(text, labels, clean, found)
                assert (attained is None) == (low is None), text
                if attained is not None and low is not None:
                    assert sense(text) * low <= sense(text) * attained, text


def test_the_clean_values_here_are_robspecs() -> None:
    """The definitions above are read by two sides: they must mean the same metric."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        logits = torch.randn(CLASSES, 7, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, CLASSES, (7,), generator=generator).tolist()
        clean = logits.argmax(0).tolist()
        for text in TEXTS:
            assert bound_of(text, CLASSES, logits, labels, F(1)).clean() == [value(text, labels, clean, clean)], text
            assert asked(text) == metric(text, CLASSES)
