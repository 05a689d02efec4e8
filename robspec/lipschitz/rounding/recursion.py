"""The walk of the constant once more, for what rounding adds: error and magnitude of every value, in l2.

With u the unit roundoff, each node adds a loss that is so much of the size of what it was given; exact maps pass
errors on by their constants. Behind a value that nothing goes past, the constant from there on multiplies what came
before as a whole, so that residual blocks are bounded as one; so are ways that part and meet again inside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from robspec.function.layout import module_path
from robspec.function.program import AnyProgram
from robspec.lipschitz import directed
from robspec.lipschitz.asked import needed, read
from robspec.lipschitz.rounding import segments
from robspec.lipschitz.rounding.charge import ASSUMPTION, Asked, Charge, refusal
from robspec.lipschitz.rounding.magnitudes import channel_of, laid_out, measure
from robspec.lipschitz.rounding.precision import DOUBLE, Precision
from robspec.lipschitz.rounding.rulebook import table
from robspec.lipschitz.threads import threads_for
from robspec.lipschitz.values import Value
from robspec.lipschitz.walk import Walk
from robspec.semantics.norm import L2


@dataclass(frozen=True, slots=True)
class Line:
    """One node's part in the error.

    Args:
        name: of the node.
        module: dotted module path, empty at top level.
        rule: the operation.
        magnitude: bound of the l2 norm of its exact result for every image in the range, rounded up.
        added: what it adds itself, l2, rounded up.
        error: what its result may be off by, l2, rounded up.
        share: of the final error, what is added here and multiplied from here on; from 0 to 1, an estimate.
        what: where it comes from.
    """

    name: str
    module: str
    rule: str
    magnitude: float
    added: float
    error: float
    share: float
    what: str


@dataclass(frozen=True, slots=True)
class Rounding:
    """A bound on the rounding error of the logits of every image in the range.

    Args:
        delta: of the l2 norm of the difference, rounded up.
        precision: name of the element type the network is run in.
        given: what was allowed for the image itself, l2.
        lines: node by node.
    """

    delta: float
    precision: str
    given: float
    lines: tuple[Line, ...]

    @property
    def assumes(self) -> bool:
        """Whether the error of an elementary function is taken for granted."""
        return any(line.what.endswith(ASSUMPTION) for line in self.lines)


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one pass found for every value: its error, what it added itself, and its charge."""

    errors: dict[Value, float]
    added: dict[Value, float]
    charges: dict[Value, Charge]


@dataclass(frozen=True, slots=True)
class Box:
    """The images a bound speaks of, as the network takes them.

    Args:
        middle: one number for each channel.
        radius: how far an entry of each channel may be from it, rounded up.
        given: what the computed image may differ from the meant one, for each entry of each channel, rounded up.
    """

    middle: tuple[float, ...]
    radius: tuple[float, ...]
    given: tuple[float, ...]

    def lengths(self, pixels: int) -> tuple[float, float]:
        """The l2 norms of the radius and of what was given, over so many pixels a channel, rounded up."""
        far, off = (
            directed.mul(directed.stack(sides, L2), directed.sqrt(float(pixels)))
            for sides in (self.radius, self.given)
        )
        return far, off


def bound(program: AnyProgram, box: Box, precisions: Sequence[Precision] = (DOUBLE,)) -> list[Rounding]:
    """Bound what rounding may change of the logits.

    Args:
        program: a loaded export with one image input and one output.
        box: the images.
        precisions: the arithmetics the network may be run in.

    Returns:
        One bound for each precision.

    Raises:
        NoRoundingRule: E0507, a node without a rule, or one that may overflow.
        RobspecError: as `prove`, where no l2 constant can be proved.
    """
    with threads_for(0), torch.no_grad():
        return _Recursion(program, box).bounds(precisions)


