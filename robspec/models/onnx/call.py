"""One call of an ONNX operator, as the files of `ops` see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.models.onnx.errors import BY_NAME, UnknownOnnxOperator
from robspec.models.onnx.graph import Array, Node

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that no image changes.

    Args:
        array: its numbers, which no trace sees.
        held: the same as the network holds it, which a trace sees; None where the network has no use for it.
    """

    array: Array
    held: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Sizes:
    """Numbers computed from shapes; one of them may be the free size of the batch.

    Args:
        numbers: an array of at most one dimension, of Python's and torch's integers.
    """

    numbers: npt.NDArray[np.object_]


Value = Tensor | Constant | Sizes
Operator = Callable[["Call"], "Value | Sequence[Value]"]


@dataclass(frozen=True)
class Call:
    """A node, and what its inputs are.

    Args:
        node: the node.
        opset: version of the operator set.
        inputs: their values; None for one that is left out.
        where: the file and node, for errors.
        used: told of each constant that meets data.
    """

    node: Node
    opset: int
    inputs: tuple[Value | None, ...]
    where: str
    used: Callable[[Constant], None]
    _read: set[str] = field(default_factory=set)

    def value(self, index: int) -> Value | None:
        """An input as it is; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def data(self, index: int = 0) -> Tensor:
        """An input as a tensor.

        Raises:
            UnknownOnnxOperator: it is left out.
        """
        found = self.optional(index)
        if found is None:
            raise self.refused(f"it has no input number {index + 1}")
        return found

    def optional(self, index: int) -> Tensor | None:
        """An input as a tensor, None where it is left out."""
        found = self.value(index)
        if isinstance(found, Constant):
            self.used(found)
            return torch.from_numpy(found.array) if found.held is None else found.held
        if isinstance(found, Sizes):
            return _tensor(found, self)
        return found

    def all_data(self) -> list[Tensor]:
        """Every input as a tensor."""
        return [self.data(i) for i in range(len(self.inputs))]

    def constant(self, index: int) -> Array | None:
        """The numbers of a constant input, None where it is left out.

        Raises:
            UnknownOnnxOperator: it is computed from the images.
        """
        found = self.value(index)
        if found is None:
            return None
        if not isinstance(found, Constant):
            raise self.refused(f"its input number {index + 1} depends on the images, and has to be constant")
        return found.array

    def numbers(self, index: int) -> list[Any] | None:
        """A constant, or numbers computed from shapes, as a list; None where it is left out."""
        found = self.value(index)
        if isinstance(found, Sizes):
            return list(found.numbers.reshape(-1))
        held = self.constant(index)
        return None if held is None else held.reshape(-1).tolist()

    def number(self, index: int, default: float | None = None) -> Any:
        """The only number of a constant input."""
        found = self.numbers(index)
        if found is None:
            return default
        if len(found) != 1:
            raise self.refused(f"its input number {index + 1} holds {len(found)} numbers instead of one")
        return found[0]

    def option(self, name: str, default: _T) -> _T:
        """An attribute of the type of its default."""
        self._read.add(name)
        found = self.node.options.get(name, default)
        wanted = type(default)
        if wanted is tuple and found == ():
            return default
        if not isinstance(found, wanted):
            raise self.refused(f"its attribute {name} is not as expected")
        return found

    def given(self, name: str) -> bool:
        """Whether an attribute is stated."""
        return name in self.node.options

    def finish(self) -> None:
        """Refuse attributes that nothing has read: they may change what is meant."""
        unread = sorted(set(self.node.options) - self._read)
        if unread:
            raise self.refused(f"it has the attribute {unread[0][:40]!a}, which is not read")

    def refused(self, what: str) -> UnknownOnnxOperator:
        """The error, E0222, that refuses the call."""
        return UnknownOnnxOperator(
            self.where,
            f"{self.node.operator} of operator set {self.opset} cannot be read: {what}",
            f"cut the graph before it {BY_NAME}, or export the network without it",
        )


def sizes(numbers: Sequence[Any] | Any) -> Sizes:
    """Hold integers; a list is a vector, an integer a scalar."""
    if isinstance(numbers, list | tuple):
        held = np.empty(len(numbers), dtype=object)
        held[:] = list(numbers)
        return Sizes(held)
    scalar = np.empty((), dtype=object)
    scalar[()] = numbers
    return Sizes(scalar)


def axes(found: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front."""
    return [int(axis) % rank for axis in found]


def _tensor(found: Sizes, call: Call) -> Tensor:
    plain = found.numbers.reshape(-1).tolist()
    if not all(isinstance(number, int | float) for number in plain):
        raise call.refused("the number of images is used as a number, not as a size")
    return torch.tensor(plain).reshape(found.numbers.shape)
