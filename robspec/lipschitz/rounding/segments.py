"""Where a graph narrows to one value: behind it everything is a function of that value alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robspec.lipschitz.values import Value


@dataclass(frozen=True, eq=False)
class Join:
    """A value that is computed from several, all of which follow from one earlier value and nothing else.

    Args:
        start: the last value that every way from the image to this one goes through.
        inner: what lies between, in the order of the graph.
        gain: bound of the l2 constant from one to the other, as the walk proves it.
        closed: whether nothing but this value reads what lies between, so that all that follows goes through it.
    """

    start: Value
    inner: tuple[Value, ...]
    gain: float
    closed: bool


def joins(order: Sequence[Value], inputs: Mapping[Value, Sequence[Value]]) -> dict[Value, Join]:
    """Find the values where ways meet again, with the constant of all that happened since they parted.

    Args:
        order: the values the output depends on, from the image to the output.
        inputs: what each is computed from.

    Returns:
        Those whose constant from there on is known.
    """
    place = {value: i for i, value in enumerate(order)}
    users: dict[Value, list[Value]] = {value: [] for value in order}
    for value in order:
        for source in inputs[value]:
            users[source].append(value)
    before: dict[Value, Value] = {}
    found = {}
    for value in order[1:]:
        sources = inputs[value]
        start = sources[0]
        for other in sources[1:]:
            while start is not other:
                if place[start] > place[other]:
                    start = before[start]
                else:
                    other = before[other]
        before[value] = start
        if len(sources) < 2:
            continue
        inner = _between(start, value, inputs)
        ordered = tuple(sorted(inner, key=place.__getitem__))
        gain = _gain(start, ordered, value)
        if gain is not None:
            reads = [*users[start], *(user for each in ordered for user in users[each])]
            found[value] = Join(start, ordered, gain, all(r is value or r in inner for r in reads))
    return found


def _between(start: Value, end: Value, inputs: Mapping[Value, Sequence[Value]]) -> set[Value]:
    found: set[Value] = set()
    waiting = list(inputs[end])
    while waiting:
        value = waiting.pop()
        if value is not start and value not in found:
            found.add(value)
            waiting += inputs[value]
    return found


def _gain(start: Value, inner: Sequence[Value], end: Value) -> float | None:
    """Bound the constant from one value to a later one that follows from it alone; None where it is not known."""
    region = (start, *inner, end)
    kept = [value.bounds_of() for value in region]
    try:
        start.suppose({start: 1.0})
        for value in (*inner, end):
            value.forget(tracked=False)
        return end.known.get(start)
    except KeyError:  # a rule that looks back beyond the start
        return None
    finally:
        for value, bounds in zip(region, kept, strict=True):
            value.restore(bounds)


def narrow(order: Sequence[Value], inputs: Mapping[Value, Sequence[Value]]) -> list[Value]:
    """List the values that nothing goes past: no later value reads an earlier one.

    Args:
        order: the values the output depends on, from the image to the output.
        inputs: what each is computed from.
    """
    place = {value: i for i, value in enumerate(order)}
    last = list(range(len(order)))
    for value in order:
        for source in inputs[value]:
            last[place[source]] = max(last[place[source]], place[value])
    found, furthest = [], 0
    for i, value in enumerate(order):
        if furthest <= i:
            found.append(value)
        furthest = max(furthest, last[i])
    return found


def chain(cuts: Sequence[Value]) -> list[Value]:
    """Keep those narrow places from which a bound to the next one kept is known.

    A place that is another one and a constant has its bounds: what follows it moves as far.

    Args:
        cuts: from the image to the output, bounds computed with each of them tracked.

    Returns:
        From the image to the output.
    """
    kept = [cuts[-1]]
    for value in reversed(cuts[:-1]):
        if onward(value, kept[-1]) is not None:
            kept.append(value)
    return kept[::-1]


def onward(start: Value, end: Value) -> float | None:
    """Bound what the distance of one value is multiplied by on the way to a later one; None where it is not known.

    Args:
        start: a narrow place, on which the other depends alone.
        end: the later value.
    """
    found = [end.known[anchor] for anchor in (start, start.source) if anchor in end.known]
    return min(found, default=None)
