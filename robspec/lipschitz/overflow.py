"""Whether a number inside a network may leave the range of its element type, where what follows could hide it.

A Lipschitz constant is of the function over the reals. Infinities among the logits are seen; one that a clamp, a
sigmoid or a relu takes back to a finite number is not, and the network that runs would then be another function.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Set
from pathlib import Path

import torch

from robspec.errors import RobspecError
from robspec.function.program import AnyProgram
from robspec.kept import keep, kept
from robspec.lipschitz import directed
from robspec.lipschitz.asked import needed, read
from robspec.lipschitz.cache import folder, key
from robspec.lipschitz.derivation import Derivation
from robspec.lipschitz.rounding.magnitudes import channel_of, laid_out, measure
from robspec.lipschitz.threads import threads_for
from robspec.lipschitz.values import Value
from robspec.lipschitz.walk import Walk
from robspec.semantics.norm import LINF, Norm

VERSION = "1"
"""Raised whenever answers may change; part of every key."""
_ROOM = 0.25
"""A sum's terms, with a constant that is added, are at most four times what they are bounded by here."""
_SQUARED = frozenset({"pow", "square", "float_power", "norm", "linalg_vector_norm", "instance_norm"})
_AVERAGED = frozenset(
    {"mean", *(f"{start}avg_pool{n}d" for start in ("", "adaptive_", "_adaptive_") for n in (1, 2, 3))}
)


def cached(
    program: AnyProgram,
    proof: Derivation,
    middle: torch.Tensor,
    radius: torch.Tensor,
    *,
    wide: bool,
    directory: Path | None = None,
) -> str | None:
    """Answer as `overflowing`, or read the answer for exactly this graph and these images.

    Args:
        program: the loaded export.
        proof: its constants.
        middle: of the box.
        radius: of the box.
        wide: whether the network is run in float64.
        directory: where entries live; the user's cache directory if None.
    """
    sides = [v.hex() for part in (middle, radius) for v in part.tolist()]
    asked = [key(program, proof.input_norm, proof.output_norm), VERSION, str(proof.walk_norm), str(wide), *sides]
    path = folder(directory) / f"range-{hashlib.sha256('|'.join(asked).encode()).hexdigest()}.json"
    known = kept(path)
    if known is not None and isinstance(known.get("node"), str):
        return str(known["node"]) or None
    found = overflowing(program, proof, middle, radius, wide=wide)
    keep(path, {"node": found or ""})
    return found


def overflowing(
    program: AnyProgram, proof: Derivation, middle: torch.Tensor, radius: torch.Tensor, *, wide: bool
) -> str | None:
    """Look for a node whose numbers are not proved to stay in range, for images of a box.

    Args:
        program: the loaded export the proof is of.
        proof: its constants, from the image to each node that has one of its own, in the norm of its walk.
        middle: float64, one number for each channel, or one.
        radius: how far an entry of each channel may be from it, rounded up.
        wide: whether the network is run in float64, whatever its own type.

    Returns:
        The node's name, None where every node's numbers stay in range.

    Source: |v(x)| <= |v(x0)| + L ||x - x0||, entry by entry the smaller of the bound from the proof and the bound of
        the single node in the largest entry; and each node's terms by its bound at the magnitudes of its inputs.
    """
    with threads_for(0), torch.no_grad():
        return _Magnitudes(program, proof, middle, radius, wide=wide).first()


class _Magnitudes:
    def __init__(
        self, program: AnyProgram, proof: Derivation, middle: torch.Tensor, radius: torch.Tensor, *, wide: bool
    ) -> None:
        self._walk, self._wide = Walk(program, LINF), wide
        output = self._walk.run()
        calls = self._walk.calls
        self._inputs = {v: read(calls[v.node]) if v.node in calls else () for v in self._walk.values}
        self._order = needed(output, self._inputs, self._walk.values)
        self._root = self._walk.values[0]
        layout = self._walk.layout
        channels = layout.shape[channel_of(layout)]
        pixels = math.prod(layout.shape) // max(channels, 1)
        self._radius = float(radius.max())
        self._far = _length(radius.expand(channels), pixels, proof.walk_norm)
        self._norms = measure(self._walk.program, layout.dtype, laid_out(layout, middle))
        self._proved: Mapping[str, float] = {row.name: row.running for row in proof.rows}

    def first(self) -> str | None:
        moved: dict[Value, float] = {self._root: self._radius}
        sizes: dict[Value, float] = {}
        for value in self._order:
            if value is not self._root:
                moved[value] = min(self._bound(value, moved), self._reach(value), _squared(value, moved, sizes))
            sizes[value] = directed.add(self._measured(value), moved[value])
            before = max((sizes[source] for source in self._inputs[value]), default=0.0)
            terms = max(sizes[value], before)
            if value is not self._root:
                found = self._bound(value, sizes)
                terms = max(terms, found) if found < math.inf else terms  # no bound in this norm, and none is needed
            limit = _top(torch.float64 if self._wide else value.dtype) * _ROOM
            if self._named(value, _AVERAGED | _SQUARED):  # what is added up before a factor makes it smaller
                limit /= max(1, math.prod(self._inputs[value][0].shape))
            squares = self._named(value, _SQUARED)
            if not terms <= limit or (squares and not before <= math.sqrt(limit)):
                return value.name
        return None

    def _bound(self, value: Value, known: dict[Value, float]) -> float:
        """The node's own bound at what its inputs are known by."""
        if value.step.refusal is not None:
            return math.inf
        try:
            for source in value.step.inputs:
                source.suppose({self._root: known[source]})
            return value.step.bound(self._root)
        except (RobspecError, KeyError):
            return math.inf

    def _reach(self, value: Value) -> float:
        running = self._proved.get(value.name)
        return math.inf if running is None else directed.mul(running, self._far)

    def _measured(self, value: Value) -> float:
        name, _, index = value.name.rpartition(".")
        parts = self._norms[value.node.name]
        return parts[int(index)] if name == value.node.name else parts[0]

    def _named(self, value: Value, names: Set[str]) -> bool:
        call = self._walk.calls.get(value.node)
        return call is not None and call.name in names and bool(self._inputs[value])


def _squared(value: Value, moved: Mapping[Value, float], sizes: Mapping[Value, float]) -> float:
    """How far a sum of weighted squares moves: |u^2 - u0^2| <= |u - u0| (|u| + |u0|)."""
    if value.step.squares is None:
        return math.inf
    terms = value.step.squares.terms
    return directed.add(0.0, *(directed.mul(rows, moved[u], 2.0, sizes[u]) for u, _, rows, _ in terms))


def _length(radius: torch.Tensor, pixels: int, norm: Norm) -> float:
    """The norm of a radius of every channel over so many pixels, rounded up."""
    copies = 1.0 if norm.p is None else directed.power(float(pixels), directed.inverse(norm))
    return directed.mul(directed.stack(radius.tolist(), norm), copies)


def _top(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).max) if dtype.is_floating_point else math.inf
