"""Gradients of single samples in whole numbers: computed for a batch at once, and no sample sees another.

Images, weights, features and gradients are integers in units that are powers of two, held in float64. A product of
matrices is then a sum of integers whose sizes together stay below 2^53, so that every partial sum is exact: whatever
the order in which a library adds, and however large a batch is, the result is the same. Between products each sample
is treated by itself (`robspec.kernels.exact`). So what is computed of an image follows from that image, its label and
the weights, with no trust in how a library lays out its work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robspec.kernels import _jit
from robspec.kernels.exact import _samples as samples
from robspec.models.lipnets.activations import GroupSort, MaxMin
from robspec.models.lipnets.patches import Matrix, PlainWeights
from robspec.privacy.asked import Envelope
from robspec.privacy.grid import Grid, Integers
from robspec.train.config import Config

_BITS = 26
"""Of weights behind the point, and about as many of features and of gradients: a product has 52."""
_WEIGHT = 2.0**_BITS
_ROOM = 0.99 * 2.0**_BITS
"""What the norm of a sample's features and gradients stays below, in their units."""
_GROWTH = 1 + 2.0**-12
"""What the norms of rounded weights stay below, in units: they are within 1 + 1e-5 before they are rounded."""
_ENTRIES = 1 << 28
"""Of a layer and of a sample's features, at most: for the two bounds above."""
_AT_ONCE = 1 << 18
"""Numbers of a map of all samples that are computed at once: what stays in a cache."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer of disjoint patches, as a matrix.

    Args:
        module: holds the weights.
        patch: places that are read together, or written together.
        spreads: whether it writes patches.
        group: of the activation behind it, 0 for MaxMin, None for none.
        inputs: channels.
        outputs: channels.
        places: where it reads.
        parameters: positions of weight and bias in the table, the latter None for none.
    """

    module: Matrix
    patch: int
    spreads: bool
    group: int | None
    inputs: int
    outputs: int
    places: int
    parameters: tuple[int, int | None]

    @property
    def written(self) -> int:
        """Places where it writes."""
        return self.places * self.patch if self.spreads else self.places // self.patch

    def matrix(self) -> Tensor:
        """Rounded weights in float64: [outputs, patch inputs], or [inputs, patch outputs] where it spreads."""
        weight = self.module.weight.detach().double().permute(0, 2, 3, 1)
        return weight.reshape(len(weight), -1).mul(_WEIGHT).round_()

    def restored(self, whole: Integers) -> Integers:
        """Bring integers in the order of `matrix` to the order of the parameter."""
        rows, columns, *sides = self.module.weight.shape
        return whole.reshape(rows, *sides, columns).transpose(0, 3, 1, 2).reshape(-1)


