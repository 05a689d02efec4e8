"""What one sample adds to a private step, as the integers that are summed: climbed by image, labels and weights, it
is never above what the card charges for, and the limit that integers are brought below is never needed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robspec.lipschitz import directed
from robspec.models.lipnets.patches import PlainWeights
from robspec.train import private as private_steps
from robspec.train.building import build
from robspec.train.config import Config, read_config
from robspec.train.fixed import Floats
from robspec.train.private import PrivateSteps
from tests.train.autograd import sample_losses

TEXT = """
[run]
epochs = 1
batch = 4
threads = 1
[model]
architecture = "patches"
channels = {channels}
depths = {depths}
activation = "{activation}"
mean = {mean}
std = {std}
[data]
input = {shape}
classes = ["a", "b", "c"]
{source}
[loss]
tau = {tau}
margin = {margin}
[privacy]
noise = 2.0
norm_bound = {norm}
bias_bound = {shift}
accounting = "{accounting}"
"""
MASKS = "train_scenes = 1\nval_scenes = 1"
LABELS = 'train_images = "a"\ntrain_labels = "by folder"\nval_images = "b"\nval_labels = "by folder"'
CASES = {
    "one stage": ([4], [1], "maxmin", [1, 4, 4], MASKS, 10, 0.0, 3, 0.5, "layers"),
    "two stages": ([4, 6], [1, 0], "maxmin", [3, 8, 8], MASKS, 20, 0.2, 15, 0.0, "global"),
    "sorted": ([6, 6], [0, 1], "groupsort3", [2, 4, 4], MASKS, 5, 0.0, 2, 0.3, "global"),
    "whole images": ([4], [1], "maxmin", [1, 6, 10], LABELS, 100, 0.1, 1e-3, 1e-4, "layers"),
    "one matrix": ([], [], "maxmin", [3, 5, 4], LABELS, 0.1, 0.0, 1000, 10.0, "layers"),
}
WEIGHTS = ("drawn", "aligned", "shifted", "as large as may be")
SIZE, PLANNED = 16, 200


class Climb:
    """Looks for the image, the labels and the weights whose integers are the largest, parameter by parameter."""

    def __init__(self, name: str, folder: Path) -> None:
        channels, depths, activation, self.shape, source, tau, margin, norm, shift, accounting = CASES[name]
        text = TEXT.format(
            channels=channels,
            depths=depths,
            activation=activation,
            mean=[0.5] * self.shape[0],
            std=[0.7] * self.shape[0],
            shape=self.shape,
            source=source,
            tau=tau,
            margin=margin,
            norm=norm,
            shift=shift,
            accounting=accounting,
        )
        (folder / "config.toml").write_text(text)
        self.config: Config = read_config(folder / "config.toml")
        self.norm, self.shift = float(norm), float(shift)
        self.rng = torch.Generator().manual_seed(1)
        torch.manual_seed(0)
        network = build(self.config)
        assert isinstance(network, PlainWeights)
        self.network = network
        bits = np.random.default_rng(0).bytes
        self.private = PrivateSteps(self.config, network, SIZE, PLANNED, folder, 0, {}, bits=bits)
        self.places = (1, 1) if source is LABELS else tuple(self.shape[1:])
        self.card = self.private.card()
        self.names = [row["parameter"] for row in self.card["layers"]]
        self.charged = [directed.mul(row["sensitivity"], self.card["allowance"]) for row in self.card["layers"]]

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)

    def labels(self, *shape: int) -> Tensor:
        return torch.randint(-1, 3, (*shape, *self.places), generator=self.rng)

    def image(self, normalised: Tensor, size: float) -> Tensor:
        """An image that is so large once it is normalised."""
        scaled = normalised * (size * self.norm / normalised.norm().clamp_min(1e-30))
        return scaled / self.network.inverse[0] + self.network.mean[0]

    def shares(self, images: Tensor, labels: Tensor) -> Floats:
        """The norms of decoded integers of samples [P, B], over what is charged; the largest are judged exactly."""
        found = np.zeros((len(self.names), len(images)))
        for position, values, unit in self.private._fixed.gradients(images, labels):
            found[position] = np.sqrt(np.square(values).sum(axis=1)) * unit / self.charged[position]
        for k in set(found.argmax(axis=1).tolist()):
            self.judge(images[k : k + 1], labels[k : k + 1])
        return found

    def judge(self, image: Tensor, label: Tensor) -> None:
        """In rationals: of one sample the integers as they are computed, as they are summed, and all together."""
        for position, values, unit in self.private._fixed.gradients(image, label):
            assert squares(values[0]) * Fraction(unit) ** 2 <= Fraction(self.charged[position]) ** 2, position
        self.judge_sum(image, label)

    def judge_sum(self, image: Tensor, label: Tensor) -> Fraction:
        grid, total = self.private.grid(), Fraction(0)
        whole = np.split(self.private.summed(image, label, grid), np.cumsum(grid.sizes)[:-1])
        for part, step, row, charged in zip(whole, grid.steps, self.card["layers"], self.charged, strict=True):
            size = squares(part) * Fraction(step) ** 2
            assert size <= Fraction(charged) ** 2, row["parameter"]
            total += size / Fraction(row["noise"]) ** 2
        # In units of the noise: what the accountant was told that a sample changes, at most.
        share = total * Fraction(self.card["noise_multiplier"]) ** 2
        assert share <= 1
        return share

    def uphill(self, image: Tensor, label: Tensor, name: str) -> tuple[Tensor, list[Tensor]]:
        """Where autograd's float32 thinks that the gradient in a parameter grows, by image and weights."""
        x, named = image.clone().requires_grad_(), dict(self.network.body.named_parameters(prefix="body"))
        value = sample_losses(self.network, self.config, x[None], label[None]).sum()
        (slope,) = torch.autograd.grad(value, named[name], create_graph=True)
        into = [x, *named.values()]
        if not slope.requires_grad:
            return torch.zeros_like(image), [torch.zeros_like(w) for w in named.values()]
        found = torch.autograd.grad(slope.square().sum(), into, allow_unused=True)
        first, *rest = [torch.zeros_like(w) if g is None else g for g, w in zip(found, into, strict=True)]
        return first, rest

    def starts(self) -> tuple[Tensor, Tensor]:
        flat, single = torch.ones(self.shape), torch.zeros(self.shape)
        single.view(-1)[single.numel() // 2] = 1
        kinds = [flat, -flat, single, -single, *self.random(6, *self.shape)]
        images = [self.image(kind, size) for kind in kinds for size in (0.0, 1.0, 1e3)]
        return self.each_label(torch.stack(images))

    def each_label(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images with one class everywhere, with the class that is the furthest from right, and with any."""
        count = len(images)
        with torch.no_grad():
            logits = self.network(images).reshape(count, 3, *self.places)
        same = [torch.full((count, *self.places), label) for label in range(3)]
        kinds = [*same, logits.argmin(dim=1), self.labels(count)]
        return images.repeat(len(kinds), 1, 1, 1), torch.cat(kinds)

    def near(self, image: Tensor, label: Tensor, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Samples near one, uphill and anywhere."""
        x = (image - self.network.mean[0]) * self.network.inverse[0]
        x, direction = x / x.norm().clamp_min(1e-30), self.uphill(image, label, name)[0]
        direction = direction / direction.norm().clamp_min(1e-30)
        moved = [x + step * direction for step in (0.03, 0.3, 1.0, 10.0)]
        moved += [x + step * self.random(*self.shape) / x.numel() ** 0.5 for step in (0.01, 0.1, 1.0)]
        images = torch.stack([self.image(each, 1.0 + 1e-4) for each in [x, *moved]])
        yield images, label.expand(len(images), *label.shape)
        yield self.each_label(images)
        flipped = torch.where(self.random(8, *self.places) > 1, self.labels(8), label)
        yield images, flipped

    def samples(self, rounds: int = 5) -> dict[str, float]:
        """Climb with the weights as they are; the share of each parameter that was reached."""
        images, labels = self.starts()
        found = self.shares(images, labels)
        self.best = {name: (images[k], labels[k]) for name, k in zip(self.names, found.argmax(axis=1), strict=True)}
        reached = dict(zip(self.names, found.max(axis=1).tolist(), strict=True))
        for _ in range(rounds):
            pairs = [pair for name in self.names for pair in self.near(*self.best[name], name)]
            images, labels = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
            found = self.shares(images, labels)
            for row, name in zip(found, self.names, strict=True):
                if row.max() > reached[name]:
                    reached[name], self.best[name] = float(row.max()), (images[row.argmax()], labels[row.argmax()])
        return reached

    def weights(self, rounds: int = 4) -> dict[str, float]:
        """Climb by weights, too, which stay where training brings them back to."""
        reached = {}
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        for name in self.names:
            self.network.load_state_dict(state)
            share = self.samples(1)[name]
            for _ in range(rounds):
                before = {n: value.clone() for n, value in self.network.state_dict().items()}
                slopes = self.uphill(*self.best[name], name)[1]
                for weight, slope in zip(self.network.body.parameters(), slopes, strict=True):
                    weight.data += (
                        0.3 * weight.norm().clamp_min(self.shift / 4) * slope / slope.norm().clamp_min(1e-30)
                    )
                self.private.retract()
                found = self.samples(2)[name]
                if found <= share:
                    self.network.load_state_dict(before)
                    break
                share = found
            reached[name] = share
        return reached

    def weigh(self, how: str) -> None:
        """Set weights that stay within the envelope."""
        for layer in self.network.matrices():
            weight, bias = self.random(*layer.weight.shape), layer.bias
            if how == "aligned":
                weight = 1 + 1e-2 * weight
            layer.weight.data.copy_(weight)
            if bias is not None:
                drawn = self.random(*bias.shape)
                bias.data.copy_(1e3 * drawn if how == "shifted" else self.shift * drawn / 10)
        self.private.retract()
        if how == "as large as may be":
            for layer in self.network.matrices():
                layer.weight.data.mul_(1 + 9e-6)
        self.private._check()


def squares(whole: np.ndarray) -> Fraction:  # type: ignore[type-arg]
    """Exact, in integers of any size."""
    return Fraction(sum(int(v) ** 2 for v in whole))


@pytest.fixture(params=list(CASES))
def climb(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Climb:
    """No accountant is needed for what it is told."""
    monkeypatch.setattr(private_steps, "epsilon", lambda *given: 1.0)
    return Climb(request.param, tmp_path)


def test_no_sample_adds_more_than_is_charged_and_some_add_half_of_it(climb: Climb) -> None:
    best = climb.samples()
    for how in WEIGHTS:
        climb.weigh(how)
        best = {name: max(share, best[name]) for name, share in climb.samples().items()}
    climb.weigh("aligned")
    best = {name: max(share, best[name]) for name, share in climb.weights().items()}
    assert min(best.values()) >= 0.5, best


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_nor_after_steps(steps: int, climb: Climb) -> None:
    """Weights that were moved by the worst samples there were, and by noise."""
    climb.samples(1)
    pairs = list(climb.best.values())
    images = torch.stack([pairs[k % len(pairs)][0] for k in range(SIZE)])
    labels = torch.stack([pairs[k % len(pairs)][1] for k in range(SIZE)])
    optimizer = torch.optim.SGD(climb.network.parameters(), lr=1.0)
    for _ in range(steps):
        climb.private.gradients(lambda indices: (images[indices], labels[indices]))
        optimizer.step()
        climb.private.retract()
    best = climb.samples()
    assert climb.card["layers"] == climb.private.card()["layers"]
    assert min(best.values()) > 0.1, best


def test_what_would_be_too_much_is_found_and_limited_all_the_same(
    climb: Climb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that is wrong by a factor of 2.5, which the sum of integers does not let through."""
    climb.samples(1)
    exact = climb.private._fixed.gradients

    def wrong(images: Tensor, labels: Tensor) -> Iterator[tuple[int, Floats, float]]:
        return ((position, values, 2.5 * unit) for position, values, unit in exact(images, labels))

    monkeypatch.setattr(climb.private._fixed, "gradients", wrong)
    with pytest.raises(AssertionError):
        climb.samples(1)
    for image, label in climb.best.values():
        assert 0 < climb.judge_sum(image[None], label[None]) <= 1
