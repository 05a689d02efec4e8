"""What the walk knows about each tensor that depends on the image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import fx

from robspec.errors import RobspecError
from robspec.lipschitz import directed, watching
from robspec.lipschitz.ahead import operator_norm
from robspec.lipschitz.stencil import Stencil
from robspec.semantics.norm import Norm

_PIECES_KEPT = 6
_TRACKED_KEPT = 4


@dataclass(frozen=True, eq=False)
class View:
    """An exact linear relation: value = stencil(anchor) + constant.

    Args:
        anchor: an earlier value.
        stencil: the map.
        members: names of the graph nodes that were grouped.
    """

    anchor: Value
    stencil: Stencil
    members: tuple[str, ...]
    _norms: dict[Norm, float] = field(default_factory=dict, repr=False)

    def norm(self, norm: Norm) -> float:
        """Bound the map from l_r to l_r, rounded up; computed once."""
        if norm not in self._norms:
            self._norms[norm] = operator_norm(self.stencil, norm)
        return self._norms[norm]


@dataclass(frozen=True, eq=False)
class Piece:
    """A selection of entries of a parent value, each at most once.

    Args:
        parent: the value selected from.
        region: per dimension of the parent, the indices taken.
        axes: the parent's dimension behind each dimension of this value.
    """

    parent: Value
    region: tuple[range, ...]
    axes: tuple[int, ...]

    def disjoint(self, other: Piece) -> bool:
        """Whether two pieces of one parent share no entry."""
        return any(set(a).isdisjoint(b) for a, b in zip(self.region, other.region, strict=True))


@dataclass(frozen=True)
class Squares:
    """A sum of weighted squares plus a non-negative constant: value_o = sum_k sum_i M_k[o, i] u_k[i]^2 + c_o.

    Args:
        terms: per k, the value u_k and upper bounds on the largest column sum of M_k, on its largest row
            sum, and on the largest column sum of the entrywise square roots of M_k.
    """

    terms: tuple[tuple[Value, float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Step:
    """How a value follows from earlier ones.

    Args:
        rule: short name for the table.
        inputs: the values the bound is computed from.
        bound: given an anchor known to all inputs, an upper bound on the l_r constant from that anchor to
            this value.
        axis: batch axis of the value, None where there is no batch.
        view: exact linear relation to an earlier value, if known.
        alias: the value this one equals up to an added constant, if any.
        piece: selection this value is, if any.
        monotone: whether each entry is a function of the same entry of inputs[0] with slopes in [0, 1].
        squares: sum-of-squares form, if any.
        pair: ("max" or "min", a, b) for an entrywise extreme of two values, ("amax" or "amin", u, dims) of
            one.
        refusal: why there is no bound, if there is none.
        own: the linear map of this node alone, if it is one.
    """

    rule: str
    inputs: tuple[Value, ...]
    bound: Callable[[Value], float]
    axis: int | None
    view: View | None = None
    alias: Value | None = None
    piece: Piece | None = None
    monotone: bool = False
    squares: Squares | None = None
    pair: tuple[object, ...] | None = None
    refusal: RobspecError | None = None
    own: Stencil | None = None


@dataclass(eq=False)
class Value:
    """One tensor that depends on the image.

    Args:
        name: node name, with an index for one of several outputs.
        node: the graph node.
        shape: the shape for one image; the batch axis holds what is left after dividing by the batch size.
        dtype: element type.
        step: how it follows from earlier values.
        norm: r of the walk.
        tracked: whether bounds from this value are kept for later ones, in the place of those from all but the image
            and the nearest few like it.
    """

    name: str
    node: fx.Node
    shape: tuple[int, ...]
    dtype: torch.dtype
    step: Step
    norm: Norm
    seconds: float = 0.0
    separate: float | None = None
    tracked: bool = False
    _known: dict[Value, float] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        watching.counted()

    @property
    def axis(self) -> int | None:
        """The batch axis."""
        return self.step.axis

    @property
    def source(self) -> Value:
        """The earliest value this one equals up to an added constant."""
        value = self
        while value.step.alias is not None:
            value = value.step.alias
        return value

    @property
    def evaluated(self) -> bool:
        """Whether the bound was ever needed."""
        return self._known is not None

    @property
    def known(self) -> dict[Value, float]:
        """Bounds on the l_r constant from each tracked anchor to this value, rounded up; computed when first
        needed.

        Raises:
            RobspecError: the value has no bound.
        """
        if self._known is None:
            self._known = self._compute()
        return self._known

    def _compute(self) -> dict[Value, float]:
        step = self.step
        if step.refusal is not None:
            raise step.refusal
        if not step.inputs:
            return {self: 1.0}
        start = time.perf_counter()
        watching.begun(self.name, step.rule)
        if step.view is None:
            bounds = self._separate()
        else:
            anchors = step.view.anchor.known
            norm = step.view.norm(self.norm)
            bounds = {anchor: directed.mul(norm, bound) for anchor, bound in anchors.items()}
            if step.view.stencil.parts > 1:
                apart = self._separate()
                self.separate = next(iter(apart.values()), None)
                for anchor, bound in apart.items():
                    bounds[anchor] = min(bound, bounds.get(anchor, bound))
        if self.tracked:
            root, *rest = bounds
            nearest = [anchor for anchor in rest if anchor.tracked][-_TRACKED_KEPT:]
            bounds = {anchor: bounds[anchor] for anchor in (root, *nearest)}
            bounds[self] = 1.0
        elif step.piece is not None:
            bounds[self] = 1.0
            for stale in list(bounds)[1 : max(1, len(bounds) - _PIECES_KEPT)]:
                del bounds[stale]
        self.seconds += time.perf_counter() - start
        watching.finished()
        return bounds

    def forget(self, *, tracked: bool) -> None:
        """Let bounds be computed again, from this value on as well where it is tracked."""
        self.tracked, self._known = tracked, None

    def suppose(self, bounds: dict[Value, float]) -> None:
        """Take bounds for granted, in place of those that follow from earlier values."""
        self._known = bounds

    def bounds_of(self) -> tuple[bool, dict[Value, float] | None]:
        """Give what `forget` and `suppose` change, for `restore`."""
        return self.tracked, self._known

    def restore(self, kept: tuple[bool, dict[Value, float] | None]) -> None:
        """Take back what `forget` and `suppose` changed."""
        self.tracked, self._known = kept

    def _separate(self) -> dict[Value, float]:
        begun = time.perf_counter()
        tables = [value.known for value in self.step.inputs]
        self.seconds -= time.perf_counter() - begun
        shared = [anchor for anchor in tables[0] if all(anchor in table for table in tables[1:])]
        return {anchor: self.step.bound(anchor) for anchor in shared}
