"""Random networks that are exported, proved, and compared with what they do: an independent look at the whole chain.

Each network is drawn from a seed: layers, branches, constants of every element type, weights of extreme size, weights
computed from weights, and the batch size used as a shape or as a number. What is proved is compared with the network
itself as Python runs it, with slopes found by a search, and with each image alone, at several batch sizes.

    python -m tests.property.random_graphs 20000 --start 0 --processes 2
"""

from __future__ import annotations

import argparse
import collections
import logging
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.function.running import Runner
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF, Norm

BATCHES = (1, 2, 3, 5, 8)
CHANNELS, SIDE = 2, 4
LEAST_MEASURED = 1e-290
"""Smaller changes are multiples of the least number of float64: their ratio says nothing."""
EXTREMES = (1e-44, 1e-38, 1e-30, 1e-20, 1e-8, 1.0, 1.0, 1.0, 3.0, 1e8, 1e20, 1e30)
WIDE_EXTREMES = (1e-320, 1e-300, 1e-160, 1e-38, 1.0, 1.0, 1e38, 1e150)

Layer = Callable[[torch.Tensor], torch.Tensor]


class Drawn(nn.Module):
    """A network drawn from a seed.

    Args:
        seed: what it is drawn from.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)  # noqa: S311  (a test draws networks, not secrets)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = self.rng.choice([torch.float32] * 3 + [torch.float64])
        self.names: list[str] = []
        self.used: list[str] = []
        self.layers = [self._draw() for _ in range(self.rng.randint(1, 5))]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, 2, 4, 4] to maps of some shape."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _keep(self, value: torch.Tensor) -> str:
        name = f"c{len(self.names)}"
        self.names.append(name)
        self.register_buffer(name, value)
        return name

    def _normal(self, *shape: int) -> torch.Tensor:
        sizes = WIDE_EXTREMES if self.dtype == torch.float64 else EXTREMES
        values = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * self.rng.choice(sizes)
        if self.rng.random() < 0.2:
            values = values * torch.tensor([self.rng.choice(sizes) for _ in range(values.numel())]).reshape(shape)
        return values.clamp(-1e37, 1e37).to(self.dtype) if self.dtype == torch.float32 else values

    def _draw(self) -> Layer:
        kinds = [*_LAYERS] if self.rng.random() < 0.75 else [*_SIZED]
        kind = self.rng.choice(kinds)
        self.used.append(kind.__name__.strip("_"))
        return kind(self)


def _convolution(net: Drawn) -> Layer:
    name = net._keep(net._normal(CHANNELS, CHANNELS, 3, 3))
    stride = net.rng.choice([1, 1, 1, 2])
    return lambda x: functional.conv2d(x, getattr(net, name), padding=1, stride=stride) if _wide(x) else x


def _computed_weight(net: Drawn) -> Layer:
    name, step = net._keep(net._normal(CHANNELS, CHANNELS, 1, 1)), net.rng.choice([0.1, 0.3, 1e-3])
    how = net.rng.randint(0, 3)

    def weight() -> torch.Tensor:
        w: torch.Tensor = getattr(net, name)
        if how == 0:
            return torch.round(w / step) * step
        if how == 1:
            return w.half().to(w.dtype)
        if how == 2:
            return w / (w.abs().sum() + 1)
        return (w.to(torch.bfloat16) * 3).to(w.dtype)

    return lambda x: functional.conv2d(x, weight()) if x.dim() == 4 and x.shape[1] == CHANNELS else x


def _factor(net: Drawn) -> Layer:
    dtype = net.rng.choice([torch.int64, torch.int32, torch.float16, torch.bfloat16, torch.float64, torch.bool])
    shape = net.rng.choice([(), (1,), (CHANNELS, 1, 1), (1, CHANNELS, 1, 1)])
    if dtype == torch.float64 and shape != () and net.dtype == torch.float32:
        dtype = torch.float32
    if dtype in (torch.int64, torch.int32):
        value = torch.tensor(net.rng.choice([16777219, 3, -7, 33554435]), dtype=dtype).expand(shape).clone()
    else:
        value = (torch.randn(shape, generator=net.generator) * 3).to(dtype)
    name = net._keep(value)
    divides = net.rng.random() < 0.3 and bool((value != 0).all()) and dtype != torch.bool
    return lambda x: x / getattr(net, name) if divides else x * getattr(net, name)


def _scalar(net: Drawn) -> Layer:
    value = net.rng.choice([0.1, 1 / 3, -2.7, 16777219, 3, 1e-20, 1e20, 0.0])
    how = net.rng.randint(0, 3)
    if how == 0:
        return lambda x: x * value
    if how == 1:
        return lambda x: x / value if value else x
    if how == 2:
        return lambda x: torch.add(x, x, alpha=value)
    return lambda x: value - x


def _addend(net: Drawn) -> Layer:
    dtype = net.rng.choice([net.dtype, torch.int64, torch.float16])
    shape = net.rng.choice([(), (CHANNELS, 1, 1)])
    name = net._keep((torch.randn(shape, generator=net.generator) * 5).to(dtype))
    return lambda x: x + getattr(net, name)


def _activation(net: Drawn) -> Layer:
    slope = net.rng.choice([0.1, 1.7, -0.3])
    pool: list[Layer] = [
        torch.relu,
        torch.tanh,
        torch.abs,
        functional.silu,
        functional.softplus,
        lambda x: functional.leaky_relu(x, slope),
        lambda x: torch.clamp(x, -slope, 2.0),
        lambda x: functional.elu(x, alpha=1.3),
        lambda x: torch.softmax(x, 1),
        torch.sigmoid,
    ]
    return net.rng.choice(pool)


def _max_min(net: Drawn) -> Layer:
    def layer(x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 4 or x.shape[1] % 2:
            return x
        a, b = x.split(x.shape[1] // 2, 1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)

    return layer


def _pool(net: Drawn) -> Layer:
    which = net.rng.randint(0, 2)

    def layer(x: torch.Tensor) -> torch.Tensor:
        if not _wide(x):
            return x
        if which == 0:
            return functional.avg_pool2d(x, 2)
        if which == 1:
            return functional.max_pool2d(x, 3, 1, 1)
        return functional.interpolate(x, scale_factor=2)

    return layer


def _normalisation(net: Drawn) -> Layer:
    mean, weight = net._keep(net._normal(CHANNELS)), net._keep(net._normal(CHANNELS))
    var = net._keep(net._normal(CHANNELS).abs())
    eps = net.rng.choice([1e-5, 1e-3, 0.1])

    def layer(x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 4 or x.shape[1] != CHANNELS:
            return x
        stored = getattr(net, mean), getattr(net, var), getattr(net, weight)
        return functional.batch_norm(x, *stored, stored[0], eps=eps)

    return layer


def _residual(net: Drawn) -> Layer:
    inner = net.rng.choice([_convolution, _factor, _activation])(net)

    def layer(x: torch.Tensor) -> torch.Tensor:
        y = inner(x)
        return x + y if y.shape == x.shape else y

    return layer


def _branches(net: Drawn) -> Layer:
    first, second = (net.rng.choice([_factor, _activation, _scalar])(net) for _ in range(2))
    return lambda x: torch.cat([first(x), second(x)], 1)


def _masked(net: Drawn) -> Layer:
    name = net._keep(torch.randn(SIDE, generator=net.generator) > 0)

    def layer(x: torch.Tensor) -> torch.Tensor:
        return torch.where(getattr(net, name), x, x * 0.5) if x.shape[-1] == SIDE else x

    return layer


def _shift(net: Drawn) -> Layer:
    pool: list[Layer] = [
        lambda x: x.flip(-1),
        lambda x: functional.pad(x, (1, 0, 0, 1)),
        lambda x: x.transpose(-1, -2),
        lambda x: x.roll(1, -1),
        lambda x: x - x.mean((-1, -2), keepdim=True),
    ]
    return net.rng.choice(pool)


_LAYERS = [
    _convolution,
    _computed_weight,
    _factor,
    _scalar,
    _addend,
    _activation,
    _max_min,
    _pool,
    _normalisation,
    _residual,
    _branches,
    _masked,
    _shift,
]


def _wide(x: torch.Tensor) -> bool:
    return x.dim() == 4 and x.shape[1] == CHANNELS and x.shape[-1] >= 2 and x.shape[-2] >= 2


def _as_shape(net: Drawn) -> Layer:
    pool: list[Layer] = [
        lambda x: x.reshape(x.shape[0], -1).reshape(x.shape),
        lambda x: x.view(x.shape[0] * x.shape[1], 1, *x.shape[2:]).view(x.shape),
        lambda x: torch.cat([x, torch.zeros(x.shape[0], 1, *x.shape[2:], dtype=x.dtype)], 1),
        lambda x: x + torch.ones(1, 1, 1, 1, dtype=x.dtype).expand(x.shape[0], 1, 1, 1) * 0.3,
        lambda x: x * torch.full((x.shape[0], 1, 1, 1), 0.7, dtype=x.dtype),
        lambda x: torch.cat([x, torch.full_like(x, 0.1)], 1),
        lambda x: x + x.new_ones(x.shape[0], 1, 1, 1) / 3,
        lambda x: x[: x.shape[0]],
        lambda x: x.expand(x.shape[0], -1, -1, -1),
        lambda x: x * (x.shape[0] // x.shape[0]),
    ]
    return net.rng.choice(pool)


def _as_number(net: Drawn) -> Layer:
    k = net.rng.randint(1, 4)
    pool: list[Layer] = [
        lambda x: x * (1 + (x.shape[0] - 2) * (x.shape[0] - 3)),
        lambda x: x * x.shape[0] / k,
        lambda x: x + x.shape[0] * x,
        lambda x: torch.clamp(x * 3, max=float(k) / 8) * (x.shape[0] - k),
        lambda x: torch.add(x, x, alpha=x.shape[0] // 2),
        lambda x: x * torch.full((1,), 1.0, dtype=x.dtype).expand(x.shape[0]).sum(),
        lambda x: x * x.new_ones(x.shape[0]).sum().reshape(1, 1, 1, 1),
        lambda x: x * (x.shape[0] % 3),
        lambda x: x.repeat(1, x.shape[0], 1, 1)[:, :CHANNELS] * 1.0,
        lambda x: torch.full((), x.shape[0], dtype=x.dtype) * x,
        lambda x: x * x[-2:].shape[0],
        lambda x: functional.pad(x, (0, x.shape[0])).sum(-1, keepdim=True) * x.shape[0],
    ]
    return net.rng.choice(pool)


def _as_place(net: Drawn) -> Layer:
    pool: list[Layer] = [
        lambda x: x * (torch.arange(x.shape[0]) == 0).view(-1, 1, 1, 1),
        lambda x: torch.where((torch.arange(x.shape[0]) < 2).view(-1, 1, 1, 1), x, 2 * x),
        lambda x: x * torch.linspace(0, 1, x.shape[0], dtype=x.dtype).view(-1, 1, 1, 1),
        lambda x: x - x.mean(0, keepdim=True),
        lambda x: x.flip(0),
        lambda x: x.roll(1, 0),
        lambda x: x + x[:1],
        lambda x: x * torch.ones(x.shape[0], 1, 1, 1, dtype=x.dtype).cumsum(0),
        lambda x: x[torch.arange(x.shape[0]).flip(0)],
        lambda x: torch.cat([x[:1], x[1:] * 2], 0),
        lambda x: x * torch.eye(x.shape[0], dtype=x.dtype).sum(0).cumsum(0).view(-1, 1, 1, 1),
    ]
    return net.rng.choice(pool)


_SIZED = [_as_shape, _as_shape, _as_number, _as_place]


@dataclass(frozen=True)
class Outcome:
    """What became of one network.

    Args:
        seed: what it was drawn from.
        kind: "proved", "refused CODE", "not exported" or "false".
        detail: what is wrong, for a false one.
        tight: slope found over bound, 0 where none was proved.
    """

    seed: int
    kind: str
    detail: str = ""
    tight: float = 0.0


def export(net: nn.Module, dtype: torch.dtype) -> ExportedProgram | None:
    """Export with a free batch size; None where torch does not."""
    images = torch.rand(3, CHANNELS, SIDE, SIDE, dtype=dtype)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = {0: torch.export.Dim("batch", min=1, max=16)}
            return torch.export.export(net, (images,), dynamic_shapes=(batch,))
    except Exception:  # noqa: BLE001  (torch raises many kinds; which networks it takes is not the question)
        return None


def examine(seed: int) -> Outcome:
    """Draw, export, prove and compare one network."""
    net = Drawn(seed).eval()
    program = export(net, net.dtype)
    if program is None:
        return Outcome(seed, "not exported")
    norm = net.rng.choice([L2, L2, L1, LINF])
    try:
        bound = prove(program, input_norm=norm, output_norm=norm).bound
    except RobspecError as error:
        return Outcome(seed, f"refused {error.code}")
    problems = list(_problems(net, program, bound, norm))
    slopes = [p for p in problems if isinstance(p, float)]
    wrong = [p for p in problems if isinstance(p, str)]
    if wrong and not _faithful(net, program):
        return Outcome(seed, "exported as another function")
    if wrong:
        return Outcome(seed, "false", f"{norm} bound {bound!r}: {wrong[0]}; layers {net.used}")
    return Outcome(seed, "proved", tight=max(slopes, default=0.0))


def _faithful(net: Drawn, program: ExportedProgram) -> bool:
    """Whether torch exported what the network computes: not so for `x * x[-2:].shape[0]`, which becomes `x * 2`."""
    images = [torch.rand(size, CHANNELS, SIDE, SIDE, dtype=net.dtype) for size in BATCHES]
    with torch.no_grad():
        return all(torch.equal(net(i).nan_to_num(7.0), program.module()(i).nan_to_num(7.0)) for i in images)


def _problems(net: Drawn, program: ExportedProgram, bound: float, norm: Norm) -> Iterator[str | float]:
    """Compare a proved network with itself; yields what is wrong, and each slope found as a share of the bound."""
    generator = torch.Generator().manual_seed(net.rng.randint(0, 10**9))
    own = Runner(program, net.dtype, net.dtype, torch.device("cpu"))
    wide = Runner(program, net.dtype, torch.float64, torch.device("cpu"))
    module = program.module()
    for size in BATCHES:
        images = torch.rand(size, CHANNELS, SIDE, SIDE, generator=generator, dtype=net.dtype)
        with torch.no_grad():
            exported, run = module(images), own.images_to_logits(images)
            if not torch.equal(exported.nan_to_num(7.0), run.nan_to_num(7.0)):
                yield f"batch {size}: the graph that runs differs from the file's"
                return
            together = wide.images_to_logits(images.double())
            alone = torch.cat([wide.images_to_logits(image[None].double()) for image in images])
        scale = float(alone.abs().max())
        if math.isfinite(scale) and float((together - alone).abs().max()) > 1e-9 * scale:
            yield f"batch {size}: an image's logits depend on its company"
            return
        for reach in (1e-3, 1.0, 30.0):
            drawn = generator.get_state()
            slope = _slope(wide, images.double(), reach, norm, generator)
            if slope > bound * (1.0 + 1e-9):
                # Values that cancel leave what rounding made of them: the same pairs again, with that taken off.
                generator.set_state(drawn)
                jolted = _Jolted(program, net.dtype, torch.float64, torch.device("cpu"))
                slope = _slope(wide, images.double(), reach, norm, generator, jolted)
            if slope > bound * (1.0 + 1e-9):
                yield f"batch {size}: slope {slope!r} at distance {reach}"
                return
            if bound > 0:
                yield slope / bound


class _Jolted(Runner):
    """Runs the graph with every value moved by up to 2^-40 of itself: 2^12 times what rounding does to it."""

    def run_node(self, n: fx.Node) -> object:
        """Run one node, and move what comes out."""
        found = super().run_node(n)
        if n.op != "call_function" or not isinstance(found, torch.Tensor) or not found.is_floating_point():
            return found
        return found * (1.0 + 2.0**-40 * (2.0 * torch.rand_like(found) - 1.0))


def _rounding(runner: Runner, jolted: _Jolted, images: torch.Tensor, norm: Norm) -> torch.Tensor:
    """How far rounding may have moved each image's logits, eight times over."""
    plain = runner.images_to_logits(images).detach()
    moved = [_lengths(jolted.images_to_logits(images).detach() - plain, norm) for _ in range(4)]
    return torch.stack(moved).amax(0) * 2.0**-9


