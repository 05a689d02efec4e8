"""Random networks run in float64 and float32 against sixty digits: `python -m tests.property.random_rounding COUNT`.

The oracle knows layers, not graphs: it applies their definitions to numbers of sixty digits, balls where python-flint
is installed. Weights are drawn to hurt: sums that cancel, terms that alternate, numbers far apart in size, subnormal
ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from functools import reduce
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from robspec.function.program import GraphProgram
from robspec.function.running import Runner, exact_arithmetic
from robspec.function.settle import settle
from robspec.lipschitz import walk
from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE
from robspec.lipschitz.rounding.recursion import Box, bound
from robspec.models.accumulate import accumulate as accumulate_sums
from tests.property import digits, spliced
from tests.property.digits import ONE, ZERO, Digits, Exact, each, exact, larger, number, smaller

SIDE = 4


class Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(functional.relu(self.inner(x)))


class MaxMin(nn.Module):
    """Maxima and minima of pairs of channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)


class Parted(nn.Module):
    """Half of the channels goes past a residual block of the other half, as skip connections do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = Residual(channels // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([first, self.inner(second)], 1)


class Gated(nn.Module):
    """0.25 x + 0.75 MaxMin(conv(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.pairs = MaxMin()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.25 + self.pairs(self.inner(x)) * 0.75


class Scaled(nn.Module):
    """0.3 x - 0.1, divided by 7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 0.3 - 0.1) / 7.0


def _convolved(x: Exact, conv: nn.Conv2d) -> Exact:
    weight, bias = exact(conv.weight), None if conv.bias is None else exact(conv.bias)
    pad, stride, groups = int(conv.padding[0]), conv.stride[0], conv.groups
    height, width = x.shape[1:]
    padded = np.full((x.shape[0], height + 2 * pad, width + 2 * pad), ZERO, dtype=object)
    padded[:, pad : pad + height, pad : pad + width] = x
    side = weight.shape[2]
    rows, columns = (height + 2 * pad - side) // stride + 1, (width + 2 * pad - side) // stride + 1
    share, count = x.shape[0] // groups, weight.shape[0] // groups
    parts = []
    for group in range(groups):
        image = padded[group * share : (group + 1) * share]
        places = [(i * stride, j * stride) for i, j in product(range(rows), range(columns))]
        patches = np.stack([image[:, i : i + side, j : j + side].reshape(-1) for i, j in places], axis=1)
        kernels = weight[group * count : (group + 1) * count].reshape(count, -1)
        parts.append(digits.products(kernels, patches).reshape(count, rows, columns))
    found = np.concatenate(parts)
    return found if bias is None else found + bias[:, None, None]


def _lines(side: int, factor: int) -> list[dict[int, Digits]]:
    """The weights of bilinear up-sampling along one axis, from its definition."""
    lines = []
    for o in range(side * factor):
        place = max(Fraction(2 * o + 1, 2 * factor) - Fraction(1, 2), Fraction(0))
        base = int(place)
        rest = place - base
        line: dict[int, Digits] = {}
        for at, share in ((base, 1 - rest), (min(base + 1, side - 1), rest)):
            line[at] = line.get(at, ZERO) + number(share.numerator) / share.denominator
        lines.append(line)
    return lines


def _upsampled(x: Exact, factor: int) -> Exact:
    rows, columns = _lines(x.shape[1], factor), _lines(x.shape[2], factor)
    out = np.empty((x.shape[0], len(rows), len(columns)), dtype=object)
    for c, i, j in product(range(x.shape[0]), range(len(rows)), range(len(columns))):
        out[c, i, j] = sum(a * b * x[c, r, s] for r, a in rows[i].items() for s, b in columns[j].items())
    return out


def _pooled(x: Exact, combine: Callable[[list[Digits]], Digits]) -> Exact:
    out = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // 2), dtype=object)
    for c, i, j in product(*(range(n) for n in out.shape)):
        out[c, i, j] = combine(list(x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)))
    return out


def _relu(v: Digits) -> Digits:
    return larger(v, ZERO)


def _sigmoid(v: Digits) -> Digits:
    """Through the exponential of what is not positive, which is never too large."""
    small = digits.exp(-abs(v))
    return ONE / (small + 1) if v > 0 else small / (small + 1)


def meant(layer: nn.Module, x: Exact) -> Exact:
    """Apply a layer's definition."""
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x = meant(part, x)
        return x
    if isinstance(layer, nn.Conv2d):
        return _convolved(x, layer)
    if isinstance(layer, Residual):
        return x + meant(layer.outer, each(_relu, meant(layer.inner, x)))
    if isinstance(layer, Parted):
        half = x.shape[0] // 2
        return np.concatenate([x[:half], meant(layer.inner, x[half:])])
    if isinstance(layer, Gated):
        return x / 4 + meant(layer.pairs, meant(layer.inner, x)) * 3 / 4
    if isinstance(layer, MaxMin):
        half = x.shape[0] // 2
        return np.concatenate([np.frompyfunc(f, 2, 1)(x[:half], x[half:]) for f in (larger, smaller)])
    if isinstance(layer, Scaled):
        third, tenth = (number(float(np.float32(v))) for v in (0.3, 0.1))
        return (x * third - tenth) / 7
    if isinstance(layer, nn.BatchNorm2d):
        mean, variance = exact(layer.running_mean), exact(layer.running_var)
        weight, bias = exact(layer.weight), exact(layer.bias)
        eps = number(layer.eps)
        parts = [(x[c] - mean[c]) / digits.sqrt(variance[c] + eps) * weight[c] + bias[c] for c in range(len(x))]
        return np.stack(parts)
    if isinstance(layer, nn.AvgPool2d):
        return _pooled(x, lambda v: digits.total(v) / len(v))
    if isinstance(layer, nn.MaxPool2d):
        return _pooled(x, lambda v: reduce(larger, v))
    if isinstance(layer, nn.Upsample):
        return _upsampled(x, int(layer.scale_factor))
    if isinstance(layer, nn.Softmax2d):
        powers = each(digits.exp, x - np.frompyfunc(larger, 2, 1).reduce(x, axis=0))
        return powers / powers.sum(axis=0)
    root = digits.sqrt(number(2))
    functions: dict[type[nn.Module], Callable[[Digits], Digits]] = {
        nn.ReLU: _relu,
        nn.LeakyReLU: lambda v: larger(v, v * number(float(np.float32(0.01)))),
        nn.Tanh: digits.tanh,
        nn.Sigmoid: _sigmoid,
        nn.SiLU: lambda v: v * _sigmoid(v),
        nn.ELU: lambda v: _relu(v) + digits.expm1(smaller(v, ZERO)),
        nn.Softplus: lambda v: _relu(v) + digits.log1p(digits.exp(-abs(v))),
        nn.GELU: lambda v: v * digits.erfc(-v / root) / 2,
    }
    return each(functions[type(layer)], x)


_FUNCTIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.ELU, nn.Softplus, nn.GELU)


def network(random: np.random.Generator) -> nn.Sequential:
    """Draw a network of two to six layers for images [2, 4, 4]."""
    layers: list[nn.Module] = []
    channels, side = 2, SIDE
    for _ in range(int(random.integers(2, 7))):
        kind = int(random.integers(0, 14))
        if kind < 4:
            wide = int(random.choice([2, 4, 6]))
            groups = 2 if random.random() < 0.3 else 1
            layers.append(nn.Conv2d(channels, wide, 3, padding=1, groups=groups, bias=bool(random.random() < 0.7)))
            channels = wide
        elif kind == 4:
            layers.append(Residual(channels))
        elif kind == 5:
            layers.append(MaxMin())
        elif kind == 6:
            layers.append(nn.BatchNorm2d(channels))
        elif kind == 7 and side > 1:
            layers.append(nn.AvgPool2d(2) if random.random() < 0.5 else nn.MaxPool2d(2))
            side //= 2
        elif kind == 8 and side < 8:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            side *= 2
        elif kind == 9:
            layers.append(Scaled())
        elif kind == 10:
            layers.append(Parted(channels))
        elif kind == 11:
            layers.append(Gated(channels))
        else:
            layers.append(_FUNCTIONS[int(random.integers(0, len(_FUNCTIONS)))]())
    if random.random() < 0.1:
        layers.append(nn.Softmax2d())
    return nn.Sequential(*layers).eval()


def draw(net: nn.Module, random: np.random.Generator) -> None:
    """Draw weights that hurt."""
    style = int(random.integers(0, 6))
    for name, tensor in net.state_dict().items():
        if "num_batches" in name:
            continue
        values = random.normal(size=tuple(tensor.shape))
        if style == 1:  # sums that cancel
            values = np.where(random.random(values.shape) < 0.5, 1.0, -1.0) * (1.0 + 1e-6 * values)
        elif style == 2:  # far apart in size
            values *= 10.0 ** random.integers(-8, 5, values.shape)
        elif style == 3:
            values *= 1e-3
        elif style == 4:  # subnormal among others
            values = np.where(random.random(values.shape) < 0.5, values * 1e-41, values)
        elif style == 5:
            values *= 30.0
        if "running_var" in name:
            values = np.abs(values) + 1e-3
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))


