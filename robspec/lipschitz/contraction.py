"""Sums of products of data with one constant tensor, whatever their dimensions: matrices that act on the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from robspec.function.errors import NotFinite
from robspec.lipschitz import directed
from robspec.lipschitz.batch import same_for_all
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.magnitude import exponent, scale_up, scaled, underflow
from robspec.lipschitz.norms import matrix_spectral_norm
from robspec.lipschitz.stencil import pointwise
from robspec.lipschitz.values import Step, Value
from robspec.semantics.norm import Norm

Label: TypeAlias = object
Labels: TypeAlias = tuple[Label, ...]


@dataclass(frozen=True, eq=False)
class Factor:
    """A constant factor.

    Args:
        tensor: float64, exact.
        images: the dimension, here of side 1, in which every image has the same, or None.
    """

    tensor: torch.Tensor
    images: int | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """What is multiplied and summed; see `contract`.

    Args:
        value: the data.
        labels: one per dimension of the data.
        given: the constant.
        others: one per dimension of the constant.
        output: one per dimension of the result.
    """

    value: Value
    labels: Sequence[Label]
    given: Factor
    others: Sequence[Label]
    output: Sequence[Label]

    def sums(self) -> tuple[int, int]:
        """Count what an entry of the result adds up.

        Returns:
            How many products there are; and how many of them, at most, one entry of the constant or one entry of the
            data takes part in besides the constant's own matrix: what is summed over a dimension that one of both
            lacks, or has with side 1.
        """
        data: dict[Label, int] = dict(zip(self.labels, self.value.shape, strict=True))
        held: dict[Label, int] = dict(zip(self.others, self.given.tensor.shape, strict=True))
        terms = repeated = 1
        for label in {*data, *held} - set(self.output):
            sides = data.get(label, 1), held.get(label, 1)
            terms *= max(sides)
            repeated *= max(sides) if min(sides) == 1 else 1
        return terms, repeated


def factor(call: Call, item: object) -> Factor:
    """Read the constant factor of a product.

    Args:
        call: the node.
        item: the argument, a constant.

    Returns:
        Its entries, and the dimension in which it is repeated for every image, if any.

    Raises:
        NoGlobalConstant: not a floating-point tensor.
        NotFinite: an entry is NaN or infinite.
    """
    found = item.value if isinstance(item, Constant) else item
    if isinstance(item, Constant) and item.sized:
        raise call.unsuitable("the constant factor depends on the size of the batch")
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        raise call.refuse("the constant factor is not a floating-point tensor")
    if not bool(torch.isfinite(found).all()):
        raise NotFinite(call.where, "the constant factor is not finite", "repair the weights and export again")
    return Factor(found.detach().to(torch.float64), item.images if isinstance(item, Constant) else None)


def contract(
    call: Call,
    value: Value,
    labels: Sequence[Label],
    given: Factor,
    others: Sequence[Label],
    output: Sequence[Label],
    *,
    stretch: float = 1.0,
) -> Step:
    """Answer for y[output] = sum of value[labels] * constant[others] over the labels that the output lacks.

    Dimensions of one label have equal sides, or side 1, which repeats.

    Args:
        call: the node.
        value: the data.
        labels: one per dimension of the data.
        given: as `factor` returns it.
        others: one per dimension of the constant.
        output: one per dimension of the result.
        stretch: every entry of the constant may be larger by this factor.

    Returns:
        The step: for each index of the labels that all three have, one matrix from the labels that are summed to
        those that the constant adds. Bounded by the largest norm among them, times n^(1 - 1/r) where n entries of
        the data are summed with equal weight.

    Raises:
        MixedBatch: images are summed, or meet different constants.
        NoGlobalConstant: a diagonal of the data is read.

    Source: MATH.md section 5.
    """
    if len(set(labels)) != len(labels):
        raise call.refuse("a diagonal of the data is read", "take it with torch.diagonal first")
    constant, unique = given.tensor, tuple(dict.fromkeys(others))
    if len(unique) != len(others):
        numbers = {label: index for index, label in enumerate(unique)}
        constant = torch.einsum(constant, [numbers[label] for label in others], list(range(len(unique))))
    sides = dict(zip(labels, value.shape, strict=True))
    held = dict(zip(unique, constant.shape, strict=True))
    batch = None if value.axis is None else labels[value.axis]
    if given.images is not None and others[given.images] != batch:
        raise call.mixes("the constant factor grows with the batch along a dimension that holds no images")
    if batch is not None:
        if batch not in output:
            raise call.mixes("the product sums over the images of the batch")
        constant = _one_for_all(call, constant, unique, held, batch)
    for place, label in reversed(list(enumerate(unique))):
        if held[label] == 1 and label in sides:
            constant = constant.squeeze(place)
            del held[label]
    # Data of side 1 is repeated along the constant's own dimension.
    acted = [label for label in labels if label != batch and not (label in held and sides[label] == 1)]
    shared = [label for label in acted if label in held and label in output]
    summed = [label for label in acted if label in held and label not in output]
    alone = [label for label in acted if label not in held and label not in output]
    passive = [label for label in acted if label not in held and label in output]
    added = [label for label in held if label not in shared and label not in summed and label in output]
    dropped = [label for label in held if label not in acted and label not in output]
    order = [list(held).index(label) for label in (*shared, *added, *summed, *dropped)]
    count = math.prod(held[label] for label in dropped)
    shape = [math.prod(held[label] for label in group) for group in (shared, added, summed)]
    entries = constant.permute(order).reshape(*shape, count)
    matrices, slack = _collapsed(entries, count)
    axis = None if batch is None else list(output).index(batch)
    step = None
    if not shared and not alone and len(added) == len(summed) == 1 and count == 1 and stretch == 1.0:
        step = _stencil(call, value, (labels, output), (summed[0], added[0], passive), matrices, axis)
    if step is not None:
        return step
    norm = directed.add(_largest_norm(matrices, call.norm), slack)
    equal = math.prod(sides[label] for label in alone)
    spread = directed.power(float(equal), 1 - directed.inverse(call.norm))
    return replace(call.scaled(value, directed.mul(norm, spread, stretch)), axis=axis)


def _one_for_all(
    call: Call, constant: torch.Tensor, unique: Labels, held: dict[Label, int], batch: Label
) -> torch.Tensor:
    """Cut the batch's dimension of a constant to side 1, which is right where every image meets the same."""
    if held.get(batch, 1) == 1:
        return constant
    place = unique.index(batch)
    if not same_for_all(constant, place):
        raise call.mixes("the images of the batch meet different constants")
    held[batch] = 1
    return constant.narrow(place, 0, 1)