class _Recursion:
    """One walk, whose bounds every precision shares."""

    def __init__(self, program: AnyProgram, box: Box) -> None:
        self._walk = Walk(program, L2)
        output = self._walk.run()
        calls = self._walk.calls
        self._inputs = {v: read(calls[v.node]) if v.node in calls else () for v in self._walk.values}
        self._order = needed(output, self._inputs, self._walk.values)
        narrow = set(segments.narrow(self._order, self._inputs))
        for value in self._walk.values:
            value.forget(tracked=value in narrow)
        for value in self._order:
            if value.step.refusal is not None:
                raise refusal(self._walk.calls[value.node], "it has no constant of its own")
            _ = value.known
        self._cuts = segments.chain([value for value in self._order if value in narrow])
        self._joins = segments.joins(self._order, self._inputs)
        self._far, self._given, middle = self._place(box)
        self._norms = measure(self._walk.program, self._walk.layout.dtype, middle)

    def _place(self, box: Box) -> tuple[float, float, torch.Tensor]:
        """Lay the middle of the box out as a batch, and bound how far one image is from it."""
        layout = self._walk.layout
        far, given = box.lengths(math.prod(layout.shape) // max(layout.shape[channel_of(layout)], 1))
        return far, given, laid_out(layout, torch.tensor(box.middle, dtype=torch.float64))

    def bounds(self, precisions: Sequence[Precision]) -> list[Rounding]:
        sizes: dict[Value, float] = {}
        double = self._pass(DOUBLE, sizes, measured=True)
        found = []
        for precision in precisions:
            passed = double if precision == DOUBLE else self._pass(precision, sizes, measured=False)
            delta = passed.errors[self._order[-1]]
            found.append(Rounding(delta, precision.name, self._given, self._lines(passed, sizes, delta)))
        return found

    def _pass(self, precision: Precision, sizes: dict[Value, float], *, measured: bool) -> _Pass:
        """Go through the graph once; of the first time sizes follow, as what was measured is off by its error."""
        root, kept = self._order[0], set(self._cuts)
        cut, since, reach = root, {root: 0.0}, {root: 1.0}
        found, own = _Pass({root: self._given}, {root: 0.0}, {}), dict[Value, float]()
        for value in self._order:
            if value is not root:
                # What the graph of a float32 program computes in float64 is computed so in any case.
                widened = value.dtype == torch.float64 and self._walk.layout.dtype != torch.float64
                used = DOUBLE if widened else precision
                charge, limit = self._charge(value, used), math.sqrt(used.top) / 1024
                computed = {t.source: directed.add(sizes[t.source], found.errors[t.source]) for t in charge.terms}
                parts = [directed.mul(t.relative, computed[t.source]) for t in charge.terms]
                added = directed.add(charge.absolute, *parts)
                passed = [directed.mul(t.gain, since[t.source]) for t in charge.terms]
                since[value] = directed.add(added, *passed)
                apart = [directed.mul(t.gain, reach[t.source]) for t in charge.terms]
                reach[value] = directed.add(0.0, *apart)
                found.charges[value], found.added[value] = charge, added
                join = self._joins.get(value)
                if join is not None:
                    own[value] = self._within(join, value, found, own)
                    whole = directed.add(own[value], directed.mul(join.gain, since[join.start]))
                    since[value] = min(since[value], whole)
                    reach[value] = min(reach[value], directed.mul(join.gain, reach[join.start]))
                known = segments.onward(cut, value)
                reach[value] = reach[value] if known is None else min(reach[value], known)
                found.errors[value] = directed.add(directed.mul(reach[value], found.errors[cut]), since[value])
                largest = max((directed.mul(max(t.gain, 1.0), computed[t.source]) for t in charge.terms), default=0.0)
                if not max(largest, found.errors[value]) < limit:
                    raise refusal(self._walk.calls[value.node], f"its numbers may overflow {used.name}")
            if measured:
                far = directed.mul(value.known[root], self._far)
                sizes[value] = directed.add(self._measured(value), found.errors[value], far)
            if value in kept:
                cut, since[value], reach[value] = value, 0.0, 1.0
        return found

    def _within(self, join: segments.Join, end: Value, found: _Pass, own: dict[Value, float]) -> float:
        """What arises between the start of a join and its end, were the start exact."""
        arisen = {join.start: 0.0}
        for value in (*join.inner, end):
            terms = found.charges[value].terms
            arisen[value] = directed.add(found.added[value], *(directed.mul(t.gain, arisen[t.source]) for t in terms))
            nested = self._joins.get(value) if value is not end else None
            if nested is not None:
                whole = directed.add(own[value], directed.mul(nested.gain, arisen[nested.start]))
                arisen[value] = min(arisen[value], whole)
        return arisen[end]

    def _lines(self, passed: _Pass, sizes: dict[Value, float], delta: float) -> tuple[Line, ...]:
        onward = {self._order[-1]: 1.0}
        following = dict(zip(self._cuts, self._cuts[1:], strict=False))
        users: dict[Value, list[tuple[Value, float]]] = {}
        for value, charge in passed.charges.items():
            for term in charge.terms:
                users.setdefault(term.source, []).append((value, term.gain))
        ends = {join.start: (end, join.gain) for end, join in self._joins.items() if join.closed}
        for value in reversed(self._order[:-1]):
            if value in following:
                after = following[value]
                onward[value] = directed.mul(segments.onward(value, after) or 0.0, onward[after])
            else:
                onward[value] = directed.add(0.0, *(directed.mul(g, onward[u]) for u, g in users[value]))
                end, gain = ends.get(value, (value, 1.0))
                if end is not value:
                    onward[value] = min(onward[value], directed.mul(gain, onward[end]))
        lines = []
        for value in self._order:
            given = self._given if value is self._order[0] else passed.added[value]
            share = min(1.0, given * onward[value] / delta) if delta else 0.0
            what = "the image as read" if value is self._order[0] else passed.charges[value].what
            module = module_path(value.node, self._walk.layout.owners)
            rule = value.step.rule
            lines.append(Line(value.name, module, rule, sizes[value], given, passed.errors[value], share, what))
        return tuple(lines)

    def _charge(self, value: Value, precision: Precision) -> Charge:
        call = self._walk.calls[value.node]
        rule = table().get(call.name)
        if rule is None:
            raise refusal(call, "there is no rule for it")
        return rule(Asked(call, value, precision))

    def _measured(self, value: Value) -> float:
        """The norm of a value at the middle of the box: of equal images one has at most their mean square."""
        name, _, index = value.name.rpartition(".")
        parts = self._norms[value.node.name]
        found = parts[int(index)] if name == value.node.name else parts[0]
        if value.axis is None:
            return found
        return directed.div(found, math.sqrt(self._walk.layout.batches[0]) * (1.0 - 1e-15))
