"""One node of the graph as a rule sees it: named arguments, shapes per image, and the ways to answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import fx

from robspec.errors import RobspecError
from robspec.function.errors import MixedBatch, NotFinite, UnsuitableProgram
from robspec.lipschitz import directed
from robspec.lipschitz.ahead import operator_norm
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.stencil import Stencil, compose
from robspec.lipschitz.values import Piece, Squares, Step, Value, View
from robspec.semantics.norm import Norm


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor or number that does not depend on the image.

    Args:
        value: what the graph computes, in its own element type.
        sized: whether it depends on the batch size; then only its shape may be used.
        images: the axis, in `value` of side 1, along which it is repeated for every image; None where it is not.
    """

    value: object
    sized: bool = False
    images: int | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """One graph node with its arguments resolved.

    Args:
        node: the graph node.
        name: the operation's name, such as conv2d or relu, in-place underscore removed.
        arguments: by schema name: values, constants, numbers, or lists of these.
        shapes: for each output, its shape for one image (batch axis still undivided) under the first batch
            size.
        batch: the first batch size.
        norm: r of the walk.
        where: node, module path and source line, for messages.
        dtypes: for each output, its element type.
        lookup: what the walk knows about any earlier node.
        own: element type of the image.
    """

    node: fx.Node
    name: str
    arguments: dict[str, object]
    shapes: tuple[tuple[int, ...], ...]
    batch: int
    norm: Norm
    where: str
    dtypes: tuple[torch.dtype, ...]
    lookup: Callable[[fx.Node], object]
    own: torch.dtype = torch.float32

    def get(self, name: str) -> object:
        """Return an argument, None if absent; constants are unwrapped, unless they depend on the batch size."""
        found = self.arguments.get(name)
        if isinstance(found, Constant):
            if found.sized:
                raise self.unsuitable("a number here depends on the batch size")
            return found.value
        if isinstance(found, list):
            if any(isinstance(item, Constant) and item.sized for item in found):
                raise self.unsuitable("a number here depends on the batch size")
            return [item.value if isinstance(item, Constant) else item for item in found]
        return found

    def value(self, name: str) -> Value:
        """Return an argument that depends on the image; refuse if it does not."""
        found = self.arguments.get(name)
        if not isinstance(found, Value):
            raise self.refuse(f"argument {name} was expected to be the only one that depends on the image")
        return found

    def tensor(self, name: str) -> torch.Tensor | None:
        """Return a constant tensor argument, None if absent; refuse if it depends on the image."""
        found = self.get(name)
        if found is None or isinstance(found, torch.Tensor):
            return found
        if isinstance(found, Value):
            raise self.refuse(f"argument {name} depends on the image")
        return torch.as_tensor(found)

    def integer(self, name: str) -> int:
        """Return an integer argument; refuse if it is absent, for no default of torch's is guessed here."""
        found = self.get(name)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.refuse(f"argument {name} is not a fixed integer")
        return found

    def number(self, name: str) -> float:
        """Return a finite number argument; refuse if it is absent."""
        found = self.get(name)
        if isinstance(found, torch.Tensor) and found.numel() == 1:
            found = found.item()
        if not isinstance(found, int | float) or not math.isfinite(found):
            raise self.refuse(f"argument {name} is not a fixed finite number")
        return float(found)

    def size(self, name: str) -> float:
        """Bound the size of a number argument, as given and as rounded to the element type of the output.

        Args:
            name: the argument.

        Returns:
            The larger of the two, rounded up.
        """
        given = self.number(name)
        return directed.mul(abs(given), directed.add(1.0, _rounding(given, self.dtypes[0])))

    def integers(self, name: str, count: int) -> tuple[int, ...]:
        """Return a list-of-integers argument, one number standing for all; refuse if it is absent."""
        found = self.get(name)
        given: list[object] = list(found) if isinstance(found, list | tuple) else [found]
        items = [item for item in given if isinstance(item, int)]
        if len(items) != len(given) or (count and not items):
            raise self.refuse(f"argument {name} is not a list of fixed integers")
        return tuple(items) * count if len(items) == 1 else tuple(items)

    def dims(self, name: str, rank: int) -> tuple[int, ...]:
        """Return a dimension argument as non-negative axes; absent or empty means all."""
        found = self.get(name)
        if found is None or found == []:
            return tuple(range(rank))
        given: list[object] = list(found) if isinstance(found, list | tuple) else [found]
        items = [item for item in given if isinstance(item, int)]
        if len(items) != len(given):
            raise self.refuse(f"argument {name} is not a list of fixed dimensions")
        return tuple(sorted({item % rank for item in items})) if rank else ()

    def refuse(self, what: str, mend: str = "", *, jumps: bool = False) -> RobspecError:
        """Build the refusal of an operation without a global constant, or that even jumps."""
        mend = mend or "replace it by an operation with a global Lipschitz constant"
        return NoGlobalConstant(self.where, what, mend, jumps=jumps)

    def unsuitable(self, what: str, mend: str = "") -> RobspecError:
        """Build the refusal of a program that is not one function of one image."""
        return UnsuitableProgram(self.where, what, mend or "export the model again without this dependence")

    def mixes(self, what: str) -> RobspecError:
        """Build the refusal of an operation across the images of a batch."""
        return MixedBatch(self.where, what, "keep the batch as its own leading dimension")

    def passive(self, value: Value, axes: Sequence[int]) -> None:
        """Refuse when any of these axes carries the batch."""
        if value.axis is not None and value.axis in axes:
            raise self.mixes(f"{self.name} acts along dimension {value.axis}, which holds the images of the batch")

    def step(
        self,
        inputs: Sequence[Value],
        bound: Callable[[Value], float],
        *,
        axis: int | None,
        rule: str = "",
    ) -> Step:
        """Answer with a bound of its own form."""
        return Step(rule=rule or self.name, inputs=tuple(inputs), bound=bound, axis=axis)

    def weight(self, name: str) -> torch.Tensor:
        """Return a constant floating-point tensor in float64 (exactly), refused unless finite."""
        found = self.tensor(name)
        if found is None or not found.is_floating_point():
            raise self.refuse(f"argument {name} is not a floating-point tensor")
        if not bool(torch.isfinite(found).all()):
            raise NotFinite(self.where, f"argument {name} is not finite", "repair the weights and export again")
        return found.detach().to(torch.float64)

    def factor(self, name: str, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
        """Return a constant factor in float64, and how far the one the graph uses may differ from it.

        Args:
            name: the argument.
            dtype: element type of the data it multiplies; a wider scalar may or may not be rounded to it.

        Returns:
            The factor, and a bound on the relative difference, rounded up.
        """
        found = self.get(name)
        if isinstance(found, Value) or found is None or isinstance(found, complex):
            raise self.refuse(f"argument {name} is not a real constant")
        scalar = not isinstance(found, torch.Tensor)
        given = torch.tensor(found, dtype=torch.float64) if scalar else self.tensor(name)
        if given is None or given.is_complex():
            raise self.refuse(f"argument {name} is not a real constant")
        exact = given.detach().to(torch.float64)
        if exact.dim() > 0 or not (scalar or given.dtype == torch.float64):
            return exact, 0.0
        return exact, _rounding(float(exact), dtype)

    def broadcast_axis(self, value: Value) -> int | None:
        """Return where the batch axis of an operand lands in the output."""
        return None if value.axis is None else value.axis + len(self.shapes[0]) - len(value.shape)

    def merged_axis(self, values: Sequence[Value], *, aligned: bool = False) -> int | None:
        """Return the batch axis of an output that combines several operands entry by entry.

        Args:
            values: operands.
            aligned: whether operands and output have the same rank numbering from the left (concatenation).

        Raises:
            MixedBatch: the operands hold the batch in different places.
        """
        axes = {value.axis if aligned else self.broadcast_axis(value) for value in values}
        if len(axes) != 1:
            raise self.mixes("the operands hold the batch in different dimensions")
        return axes.pop()

    def axis_after(self, value: Value, dims: Sequence[int], *, keeps: bool) -> int | None:
        """Return the batch axis once these dimensions are reduced."""
        if value.axis is None or keeps:
            return value.axis
        return value.axis - sum(1 for dim in dims if dim < value.axis)

    def same(self, value: Value) -> Step:
        """Answer: the value itself, up to an added constant of the full shape."""
        if len(self.shapes[0]) != len(value.shape):
            # With dimensions in front, the axes of what is known about the value would name others.
            return self.scaled(value, 1.0, axis=self.broadcast_axis(value))
        return replace(self.scaled(value, 1.0), alias=value.source)

    def unmoved(self, like: Value) -> Step:
        """Answer: a tensor of the shape of data that does not change with it."""
        return self.step([like], lambda _: 0.0, axis=like.axis)

    def without_view(self, step: Step) -> Step:
        """Keep a step's bound but not its linear form (the output has another rank)."""
        return replace(step, view=None)

    def selected(self, step: Step, piece: Piece) -> Step:
        """Mark a step as a selection of entries."""
        return replace(step, piece=piece)

    def squares(self, terms: tuple[tuple[Value, float, float, float], ...], axis: int | None) -> Step:
        """Answer: a weighted sum of squares, without a bound of its own until its square root is taken."""
        refusal = self.refuse(
            "a square has no global Lipschitz constant", "take the square root of the sum of squares"
        )
        inputs = tuple(term[0] for term in terms)
        return Step(self.name, inputs, lambda _: math.inf, axis, squares=Squares(terms), refusal=refusal)

    def scaled(self, value: Value, gain: float, *, axis: int | None = None, rule: str = "") -> Step:
        """Answer: this node multiplies distances by at most `gain`; the batch axis stays unless given."""
        where = value.axis if axis is None else axis

        def bound(anchor: Value) -> float:
            return directed.mul(gain, value.known[anchor])

        return self.step([value], bound, axis=where, rule=rule)

    def entrywise(self, gain: float, *, monotone: bool = False) -> Step:
        """Answer: each entry becomes a function of itself whose slopes are at most `gain` in size.

        Args:
            gain: bound on the slopes, rounded up.
            monotone: whether all slopes lie in [0, 1].
        """
        value = self.value("input" if "input" in self.arguments else "self")
        return replace(self.scaled(value, gain), monotone=monotone)

    def linear(self, value: Value, stencil: Stencil, *, rule: str = "", axis: int | None = None) -> Step:
        """Answer: this node applies a stencil, plus a constant; adjacent stencils are grouped where exact."""
        norms: list[float] = []

        def bound(anchor: Value) -> float:
            if not norms:
                norms.append(operator_norm(stencil, self.norm))
            return directed.mul(norms[0], value.known[anchor])

        view = View(value.source, stencil, (self.node.name,))
        earlier = value.source.step.view
        if earlier is not None and value.source.step.piece is None:
            composed = compose(stencil, earlier.stencil)
            if composed is not None:
                view = View(earlier.anchor, composed, (*earlier.members, self.node.name))
        _settle(view.anchor)
        return Step(
            rule=rule or self.name,
            inputs=(value,),
            bound=bound,
            axis=value.axis if axis is None else axis,
            view=view,
            own=stencil,
        )


def _rounding(value: float, dtype: torch.dtype) -> float:
    """Bound the relative error of rounding a number to an element type, 0 where it is exact."""
    stored = float(torch.tensor(value, dtype=torch.float64).to(dtype))
    if stored == value or not math.isfinite(stored) or value == 0.0:
        return 0.0
    return directed.ceil_float(abs(Fraction(stored) - Fraction(value)) / abs(Fraction(value)))


def _settle(anchor: Value) -> None:
    """Compute an anchor's bound now, so that long linear chains do not recurse; refusals are met later."""
    try:
        _ = anchor.known
    except RobspecError:
        return
