"""How much one sample can change a step: norms forward, gradients backward, and their products at parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from robspec.function.layout import module_path
from robspec.function.program import AnyProgram
from robspec.lipschitz import directed
from robspec.lipschitz.asked import needed, read
from robspec.lipschitz.threads import threads_for
from robspec.lipschitz.values import Value
from robspec.lipschitz.walk import Walk
from robspec.privacy import maxmin, trained
from robspec.privacy.asked import MEND, Asked, Effect, Envelope
from robspec.privacy.errors import NoSensitivity
from robspec.privacy.losses import Loss
from robspec.privacy.rulebook import table
from robspec.semantics.norm import L2

ALLOWANCE = 1.001
"""For gradients computed in float32, which the bounds take as exact: more than they were ever seen to be off by, and
not proved (docs/explanation/privacy.md)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter.

    Args:
        parameter: dotted name.
        module: dotted path of the module that reads it, empty at top level.
        rule: the operation that reads it, or several.
        entries: how many numbers it holds.
        size: X, bound of the l2 norm of what is read with it, rounded up; the largest of several.
        gradient: G, bound of the l2 norm of the gradient that arrives there, rounded up; the largest of several.
        sensitivity: Delta, of the l2 norm of the gradient of one sample's loss in it, rounded up; the sum of all
            places where it is read.
        what: the factor on G.
    """

    parameter: str
    module: str
    rule: str
    entries: int
    size: float
    gradient: float
    sensitivity: float
    what: str


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The table of a model.

    Args:
        rows: one for each trained parameter that the logits depend on, in the order they are read.
        norm: l2 norm that images are projected to.
        loss: its constant in the logits.
        formula: where that comes from.
    """

    rows: tuple[Row, ...]
    norm: float
    loss: float
    formula: str

    @property
    def entries(self) -> int:
        """How many numbers the parameters hold together."""
        return sum(row.entries for row in self.rows)

    @property
    def total(self) -> float:
        """Bound of the l2 norm of the whole gradient of one sample, rounded up."""
        return directed.stack([row.sensitivity for row in self.rows], L2)


def sensitivity(
    program: AnyProgram, loss: Loss, norm: float, envelope: Envelope | None = None, *, inner: bool = False
) -> Sensitivity:
    """Bound the gradient of one sample's loss in each trained parameter.

    Args:
        program: a loaded export with one image input, a dynamic batch and one output.
        loss: of one sample.
        norm: images have this l2 norm at most.
        envelope: what parameters are kept within; None for those of the file.
        inner: whether the norm is not of the image but of what the first trained layer reads.

    Returns:
        The table; it holds for every image of that norm, every label, and every parameter within the envelope.

    Raises:
        NoSensitivity: E0508, naming what has no bound.
        RobspecError: as `prove`, where no l2 constant can be proved; MixedBatch where samples are mixed.

    Source: PRIVACY.md.
    """
    with threads_for(0), torch.no_grad():
        return _Recursion(program, envelope, inner=inner).table(loss, norm)