class FixedPoint:
    """The gradients of a network of disjoint patches.

    Args:
        config: `data`, `loss` and `privacy`.
        network: its weights are within the envelope whenever gradients are asked for.
        envelope: norms of its layers and of their shifts.
        parameters: names in the order of the grid, of `network.body`.

    Raises:
        ValueError: the network has other layers, or no units keep sums exact.
    """

    def __init__(self, config: Config, network: PlainWeights, envelope: Envelope, parameters: list[str]) -> None:
        self._network, self._how = network, config.loss
        self._bound = (1 - 1e-6) * config.privacy.norm_bound
        channels, height, width = config.data.input
        levels = int(math.log2(network.stride))
        places = _nested(height, width, levels)
        self._pixels = (np.arange(channels) * height * width + places[:, None]).reshape(-1)
        self._layers = list(_layers(network, config.data.input, parameters))
        last = self._layers[-1]
        self._labels = places if last.written > 1 else np.zeros(1, dtype=np.int64)
        features = [self._layers[0].places * channels, *(each.written * each.outputs for each in self._layers)]
        widths = [each.module.weight.numel() for each in self._layers]
        if max(*features, *widths) > _ENTRIES:
            raise ValueError("it is too large for sums of these units")
        self._feature = _largest(lambda unit: self._reach(unit, envelope, features))
        self._slope = _largest(lambda unit: self._steep(unit, features))
        self.at_once = max(1, _AT_ONCE // max(*features, *widths))

    def _reach(self, unit: float, envelope: Envelope, features: list[int]) -> float:
        """The largest norm of a sample's features, in a unit."""
        size = self._bound * unit + math.sqrt(features[0]) / 2
        most = size
        for layer, count in zip(self._layers, features[1:], strict=True):
            size = _GROWTH * size + math.sqrt(layer.written) * (envelope.shift * unit + 1) + math.sqrt(count) / 2
            most = max(most, size)
        return most * (1 + 1e-6)

    def _steep(self, unit: float, features: list[int]) -> float:
        """The largest norm of the gradients of a sample's loss in its features, in a unit of the logits' ones."""
        size = unit * math.sqrt(2 * self._layers[-1].written) + math.sqrt(features[-1]) / 2
        for count in features[-2::-1]:
            size = _GROWTH * size + math.sqrt(count) / 2
        return size * (1 + 1e-6)

    def sum(self, images: Tensor, labels: Tensor, grid: Grid) -> Integers:
        """Add up the integers of samples.

        Args:
            images: float32 [B, C, H, W].
            labels: int64 [B, H, W], or [B, 1, 1] of whole images; below 0 where nothing counts.
            grid: what gradients become integers by.

        Returns:
            int64, of all parameters in the order of the grid: each sample's are within its limits, and follow from
            that sample and the weights alone.
        """
        totals = [np.zeros(size, dtype=np.int64) for size in grid.sizes]
        for position, gradients, unit in self.gradients(images, labels):
            grid.add(position, gradients, unit, totals[position])
        for layer in self._layers:
            weight = layer.parameters[0]
            totals[weight] = layer.restored(totals[weight])
        return np.concatenate(totals)

    def gradients(self, images: Tensor, labels: Tensor) -> Iterator[tuple[int, Floats, float]]:
        """Compute the gradient of each sample's loss in each parameter.

        Args:
            images: see `sum`.
            labels: see `sum`.

        Yields:
            The position of a parameter, integers [B, n] in the order of the layer's matrix, and what one of them is.
        """
        count = len(images)
        normalised = ((images - self._network.mean) * self._network.inverse).flatten(1).contiguous()
        x = torch.empty(normalised.shape, dtype=torch.float64)
        samples.project(normalised.numpy(), self._pixels, self._bound, self._feature, x.numpy())
        matrices = [layer.matrix() for layer in self._layers]
        read: list[Tensor] = []
        routes: list[npt.NDArray[np.int16]] = []
        for layer, matrix in zip(self._layers, matrices, strict=True):
            read.append(x)
            sums = self._forward(layer, matrix, x)
            if layer.group is not None:
                x, route = torch.empty_like(sums), np.empty(sums.shape, dtype=np.int16)
                samples.sort(sums.numpy(), 1 / _WEIGHT, layer.group, x.numpy(), route)
                routes.append(route)
        g = torch.empty_like(sums)
        shape = (count, self._layers[-1].written, self._layers[-1].outputs)
        how, unit = self._how, 1 / (self._feature * _WEIGHT)
        flat, places = labels.flatten(1).numpy(), self._labels
        logits, found = sums.view(shape).numpy(), g.view(shape).numpy()
        samples.slopes(logits, unit, flat, places, how.tau, how.margin, self._slope, found)
        slope = 1 / (self._slope * self._layers[-1].written)
        for layer, matrix, x in zip(self._layers[::-1], matrices[::-1], read[::-1], strict=True):
            yield from self._of(layer, x, g, count, slope)
            if x is not read[0]:
                sums = self._backward(layer, matrix, g)
                g = torch.empty_like(sums)
                samples.unsort(sums.numpy(), 1 / _WEIGHT, routes.pop(), g.numpy())

    def _forward(self, layer: _Layer, matrix: Tensor, x: Tensor) -> Tensor:
        """Products of a layer, [B places, outputs], and what it adds."""
        if layer.spreads:
            sums = (x.view(-1, layer.inputs) @ matrix).view(-1, layer.outputs)
        else:
            sums = x.view(-1, layer.patch * layer.inputs) @ matrix.t()
        if layer.module.bias is not None:
            sums += layer.module.bias.detach().double().mul(self._feature * _WEIGHT).round_()
        return sums

    @staticmethod
    def _backward(layer: _Layer, matrix: Tensor, g: Tensor) -> Tensor:
        """Products of the gradients behind a layer with its weights, [B places, inputs]."""
        if layer.spreads:
            return g.view(-1, layer.patch * layer.outputs) @ matrix.t()
        return (g @ matrix).view(-1, layer.inputs)

    def _of(
        self, layer: _Layer, x: Tensor, g: Tensor, count: int, slope: float
    ) -> Iterator[tuple[int, Floats, float]]:
        """The gradients of each sample in the parameters of a layer."""
        weight, bias = layer.parameters
        if layer.spreads:
            left, right = x.view(count, -1, layer.inputs), g.view(count, -1, layer.patch * layer.outputs)
        else:
            left, right = g.view(count, -1, layer.outputs), x.view(count, -1, layer.patch * layer.inputs)
        products = torch.bmm(left.transpose(1, 2), right)
        yield weight, products.reshape(count, -1).numpy(), slope / self._feature
        if bias is not None:
            yield bias, g.view(count, -1, layer.outputs).sum(dim=1).numpy(), slope


def to_compile() -> bool:
    """Tell whether a first step would compile code, which takes seconds."""
    return _jit.to_compile(samples.project, samples.sort, samples.unsort, samples.slopes, samples.add)


def _layers(network: PlainWeights, shape: tuple[int, ...], parameters: list[str]) -> Iterator[_Layer]:
    modules = list(network.body)
    channels, height, width = shape
    if len(modules) % 2 == 0:
        raise ValueError("it does not end in a layer")
    for k in range(0, len(modules), 2):
        module, behind = modules[k], (modules[k + 1] if k + 1 < len(modules) else None)
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _apart(module, (height, width)):
            raise ValueError(f"{module} is no layer of disjoint patches")
        if not isinstance(behind, MaxMin | GroupSort | None):
            raise ValueError(f"{behind} does not sort")
        group = behind.size if isinstance(behind, GroupSort) else None if behind is None else 0
        spreads, (rows, columns) = isinstance(module, nn.ConvTranspose2d), module.kernel_size
        bias = None if module.bias is None else parameters.index(f"body.{k}.bias")
        at = (parameters.index(f"body.{k}.weight"), bias)
        outputs = module.out_channels
        yield _Layer(module, rows * columns, spreads, group, channels, outputs, height * width, at)
        height, width = (height * rows, width * columns) if spreads else (height // rows, width // columns)
        channels = outputs


def _apart(module: Matrix, sides: tuple[int, int]) -> bool:
    """Whether a layer reads or writes disjoint patches, of which there is one where its kernel is the whole map."""
    whole = module.kernel_size == sides and not isinstance(module, nn.ConvTranspose2d)
    return (
        (module.kernel_size == module.stride or whole)
        and set(module.padding) == {0}
        and set(module.dilation) == {1}
        and module.groups == 1
    )


def _nested(height: int, width: int, levels: int) -> npt.NDArray[np.int64]:
    """The places of a map in an order in which each patch of each level lies together."""
    rows, columns = height >> levels, width >> levels
    found = np.arange(height * width).reshape(rows, *[2] * levels, columns, *[2] * levels)
    pairs = [axis for level in range(levels) for axis in (1 + level, 2 + levels + level)]
    return found.transpose(0, 1 + levels, *pairs).reshape(-1)


def _largest(norm: Callable[[float], float]) -> float:
    """The largest power of two, as a unit, at which a norm keeps within its room."""
    for power in range(80, -80, -1):
        if norm(2.0**power) <= _ROOM:
            return 2.0**power
    raise ValueError("no unit keeps sums exact")