def _slope(
    runner: Runner,
    images: torch.Tensor,
    reach: float,
    norm: Norm,
    generator: torch.Generator,
    jolted: _Jolted | None = None,
) -> float:
    """Search the steepest pair around the images by two steps along the gradient; exact in float64 up to rounding."""
    best = 0.0
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    for _ in range(3):
        moved = images + reach * direction / _lengths(direction, norm).reshape(-1, 1, 1, 1)
        other = moved.clone().requires_grad_(True)
        with torch.enable_grad():
            change = runner.images_to_logits(other) - runner.images_to_logits(images).detach()
            largest = change.detach().abs().max()
            if not bool(torch.isfinite(largest)) or float(largest) < LEAST_MEASURED:
                return best
            total = (change / largest).square().sum()
        top = _lengths(change.detach(), norm)
        size = runner.images_to_logits(images).detach().reshape(len(images), -1).abs().amax(1)
        # What rounding may have added: 2^-40 of the logits, as a length.
        slack = size * 2.0**-40 * change[0].numel()
        if jolted is not None:
            slack = slack + sum(_rounding(runner, jolted, at, norm) for at in (images, moved))
        ratio = (top - slack) / _lengths(moved - images, norm)
        found = float(ratio.max())
        best = max(best, found if math.isfinite(found) else 0.0)
        try:
            (pull,) = torch.autograd.grad(total, other)
        except RuntimeError:
            return best
        if not bool(torch.isfinite(pull).all()) or not bool(pull.abs().reshape(len(pull), -1).amax(1).min() > 0):
            return best
        direction = pull / pull.abs().reshape(len(pull), -1).amax(1).reshape(-1, 1, 1, 1)
        if norm.p is None:
            direction = direction.sign()
    return best


