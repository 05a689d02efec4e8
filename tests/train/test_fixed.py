"""Gradients in whole numbers, against Python's integers, which have no size to run out of, and against autograd."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from robspec.kernels.exact import _samples
from robspec.models.lipnets.activations import GroupSort, MaxMin
from robspec.models.lipnets.patches import PlainWeights
from robspec.privacy.asked import Envelope
from robspec.privacy.grid import Grid
from robspec.train import fixed
from robspec.train.building import build
from robspec.train.config import Config, read_config
from robspec.train.fixed import FixedPoint
from robspec.train.private import OPERATOR
from tests.train.autograd import sample_losses

TEXT = """
[run]
epochs = 1
batch = 4
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
tau = 7
margin = 0.1
[privacy]
noise = 50.0
norm_bound = {norm}
bias_bound = {shift}
"""
SCENES = "train_scenes = 1\nval_scenes = 1"
LABELS = 'train_images = "a"\ntrain_labels = "by folder"\nval_images = "b"\nval_labels = "by folder"'
CASES = {
    "one stage": ([4], [1], "maxmin", [1, 8, 8], SCENES, 3, 0.5),
    "two stages": ([4, 6], [1, 0], "maxmin", [3, 8, 8], SCENES, 5, 0.0),
    "three stages, sorted": ([6, 6, 3], [0, 1, 1], "groupsort3", [2, 8, 8], SCENES, 2, 0.3),
    "whole images": ([4], [1], "maxmin", [1, 6, 10], LABELS, 1e-3, 1e-4),
    "one matrix": ([], [], "maxmin", [3, 5, 4], LABELS, 1000, 10.0),
}


class Case:
    """A network with random weights and shifts, images and labels, some of which count for nothing."""

    def __init__(self, name: str, folder: Path) -> None:
        channels, depths, activation, shape, source, norm, shift = CASES[name]
        values = {"mean": [0.5] * shape[0], "std": [0.7] * shape[0], "norm": norm, "shift": shift}
        text = TEXT.format(
            channels=channels, depths=depths, activation=activation, shape=shape, source=source, **values
        )
        (folder / "config.toml").write_text(text)
        self.config: Config = read_config(folder / "config.toml")
        self.shift = shift
        torch.manual_seed(0)
        network = build(self.config)
        assert isinstance(network, PlainWeights)
        self.network = network
        rng = torch.Generator().manual_seed(1)
        for layer in network.matrices():
            if layer.bias is not None:
                layer.bias.data.copy_(torch.randn(layer.bias.shape, generator=rng))
        network.retract(shift)
        self.images = torch.rand(7, *shape, generator=rng)
        whole = source is LABELS
        self.labels = torch.randint(0, 3, (7, 1, 1) if whole else (7, *shape[1:]), generator=rng)
        if not whole:
            self.labels[1, :3] = -1
        self.names = [name for name, _ in network.named_parameters() if name.startswith("body.")]
        self.fixed = FixedPoint(self.config, network, Envelope(OPERATOR, shift), self.names)

    @property
    def sizes(self) -> list[int]:
        named = dict(self.network.named_parameters())
        return [named[name].numel() for name in self.names]

    def grid(self) -> Grid:
        """One that is fine, with limits that some samples reach."""
        return Grid.of(self.sizes, [0.1 / len(self.sizes)] * len(self.sizes), [1e-3] * len(self.sizes))


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(request.param, tmp_path)


def near(value: int, shift: int) -> int:
    """value / 2^shift, rounded to the nearest, halves to even."""
    whole, rest = divmod(value, 1 << shift)
    return whole + (2 * rest > 1 << shift or (2 * rest == 1 << shift and whole % 2 == 1))


class Whole:
    """Forward and backward of one image in Python's integers, place by place; remembers how large sums could get."""

    def __init__(self, case: Case) -> None:
        self.case, self.most, self.norms = case, 0, [0]

    def dot(self, a: list[int], b: list[int], more: int = 0) -> int:
        self.most = max(self.most, abs(more) + sum(abs(x * y) for x, y in zip(a, b, strict=True)))
        return more + sum(x * y for x, y in zip(a, b, strict=True))

    def kept(self, map_: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], int]:
        self.norms.append(sum(v * v for v in map_.values()))
        return map_

    def gradients(self, image: Tensor, label: Tensor) -> list[dict[tuple[int, ...], int]]:
        case, network = self.case, self.case.network
        unit, slope = case.fixed._feature, case.fixed._slope
        flat = ((image[None] - network.mean) * network.inverse).flatten(1).numpy()
        start = np.empty(flat.shape)
        _samples.project(flat, np.arange(flat.shape[1]), case.fixed._bound, unit, start)
        _, height, width = image.shape
        x = {(c, i, j): int(start[0, (c * height + i) * width + j]) for c, i, j in np.ndindex(*image.shape)}
        tape: list[tuple[nn.Module, dict[tuple[int, ...], int], tuple[int, int]]] = []
        self.kept(x)
        for module in network.body:
            tape.append((module, x, (height, width)))
            if isinstance(module, MaxMin | GroupSort):
                x = self.sorted(module, x, height, width)[0]
                continue
            x, height, width = self.forward(module, x, height, width)
            if module is not network.body[-1]:
                x = self.kept({at: near(value, 26) for at, value in x.items()})
        classes = max(c for c, _, _ in x) + 1
        logits = np.array(
            [[[[float(x[c, i, j]) for c in range(classes)] for j in range(width)] for i in range(height)]]
        )
        found = np.empty((1, height * width, classes))
        how = case.config.loss
        _samples.slopes(
            logits.reshape(1, -1, classes), 1 / (unit * 2.0**26), label.reshape(1, -1).numpy(),
            np.arange(height * width), how.tau, how.margin, slope, found,
        )  # fmt: skip
        g = {(c, p // width, p % width): int(found[0, p, c]) for p in range(height * width) for c in range(classes)}
        self.kept(g)
        results: dict[str, dict[tuple[int, ...], int]] = {}
        for k, (module, x, sides) in reversed(list(enumerate(tape))):
            if isinstance(module, MaxMin | GroupSort):
                came = self.sorted(module, x, *sides)[1]
                g = {came[at]: value for at, value in g.items()}
                continue
            weight, bias, g = self.backward(module, x, g, sides)
            results[f"body.{k}.weight"] = weight
            if module.bias is not None:
                results[f"body.{k}.bias"] = bias
            if k:
                g = self.kept({at: near(value, 26) for at, value in g.items()})
        return [results[name] for name in case.names]

    def weights(self, module: nn.Module) -> dict[tuple[int, ...], int]:
        values = module.weight.detach()  # type: ignore[union-attr, operator]
        return {at: round(float(values[at]) * 2**26) for at in np.ndindex(*values.shape)}

    def forward(self, module, x, height, width):  # type: ignore[no-untyped-def]
        w, (rows, columns) = self.weights(module), module.kernel_size
        scale = 2**26 * int(self.case.fixed._feature) if self.case.fixed._feature >= 1 else None
        unit = self.case.fixed._feature * 2.0**26
        assert scale is None or scale == unit
        shifts = [0] * module.out_channels
        if module.bias is not None:
            shifts = [round(float(b) * unit) for b in module.bias.detach().double()]
        inputs, found = range(module.in_channels), {}
        if isinstance(module, nn.ConvTranspose2d):
            for o, i, j in itertools.product(
                range(module.out_channels), range(rows * height), range(columns * width)
            ):
                at = [(c, i // rows, j // columns) for c in inputs]
                by = [w[c, o, i % rows, j % columns] for c in inputs]
                found[o, i, j] = self.dot([x[k] for k in at], by, shifts[o])
            return found, rows * height, columns * width
        for o, i, j in itertools.product(range(module.out_channels), range(height // rows), range(width // columns)):
            window = list(itertools.product(inputs, range(rows), range(columns)))
            values = [x[c, rows * i + a, columns * j + b] for c, a, b in window]
            found[o, i, j] = self.dot(values, [w[o, c, a, b] for c, a, b in window], shifts[o])
        return found, height // rows, width // columns

    def backward(self, module, x, g, sides):  # type: ignore[no-untyped-def]
        w, (rows, columns) = self.weights(module), module.kernel_size
        spreads = isinstance(module, nn.ConvTranspose2d)
        inner, outer = (x, g) if spreads else (g, x)
        # `inner` has one place where `outer` has a patch.
        pairs: dict[tuple[int, ...], list[tuple[int, int]]] = {at: [] for at in w}
        back: dict[tuple[int, ...], list[tuple[int, int]]] = {at: [] for at in x}
        many, few = {c for c, _, _ in outer}, {c for c, _, _ in inner}
        for (m, i, j), (f,) in itertools.product(outer, [(f,) for f in few]):
            at, patch = (f, m, i % rows, j % columns), (f, i // rows, j // columns)
            pairs[at].append((inner[patch], outer[m, i, j]))
            if spreads:
                back[patch].append((w[at], g[m, i, j]))
            else:
                back[m, i, j].append((w[at], g[patch]))
        assert len(many) * len(few) * rows * columns == len(w)
        weight = {at: self.dot(*map(list, zip(*each, strict=True))) for at, each in pairs.items()}
        bias = {(c,): sum(v for (k, _, _), v in g.items() if k == c) for c in {c for c, _, _ in g}}
        return weight, bias, {at: self.dot(*map(list, zip(*each, strict=True))) for at, each in back.items()}

    def sorted(self, module, x, height, width):  # type: ignore[no-untyped-def]
        channels = max(c for c, _, _ in x) + 1
        half = channels // 2
        if isinstance(module, MaxMin):
            groups = [[c, c + half] for c in range(half)]
        else:
            groups = [list(range(c, c + module.size)) for c in range(0, channels, module.size)]
        found, came = {}, {}
        for group, i, j in itertools.product(groups, range(height), range(width)):
            order = sorted(group, key=lambda c: x[c, i, j] * (-1 if isinstance(module, MaxMin) else 1))
            for place, c in zip(group, order, strict=True):
                found[place, i, j], came[place, i, j] = x[c, i, j], (c, i, j)
        return found, came


def test_integers_of_each_sample_are_those_of_exact_arithmetic(case: Case) -> None:
    """All of a batch at once, by float64 products, against one at a time in integers of any size."""
    layers = {layer.parameters[0]: layer for layer in case.fixed._layers}
    found = {position: values for position, values, _ in case.fixed.gradients(case.images, case.labels)}
    assert sorted(found) == list(range(len(case.names)))
    for k in range(len(case.images)):
        whole = Whole(case)
        exact = whole.gradients(case.images[k], case.labels[k])
        for position, values in enumerate(exact):
            got = found[position][k].astype(np.int64)
            if position in layers:
                got = layers[position].restored(got)
            assert got.tolist() == [values[at] for at in sorted(values)]
        # In any order: not even all of a sum's terms on one side leave the doubles that hold all integers.
        assert whole.most <= 2**53
        assert max(whole.norms) <= (0.99 * 2**26) ** 2
        assert any(value for values in exact for value in values.values())


def test_sums_are_those_of_samples_in_any_company(case: Case) -> None:
    grid = case.grid()
    alone = [case.fixed.sum(case.images[k : k + 1], case.labels[k : k + 1], grid) for k in range(7)]
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [6, 2], [3, 3, 3], [5, 4, 3, 2, 1, 0]):
        whole = case.fixed.sum(case.images[chosen], case.labels[chosen], grid)
        assert np.array_equal(whole, sum(alone[k] for k in chosen))


def test_they_are_the_gradients_of_automatic_differentiation(case: Case) -> None:
    network, config = case.network, case.config
    named = dict(network.named_parameters())
    layers = {layer.parameters[0]: layer for layer in case.fixed._layers}
    for position, values, unit in case.fixed.gradients(case.images, case.labels):
        for k in range(len(case.images)):
            losses = sample_losses(network, config, case.images[k : k + 1], case.labels[k : k + 1])
            expected = torch.autograd.grad(losses.sum(), named[case.names[position]])[0].flatten().numpy()
            got = values[k]
            if position in layers:
                got = layers[position].restored(got.astype(np.int64))
            assert np.abs(got * unit - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-6)


def test_the_largest_features_and_slopes_leave_sums_exact(case: Case) -> None:
    """Images as large as they may be, of one sign, and weights that all point that way."""
    for layer in case.network.matrices():
        layer.weight.data.copy_(torch.ones_like(layer.weight) + 0.01 * torch.randn(layer.weight.shape))
    case.network.retract(case.shift)
    for reach in (1e6, -1e6):
        whole = Whole(case)
        whole.gradients(torch.full_like(case.images[0], reach), case.labels[0])
        assert 2**40 < whole.most <= 2**53
        assert max(whole.norms) <= (0.99 * 2**26) ** 2


def test_units_are_as_fine_as_room_allows(case: Case) -> None:
    features = [each.places * each.inputs for each in case.fixed._layers[:1]]
    features += [each.written * each.outputs for each in case.fixed._layers]
    envelope = Envelope(OPERATOR, case.shift)
    for unit, norm in (
        (case.fixed._feature, lambda u: case.fixed._reach(u, envelope, features)),
        (case.fixed._slope, lambda u: case.fixed._steep(u, features)),
    ):
        assert norm(unit) <= fixed._ROOM < norm(2 * unit)


def test_another_image_that_is_no_number_changes_nothing_and_adds_nothing(case: Case) -> None:
    grid = case.grid()
    for wrong in (float("nan"), float("inf")):
        images = case.images.clone()
        images[2] = wrong
        rest = [0, 1, 3, 4, 5, 6]
        blank = images.clone()
        blank[2] = 0.5  # the mean: 0 after the normalisation
        whole = case.fixed.sum(images, case.labels, grid)
        assert np.array_equal(whole, case.fixed.sum(blank, case.labels, grid))
        alone = case.fixed.sum(images[2:3], case.labels[2:3], grid)
        assert np.array_equal(whole - alone, case.fixed.sum(case.images[rest], case.labels[rest], grid))


def test_layers_of_another_kind_are_refused(tmp_path: Path) -> None:
    case = Case("one stage", tmp_path)
    body, inner = case.network.body, case.network.body[2]
    for place, layer, text in (
        (1, nn.ReLU(), "does not sort"),
        (2, nn.Conv2d(4, 4, 3, padding=1), "disjoint patches"),
        (2, nn.Conv2d(4, 4, 1, groups=2), "disjoint patches"),
        (2, nn.Linear(4, 4), "disjoint patches"),
        (3, nn.Conv2d(4, 4, 1), "does not sort"),
    ):
        before, body[place] = body[place], layer
        with pytest.raises(ValueError, match=text):
            FixedPoint(case.config, case.network, Envelope(OPERATOR, case.shift), case.names)
        body[place] = before
    assert body[2] is inner
    body.append(MaxMin())
    with pytest.raises(ValueError, match="does not end in a layer"):
        FixedPoint(case.config, case.network, Envelope(OPERATOR, case.shift), case.names)


def plain(function: object) -> object:
    return function.py_func  # type: ignore[attr-defined]


def test_compiled_loops_do_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit: nothing is contracted or reordered, and a sample gets the same beside others, wherever it lies."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((5, 37)).astype(np.float32)
    logits, labels = rng.standard_normal((5, 9, 4)) * 2.0**40, rng.integers(-1, 4, (5, 9))
    gradients = np.rint(rng.standard_normal((5, 101)) * 2.0**45)
    order, places = rng.permutation(37), rng.permutation(9)

    def results(wrap, at: slice) -> list[npt.NDArray[np.float64]]:  # type: ignore[no-untyped-def]
        count = len(images[at])
        x, g = np.empty((count, 37)), np.empty((count, 9, 4))
        total = np.zeros(101, dtype=np.int64)
        wrap(_samples.project)(images[at], order, 3.0, 2.0**20, x)
        wrap(_samples.slopes)(logits[at], 2.0**-40, labels[at], places, 3.7, 0.2, 2.0**22, g)
        wrap(_samples.add)(gradients[at], 2.0**-13 / 3, 2.0**32, 2.0**64 - 2.0**12, total)
        return [x, g, total]

    compiled = results(lambda f: f, slice(None))
    rows = [results(lambda f: f, slice(k, k + 1)) for k in range(5)]
    monkeypatch.setattr(_samples, "_exp", _samples._exp.py_func)
    monkeypatch.setattr(_samples, "_squares", _samples._squares.py_func)
    for one, other in zip(compiled, results(plain, slice(None)), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(compiled[0], np.concatenate([row[0] for row in rows]))
    assert np.array_equal(compiled[1], np.concatenate([row[1] for row in rows]))
    assert np.array_equal(compiled[2], sum(row[2] for row in rows))
    assert (np.linalg.norm(compiled[0], axis=1) <= 3.0 * 2**20 + 37**0.5 / 2).all()


def test_exponentials() -> None:
    mpmath = pytest.importorskip("mpmath")
    for value in [*np.linspace(-40, 0, 1601), -1e-9, -0.34657359, -1e6]:
        exact = mpmath.exp(max(value, -40.0))
        assert abs(_samples._exp(float(value)) / exact - 1) <= 2.0**-31
    assert _samples._exp(0.0) == 1.0
    assert math.exp(-40) * 1.001 > _samples._exp(-math.inf) > 0


@pytest.mark.parametrize(("size", "module"), [(0, MaxMin()), (2, GroupSort(2)), (3, GroupSort(3))])
def test_sorting_is_what_the_layer_does_and_ties_stay_where_they_are(size: int, module: nn.Module) -> None:
    rng = np.random.default_rng(0)
    sums = rng.integers(-2, 3, (50, 6)) * 2.0**26
    sums[:5] += 2.0**25  # halves, which go to even
    found, back, route = np.empty((50, 6)), np.empty((50, 6)), np.empty((50, 6), dtype=np.int16)
    _samples.sort(sums, 2.0**-26, size, found, route)
    rounded = np.rint(sums * 2.0**-26)
    wanted = module(torch.from_numpy(rounded)[:, :, None, None])[:, :, 0, 0].numpy()
    assert np.array_equal(found, wanted)
    assert np.array_equal(np.take_along_axis(rounded, route.astype(np.int64), 1), found)
    _samples.unsort(found * 2.0**26, 2.0**-26, route, back)
    assert np.array_equal(back, rounded)
    same = np.zeros((1, 6))
    _samples.sort(same, 1.0, size, found[:1], route[:1])
    assert route[0].tolist() == list(range(6))
