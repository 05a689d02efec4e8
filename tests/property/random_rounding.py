"""Random networks run in float64 and float32 against sixty digits: `python -m tests.property.random_rounding COUNT`.

The oracle knows layers, not graphs: it applies their definitions to numbers of sixty digits. Weights are drawn to
hurt: sums that cancel, terms that alternate, numbers far apart in size, subnormal ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from robspec.function.running import Runner, exact_arithmetic
from robspec.function.settle import settle
from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE
from robspec.lipschitz.rounding.recursion import Box, bound
from robspec.models.accumulate import accumulate as accumulate_sums

mpmath.mp.dps = 60
Exact = Any
"""numpy array of mpf."""
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


class Scaled(nn.Module):
    """0.3 x - 0.1, divided by 7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 0.3 - 0.1) / 7.0


def exact(values: torch.Tensor) -> Exact:
    """Take numbers as they are."""
    return np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])(values.detach().double().numpy())


def _convolved(x: Exact, conv: nn.Conv2d) -> Exact:
    weight, bias = exact(conv.weight), None if conv.bias is None else exact(conv.bias)
    pad, stride, groups = int(conv.padding[0]), conv.stride[0], conv.groups
    height, width = x.shape[1:]
    padded = np.full((x.shape[0], height + 2 * pad, width + 2 * pad), mpmath.mpf(0), dtype=object)
    padded[:, pad : pad + height, pad : pad + width] = x
    side = weight.shape[2]
    rows, columns = (height + 2 * pad - side) // stride + 1, (width + 2 * pad - side) // stride + 1
    share = x.shape[0] // groups
    each = weight.shape[0] // groups
    out = np.empty((weight.shape[0], rows, columns), dtype=object)
    for o, i, j in product(range(weight.shape[0]), range(rows), range(columns)):
        first = (o // each) * share
        patch = padded[first : first + share, i * stride : i * stride + side, j * stride : j * stride + side]
        total = mpmath.fsum((weight[o] * patch).reshape(-1))
        out[o, i, j] = total if bias is None else total + bias[o]
    return out


def _lines(side: int, factor: int) -> list[dict[int, Exact]]:
    """The weights of bilinear up-sampling along one axis, from its definition."""
    lines = []
    for o in range(side * factor):
        place = max(Fraction(2 * o + 1, 2 * factor) - Fraction(1, 2), Fraction(0))
        base = int(place)
        rest = place - base
        line: dict[int, Exact] = {}
        for at, share in ((base, 1 - rest), (min(base + 1, side - 1), rest)):
            line[at] = line.get(at, mpmath.mpf(0)) + mpmath.mpf(share.numerator) / share.denominator
        lines.append(line)
    return lines


def _upsampled(x: Exact, factor: int) -> Exact:
    rows, columns = _lines(x.shape[1], factor), _lines(x.shape[2], factor)
    out = np.empty((x.shape[0], len(rows), len(columns)), dtype=object)
    for c, i, j in product(range(x.shape[0]), range(len(rows)), range(len(columns))):
        out[c, i, j] = sum(a * b * x[c, r, s] for r, a in rows[i].items() for s, b in columns[j].items())
    return out


def _pooled(x: Exact, reduce: Callable[[list[Exact]], Exact]) -> Exact:
    out = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // 2), dtype=object)
    for c, i, j in product(*(range(n) for n in out.shape)):
        out[c, i, j] = reduce(list(x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)))
    return out


def _each(function: Callable[[Exact], Exact]) -> Callable[[Exact], Exact]:
    return np.vectorize(function, otypes=[object])


def _sigmoid(v: Exact) -> Exact:
    return 1 / (1 + mpmath.exp(-v))


