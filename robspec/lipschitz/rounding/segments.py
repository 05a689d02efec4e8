"""Where a graph narrows to one value: behind it everything is a function of that value alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robspec.lipschitz.values import Value


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