def ratios(
    net: nn.Module, random: np.random.Generator, images: int = 2, *, accumulate: bool = False
) -> dict[str, float]:
    """Compare both forward passes with sixty digits.

    Args:
        net: weights drawn.
        random: draws the images, in [0, 1].
        images: how many.
        accumulate: whether sums of products accumulate in float64.

    Returns:
        By precision, the largest error found as a share of the bound.
    """
    return compare(exported(net, accumulate=accumulate), net, random, images)


def exported(net: nn.Module, *, accumulate: bool = False) -> GraphProgram:
    """Export a network, settled.

    It shares the network's weights, so that others may be drawn in their place, unless sums accumulate in float64:
    what they are cast to is folded.
    """
    program = spliced.exported(net, (2, SIDE, SIDE))
    if accumulate:
        accumulate_sums(program)
    return settle(program)


def compare(program: GraphProgram, net: nn.Module, random: np.random.Generator, images: int) -> dict[str, float]:
    """Compare an exported network with the layers it was made of."""
    box = Box((0.5, 0.5), (0.5, 0.5), (0.0, 0.0))
    bounds = bound(program, box, (DOUBLE, SINGLE))
    found = {r.precision: 0.0 for r in bounds}
    types = {"float64": torch.float64, "float32": torch.float32}
    runners = {n: Runner(program, torch.float32, types[n], torch.device("cpu")) for n in found}
    for _ in range(images):
        image = torch.from_numpy(random.random((1, 2, SIDE, SIDE)).astype(np.float32))
        if random.random() < 0.3:
            image = image.round()
        wanted = meant(net, exact(image[0]))
        for rounding in bounds:
            name = rounding.precision
            with exact_arithmetic(torch.device("cpu")):
                got = exact(runners[name].images_to_logits(image.to(types[name]))[0])
            error = digits.length(list((got - wanted).reshape(-1)))
            none = 0.0 if digits.above(error) == 0.0 else float("inf")
            share = digits.above(error / rounding.delta) if rounding.delta else none
            if not share <= found[name]:  # also what is no number
                found[name] = share
    return found