def _lengths(batch: torch.Tensor, norm: Norm) -> torch.Tensor:
    flat = batch.reshape(len(batch), -1)
    scale = flat.abs().amax(1, keepdim=True).clamp_min(1e-300)
    order = math.inf if norm.p is None else float(norm.p)
    return torch.linalg.vector_norm(flat / scale, ord=order, dim=1) * scale[:, 0]


def _quiet() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)


def _share(seeds: range) -> list[Outcome]:
    _quiet()
    return [examine(seed) for seed in seeds]


def main() -> None:
    """Examine many networks and count what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    begun = time.perf_counter()
    chunks = [
        range(s, min(s + 50, given.start + given.count)) for s in range(given.start, given.start + given.count, 50)
    ]
    counted: collections.Counter[str] = collections.Counter()
    tight = 0.0
    with ProcessPoolExecutor(given.processes) as pool:
        for number, outcomes in enumerate(pool.map(_share, chunks), start=1):
            counted.update(outcome.kind for outcome in outcomes)
            tight = max([tight, *(outcome.tight for outcome in outcomes)])
            for outcome in outcomes:
                if outcome.kind == "false":
                    print(f"FALSE seed {outcome.seed}: {outcome.detail}", flush=True)
            if number % 20 == 0 or number == len(chunks):
                summary = ", ".join(f"{kind} {n}" for kind, n in sorted(counted.items()))
                print(f"{sum(counted.values())} in {time.perf_counter() - begun:.0f} s: {summary}", flush=True)
    print(f"steepest slope found over bound proved: {tight:.6f}")


if __name__ == "__main__":
    main()