def _collapsed(entries: torch.Tensor, count: int) -> tuple[torch.Tensor, float]:
    """Sum a constant over what neither data nor output has; with a bound on the norm of what rounding changed."""
    if count == 1:
        return entries.squeeze(-1), 0.0
    mass = directed.mul(float(entries.abs().sum()), 1.0 + 2.0 * directed.gamma(entries.numel() + 1))
    # The least double covers sums of subnormal numbers, whose rounding is not relative.
    return entries.sum(-1), directed.add(directed.mul(directed.gamma(count), mass), entries.numel() * 5e-324)


def _largest_norm(matrices: torch.Tensor, norm: Norm) -> float:
    """Bound the largest l_r norm of a stack of matrices, shape (stack, rows, columns), rounded up."""
    if 0 in matrices.shape:
        return 0.0
    if matrices.shape[1:] == (1, 1):
        return float(matrices.abs().max())
    sizes = 1.0 + 2.0 * directed.gamma(sum(matrices.shape[1:]) + 2)
    one = directed.mul(float(matrices.abs().sum(1).max()), sizes)
    infinity = directed.mul(float(matrices.abs().sum(2).max()), sizes)
    if norm.p == 1:
        return one
    if norm.p is None:
        return infinity
    power = exponent(matrices)
    # Scaling down may lose what is far below the largest entry: no more than the least double in each.
    level = directed.add(matrix_spectral_norm(scaled(matrices, -power)), underflow(matrices[0].numel()))
    two = scale_up(level, power)
    return two if norm.p == 2 else directed.between(one, two, infinity, norm)


def _stencil(
    call: Call,
    value: Value,
    names: tuple[Sequence[Label], Sequence[Label]],
    roles: tuple[Label, Label, list[Label]],
    matrices: torch.Tensor,
    axis: int | None,
) -> Step | None:
    """Write one matrix along one dimension as a stencil, so that it is grouped with its neighbours."""
    labels, output = (list(part) for part in names)
    channel, made, passive = roles
    before = tuple(labels.index(label) for label in (channel, *passive))
    after = tuple(output.index(label) for label in (made, *passive))
    if len(output) != len(after) + (axis is not None) or len(labels) != len(before) + (value.axis is not None):
        return None
    sides = tuple(value.shape[place] for place in before[1:])
    stencil = replace(pointwise(matrices, sides, before), output_axes=after)
    return replace(call.linear(value, stencil), axis=axis)