def report(shares: dict[str, list[float]]) -> None:
    """Say how near the bounds were come to."""
    for name, values in shares.items():
        if values:
            spread = ", ".join(f"{v:.3g}" for v in np.quantile(values, [0.5, 0.9, 0.99, 1.0]))
            print(f"{name}, {len(values)} networks; found / proved: median, 90 %, 99 %, most: {spread}", flush=True)


def main() -> int:
    """Hunt, and say how near the bounds were come to.

    Returns:
        1 when an error was larger than its bound.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=1, help="how many draws of weights and images of each graph")
    parser.add_argument("--accumulate", action="store_true", help="sums of products in float64; one draw")
    asked = parser.parse_args()
    made = spliced.Spliced()
    # Shapes of such small images are found sooner by computing than by pretending to.
    walk.FakeTensorMode = lambda **_: nullcontext()  # type: ignore[assignment,misc]
    shares: dict[str, list[float]] = {"float64": [], "float32": []}
    refused = wrong = 0
    for seed in range(asked.seed, asked.seed + asked.count):
        random = np.random.default_rng(seed)
        net = network(random)
        program = None if asked.accumulate else settle(made.program(net, (2, SIDE, SIDE)))
        for turn in range(1 if asked.accumulate else asked.draws):
            with torch.no_grad():
                draw(net, random)
            try:
                ready = program or exported(net, accumulate=True)
                found = compare(ready, net, random, 2 if asked.draws == 1 else 1)
            except Exception as error:  # noqa: BLE001  (a hunt goes on, and says what it could not do)
                refused += 1
                print(seed, turn, type(error).__name__, str(error).splitlines()[0][:150], flush=True)
                continue
            for name, share in found.items():
                shares[name].append(share)
                if not share <= 1.0:
                    wrong += 1
                    kinds = [type(x).__name__ for x in net]
                    print(f"seed {seed}, draw {turn}: {name} {share:.3g} of its bound", kinds, flush=True)
        if seed % 1000 == 999:
            print(seed + 1 - asked.seed, "graphs,", wrong, "beyond their bound", flush=True)
            report(shares)
    report(shares)
    print(f"{refused} refused, {wrong} beyond their bound")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