class _Recursion:
    """One walk, then forward and backward over what the logits depend on."""

    def __init__(self, program: AnyProgram, envelope: Envelope | None, *, inner: bool) -> None:
        self._inner = inner
        self._readings = trained.readings(program)
        self._walk = Walk(program, L2)
        layout = self._walk.layout
        if layout.axis is None or layout.batches[0] == layout.batches[1]:
            raise NoSensitivity(
                layout.image.name,
                "its batch is not dynamic, so that nothing shows whether samples are mixed",
                "export with a dynamic first dimension, as `robspec export` does",
            )
        self._owners = trained.parameters(self._walk.program)
        self._envelope = envelope
        self._output = self._walk.run()
        self._ordered = {
            value: found
            for value in self._walk.values
            if (found := maxmin.parent(value, self._walk.calls)) is not None
        }
        inputs = {value: self._inputs(value) for value in self._walk.values}
        self._order = needed(self._output, inputs, self._walk.values)

    def table(self, loss: Loss, norm: float) -> Sensitivity:
        shape = self._output.shape[1:]
        constant, formula = loss.constant(shape[0] if shape else 1, math.prod(shape[1:]))
        sizes, effects = self._forward(norm)
        gradients = self._backward(constant, effects)
        rows: dict[str, Row] = {}
        claimed = set()
        for value, effect in effects.items():
            for share in effect.shares:
                claimed.add((share.parameter, value.node.name))
                read_size = max((sizes[source] for source, _ in effect.back), default=0.0)
                row = self._row(value, share.parameter, share.what, read_size, gradients[value])
                found = directed.mul(share.factor, gradients[value])
                rows[share.parameter] = _joined(rows.get(share.parameter), row, found)
        self._all_claimed(claimed)
        if not rows:
            raise NoSensitivity("the model", "no trained parameter is read", "export a model with parameters")
        for row in rows.values():
            if not math.isfinite(row.sensitivity):
                raise NoSensitivity(row.parameter, "its bound overflows", "look at the norms of the layers")
        return Sensitivity(tuple(rows.values()), norm, constant, formula)

    def _forward(self, norm: float) -> tuple[dict[Value, float], dict[Value, Effect]]:
        root = self._order[0]
        if root is not self._walk.values[0]:
            raise NoSensitivity("the model", "the logits do not depend on the image", MEND)
        sizes, effects = {root: norm}, {root: Effect((), norm)}
        first = self._first_read() if self._inner else None
        for value in self._order[1:]:
            if first is not None and value.node is first[0].node:
                sizes[first[1]] = norm
            effects[value] = self._effect(value, sizes)
            sizes[value] = effects[value].forward
        return sizes, effects

    def _first_read(self) -> tuple[Value, Value]:
        """The first trained layer, and what it reads: all that depends on the image must come through that."""
        names = {self._walk.first(reading.node) for reading in self._readings}
        place = next((k for k, value in enumerate(self._order) if value.node.name in names), None)
        if place is None:
            raise NoSensitivity("the model", "no trained parameter is read", "export a model with parameters")
        sources = set(self._inputs(self._order[place]))
        if len(sources) != 1:
            where = self._walk.calls[self._order[place].node].where
            raise NoSensitivity(where, "the first trained layer reads several things", MEND)
        (source,) = sources
        behind = {source}
        for value in self._order[self._order.index(source) + 1 :]:
            if not set(self._inputs(value)) <= behind:
                what = "the image goes past the first trained layer, whose input alone is bounded"
                raise NoSensitivity(self._walk.calls[value.node].where, what, MEND)
            behind.add(value)
        return self._order[place], source

    def _effect(self, value: Value, sizes: dict[Value, float]) -> Effect:
        call = self._walk.calls[value.node]
        parent = self._ordered.get(value)
        if parent is not None:
            return Effect(((parent, 1.0),), sizes[parent])
        if value.step.refusal is not None:
            raise value.step.refusal
        rule = table().get(call.name)
        asked = Asked(call, value, sizes, self._owners, self._envelope)
        if rule is None:
            if "norm" in call.name:
                raise asked.refuse("while training it may use statistics of the batch", "leave it out")
            if "dropout" in call.name:
                raise asked.refuse("while training it is another function", "leave it out")
            raise asked.refuse("there is no rule for it")
        return rule(asked)

    def _backward(self, constant: float, effects: dict[Value, Effect]) -> dict[Value, float]:
        """Sum what reaches each value from all that read it; parts of one value are orthogonal to each other."""
        arriving: dict[Value, list[tuple[Value, float]]] = {value: [] for value in self._order}
        gradients: dict[Value, float] = {}
        for value in reversed(self._order):
            found = self._gathered(value, arriving[value])
            gradients[value] = directed.add(constant, found) if value is self._output else found
            for source, gain in effects[value].back:
                arriving[source].append((value, directed.mul(gain, gradients[value])))
        return gradients

    @staticmethod
    def _gathered(value: Value, arriving: list[tuple[Value, float]]) -> float:
        pieces = [reader.step.piece for reader, _ in arriving]
        known = [piece for piece in pieces if piece is not None and piece.parent is value.source]
        apart = all(a.disjoint(b) for i, a in enumerate(known) for b in known[:i])
        if len(known) == len(arriving) and apart:
            return directed.stack([amount for _, amount in arriving], L2)
        return directed.add(0.0, *(amount for _, amount in arriving))

    def _row(self, value: Value, parameter: str, what: str, size: float, gradient: float) -> Row:
        call = self._walk.calls[value.node]
        state = self._walk.program.state_dict
        module = module_path(value.node, self._walk.layout.owners)
        return Row(parameter, module, call.name, state[parameter].numel(), size, gradient, 0.0, what)

    def _all_claimed(self, claimed: set[tuple[str, str]]) -> None:
        """Refuse a parameter that some node reads and no rule has answered for."""
        for reading in self._readings:
            first = self._walk.first(reading.node)
            if (reading.parameter, first) not in claimed:
                call = self._walk.calls.get(self._walk.nodes[first])
                raise NoSensitivity(
                    reading.node if call is None else call.where,
                    f"nothing bounds the gradient of the parameter {reading.parameter} there",
                    "keep trained parameters to weights, biases, gains and slopes of the operations that have a rule",
                )

    def _inputs(self, value: Value) -> tuple[Value, ...]:
        if value in self._ordered:
            return (self._ordered[value],)
        call = self._walk.calls.get(value.node)
        return () if call is None else read(call)


def _joined(before: Row | None, row: Row, found: float) -> Row:
    """Add one more place where a parameter is read."""
    if before is None:
        return replace(row, sensitivity=found)
    return Row(
        row.parameter,
        before.module,
        f"{before.rule}, {row.rule}",
        row.entries,
        max(before.size, row.size),
        max(before.gradient, row.gradient),
        directed.add(before.sensitivity, found),
        f"{before.what} + {row.what}",
    )
