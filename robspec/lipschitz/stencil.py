"""Translation-equivariant linear maps as sums of shifted matrices, and how they compose exactly.

A stencil maps x[channel, position] to y[i, o] = sum over taps d of K_d[i, j] x[j, o * stride + d]. Outside
[0, n) x counts as zero, or, along a circular dimension, positions are taken modulo n. A transposed stencil
is y[i, o] = sum over (d, p) with p * stride + d = o of K_d[i, j] x[j, p]. Convolutions, scalings, linear
layers, channel selections and zero or circular padding are all stencils; a linear layer is a stencil with
the single tap 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from robspec.lipschitz import directed

TINY = 2.0**-1074
"""Smallest positive float64; a product or quotient that underflows is off by at most half of it."""

LEAST_NORMAL = 2.0**-1022
"""Smallest normal float64; below it relative errors are unbounded."""

_LARGEST_DENSE = 1 << 26


@dataclass(frozen=True, eq=False)
class Stencil:
    """One linear map between layers, written as shifted matrices.

    Args:
        kernels: float64, shape (taps, groups, outputs per group, inputs per group).
        offsets: the tap positions d, one tuple of `dims` integers per tap, all distinct.
        stride: per dimension.
        inputs: input side n per dimension.
        outputs: output side m per dimension.
        circular: per dimension, whether positions wrap modulo n.
        transposed: whether this is the adjoint form.
        input_axes: axes of the input value: channel first, then the dimensions; other axes are untouched.
        output_axes: the same for the output value.
        slack: bound on the sum of absolute kernel errors, float64, rounded up.
        parts: how many non-trivial operators (not scalings, shifts, selections) were composed.
        stretch: every kernel entry may be larger by this factor, row by row and column by column, rounded
            up.
    """

    kernels: torch.Tensor
    offsets: tuple[tuple[int, ...], ...]
    stride: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    circular: tuple[bool, ...]
    transposed: bool
    input_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    slack: float = 0.0
    parts: int = 1
    stretch: float = 1.0

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.inputs)

    @property
    def groups(self) -> int:
        """Number of channel groups."""
        return int(self.kernels.shape[1])

    @property
    def channels_in(self) -> int:
        """Number of input channels."""
        return int(self.kernels.shape[1] * self.kernels.shape[3])

    @property
    def channels_out(self) -> int:
        """Number of output channels."""
        return int(self.kernels.shape[1] * self.kernels.shape[2])

    def trivial_along(self, dim: int) -> bool:
        """Whether the map acts on each position of a dimension by itself."""
        still = all(offset[dim] == 0 for offset in self.offsets)
        return still and self.stride[dim] == 1 and self.inputs[dim] == self.outputs[dim]

    @property
    def pointwise(self) -> bool:
        """Whether the map is one matrix applied at every position."""
        return all(self.trivial_along(dim) for dim in range(self.dims))

    @property
    def mass(self) -> float:
        """Sum of absolute kernel entries, rounded up: at least the l_1, l_2 and l_infinity norms."""
        total = float(self.kernels.abs().sum())
        return directed.mul(total, 1.0 + 2.0 * directed.gamma(self.kernels.numel() + 1))


def pointwise(
    kernel: torch.Tensor,
    sides: tuple[int, ...],
    axes: tuple[int, ...],
    *,
    parts: int = 1,
) -> Stencil:
    """Build the stencil of one matrix applied at every position.

    Args:
        kernel: float64, shape (groups, outputs per group, inputs per group).
        sides: the spatial sides.
        axes: channel axis and spatial axes, of input and output alike.
        parts: see Stencil.

    Returns:
        The stencil.
    """
    dims = len(sides)
    return Stencil(
        kernels=kernel.unsqueeze(0),
        offsets=((0,) * dims,),
        stride=(1,) * dims,
        inputs=sides,
        outputs=sides,
        circular=(False,) * dims,
        transposed=False,
        input_axes=axes,
        output_axes=axes,
        parts=parts,
    )


def identity(channels: int, sides: tuple[int, ...], axes: tuple[int, ...]) -> Stencil:
    """Build the identity stencil, one group per channel."""
    return pointwise(torch.ones(channels, 1, 1, dtype=torch.float64), sides, axes, parts=0)


def densify(stencil: Stencil) -> Stencil | None:
    """Write a grouped stencil with a single group; None where that would need too much memory."""
    taps, groups, rows, columns = stencil.kernels.shape
    if groups == 1:
        return stencil
    if taps * groups * groups * rows * columns > _LARGEST_DENSE:
        return None
    full = torch.zeros(taps, groups * rows, groups * columns, dtype=torch.float64)
    for group in range(groups):
        block = stencil.kernels[:, group]
        full[:, group * rows : (group + 1) * rows, group * columns : (group + 1) * columns] = block
    return replace(stencil, kernels=full.unsqueeze(1))


def settled(stencil: Stencil) -> Stencil:
    """Turn relative errors into absolute ones, before the map is added to or multiplied by another."""
    if stencil.stretch == 1.0:
        return stencil
    excess = directed.ceil_float(Fraction(stencil.stretch) - 1)
    slack = directed.add(stencil.slack, directed.mul(excess, directed.add(stencil.mass, stencil.slack)))
    return replace(stencil, slack=slack, stretch=1.0)


def diagonal(
    factors: torch.Tensor, sides: tuple[int, ...], axes: tuple[int, ...], *, stretch: float = 1.0
) -> Stencil:
    """Build the stencil that multiplies each channel by its own factor.

    Args:
        factors: float64, shape (channels,).
        sides: the spatial sides.
        axes: channel axis and spatial axes.
        stretch: each factor may be larger by this factor.

    Returns:
        The stencil; it counts as a part unless all factors have the same size.
    """
    sizes = factors.abs()
    parts = 0 if bool((sizes == sizes[0]).all()) else 1
    # Below the normal numbers a factor that was computed is off by more than any relative error.
    lost = int((sizes < LEAST_NORMAL).sum())
    slack = directed.mul(float(lost), TINY) if stretch != 1.0 else 0.0
    return replace(pointwise(factors.reshape(-1, 1, 1), sides, axes, parts=parts), stretch=stretch, slack=slack)


def compose(second: Stencil, first: Stencil) -> Stencil | None:
    """Compose two stencils where the composition is again a stencil, exactly up to the stated slack.

    Args:
        second: the map applied last.
        first: the map applied first.

    Returns:
        second after first, or None where no exact stencil form is known (zero padding between two windows).
    """
    joins = first.output_axes == second.input_axes and first.outputs == second.inputs
    if not joins or first.channels_out != second.channels_in:
        return None
    if second.pointwise:
        return _multiply(second, first, outer=True)
    if len(first.offsets) != 1 or any(s != 1 for s in first.stride) or first.transposed:
        return None
    circular = list(second.circular)
    for dim in range(first.dims):
        if first.trivial_along(dim):
            continue
        if second.transposed or second.circular[dim]:
            return None
        shift = first.offsets[0][dim]
        if first.circular[dim]:
            reads = [offset[dim] for offset in second.offsets]
            last = (second.outputs[dim] - 1) * second.stride[dim] + max(reads)
            if min(reads) < 0 or last >= first.outputs[dim]:
                return None
            circular[dim] = True
        elif shift > 0 or first.outputs[dim] + shift < first.inputs[dim]:
            return None
    product = _multiply(second, first, outer=False)
    if product is None:
        return None
    moved = tuple(tuple(a + b for a, b in zip(o, first.offsets[0], strict=True)) for o in second.offsets)
    return replace(product, offsets=moved, inputs=first.inputs, circular=tuple(circular))


def _multiply(second: Stencil, first: Stencil, *, outer: bool) -> Stencil | None:
    """Multiply the kernels of two stencils of which the one (second if outer) has a single tap."""
    product = _product(second, first)
    if product is None:
        return None
    kernels, left, right, spread = product
    stretch = directed.mul(left.stretch, right.stretch)
    weight = directed.gamma(int(left.kernels.shape[3]) + 2)
    lost = int(left.kernels.shape[3]) * kernels.numel()
    slack = directed.add(
        directed.mul(weight, spread),
        directed.mul(float(lost), TINY),
        directed.mul(left.slack, right.mass),
        directed.mul(left.mass, right.slack),
        directed.mul(left.slack, right.slack),
    )
    frame = first if outer else second
    return replace(
        frame,
        kernels=kernels,
        input_axes=first.input_axes,
        output_axes=second.output_axes,
        slack=slack,
        parts=first.parts + second.parts,
        stretch=stretch,
    )


def _product(second: Stencil, first: Stencil) -> tuple[torch.Tensor, Stencil, Stencil, float] | None:
    """Multiply matching blocks; return the product, the regrouped factors and the sum of |left| |right|."""
    if _diagonal(second):
        row = second.kernels.reshape(-1, first.groups, first.kernels.shape[2], 1)
        kernels = row * first.kernels
        return kernels, second, first, float(kernels.abs().sum()) * (1.0 + 1e-6)
    if _diagonal(first):
        column = first.kernels.reshape(-1, second.groups, 1, second.kernels.shape[3])
        kernels = second.kernels * column
        return kernels, second, first, float(kernels.abs().sum()) * (1.0 + 1e-6)
    aligned = _align(settled(second), settled(first))
    if aligned is None:
        return None
    left, right = aligned
    kernels = left.kernels @ right.kernels
    return kernels, left, right, float((left.kernels.abs() @ right.kernels.abs()).sum()) * (1.0 + 1e-6)


def _align(left: Stencil, right: Stencil) -> tuple[Stencil, Stencil] | None:
    """Give two stencils matching channel groups, densifying where needed."""
    if left.groups == right.groups and left.kernels.shape[3] == right.kernels.shape[2]:
        return left, right
    dense_left, dense_right = densify(left), densify(right)
    return None if dense_left is None or dense_right is None else (dense_left, dense_right)


def _diagonal(stencil: Stencil) -> bool:
    return bool(stencil.kernels.shape[2] == stencil.kernels.shape[3] == 1)