def meant(layer: nn.Module, x: Exact) -> Exact:
    """Apply a layer's definition."""
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x = meant(part, x)
        return x
    if isinstance(layer, nn.Conv2d):
        return _convolved(x, layer)
    if isinstance(layer, Residual):
        return x + meant(layer.outer, _each(lambda v: max(v, mpmath.mpf(0)))(meant(layer.inner, x)))
    if isinstance(layer, MaxMin):
        half = x.shape[0] // 2
        return np.concatenate([np.maximum(x[:half], x[half:]), np.minimum(x[:half], x[half:])])
    if isinstance(layer, Scaled):
        third, tenth = (mpmath.mpf(float(np.float32(v))) for v in (0.3, 0.1))
        return (x * third - tenth) / 7
    if isinstance(layer, nn.BatchNorm2d):
        mean, variance = exact(layer.running_mean), exact(layer.running_var)
        weight, bias = exact(layer.weight), exact(layer.bias)
        eps = mpmath.mpf(layer.eps)
        each = [(x[c] - mean[c]) / mpmath.sqrt(variance[c] + eps) * weight[c] + bias[c] for c in range(len(x))]
        return np.stack(each)
    if isinstance(layer, nn.AvgPool2d):
        return _pooled(x, lambda v: mpmath.fsum(v) / len(v))
    if isinstance(layer, nn.MaxPool2d):
        return _pooled(x, max)
    if isinstance(layer, nn.Upsample):
        return _upsampled(x, int(layer.scale_factor))
    if isinstance(layer, nn.Softmax2d):
        powers = _each(mpmath.exp)(x - x.max(axis=0))
        return powers / powers.sum(axis=0)
    zero = mpmath.mpf(0)
    functions: dict[type[nn.Module], Callable[[Exact], Exact]] = {
        nn.ReLU: lambda v: max(v, zero),
        nn.LeakyReLU: lambda v: v if v > 0 else v * mpmath.mpf(float(np.float32(0.01))),
        nn.Tanh: mpmath.tanh,
        nn.Sigmoid: _sigmoid,
        nn.SiLU: lambda v: v * _sigmoid(v),
        nn.ELU: lambda v: v if v > 0 else mpmath.expm1(v),
        nn.Softplus: lambda v: v + mpmath.log1p(mpmath.exp(-v)) if v > 0 else mpmath.log1p(mpmath.exp(v)),
        nn.GELU: lambda v: v * (1 + mpmath.erf(v / mpmath.sqrt(2))) / 2,
    }
    return _each(functions[type(layer)])(x)


_FUNCTIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.ELU, nn.Softplus, nn.GELU)


def network(random: np.random.Generator) -> nn.Sequential:
    """Draw a network of two to six layers for images [2, 4, 4]."""
    layers: list[nn.Module] = []
    channels, side = 2, SIDE
    for _ in range(int(random.integers(2, 7))):
        kind = int(random.integers(0, 12))
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


def exported(net: nn.Module, *, accumulate: bool = False) -> torch.export.ExportedProgram:
    """Export a network, settled.

    It shares the network's weights, so that others may be drawn in their place, unless sums accumulate in float64:
    what they are cast to is folded.
    """
    example = torch.zeros(2, 2, SIDE, SIDE)
    batch = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(_Named(net), (example,), dynamic_shapes=batch)
    if accumulate:
        accumulate_sums(program)
    return settle(program)


class _Named(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(x)
        return found


def compare(
    program: torch.export.ExportedProgram, net: nn.Module, random: np.random.Generator, images: int
) -> dict[str, float]:
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
            error = mpmath.sqrt(mpmath.fsum(((got - wanted) ** 2).reshape(-1)))
            share = float(error / rounding.delta) if rounding.delta else (0.0 if error == 0 else float("inf"))
            found[rounding.precision] = max(found[rounding.precision], share)
    return found


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
    shares: dict[str, list[float]] = {"float64": [], "float32": []}
    refused = wrong = 0
    for seed in range(asked.seed, asked.seed + asked.count):
        random = np.random.default_rng(seed)
        net = network(random)
        program = None if asked.accumulate else exported(net)
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
        if seed % 100 == 99:
            print(seed + 1 - asked.seed, "graphs", len(shares["float64"]), "networks", wrong, "beyond", flush=True)
    for name, values in shares.items():
        if values:
            spread = np.quantile(values, [0.5, 0.9, 0.99, 1.0])
            print(
                name, len(values), "networks; found / proved: median, 90 %, 99 %, most", *(f"{v:.3g}" for v in spread)
            )
    print(f"{refused} refused, {wrong} beyond their bound")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
