"""What a rule beside that of the constant is asked of one node, and what nodes read of the image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robspec.errors import RobspecError
from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Value
from robspec.semantics.norm import L2


@dataclass(frozen=True, eq=False)
class AskedNode(ABC):
    """One node of a walk in l2 whose constants are known.

    Args:
        call: the node with its arguments, as the rule of its constant saw it.
        value: the output that counts.
    """

    call: Call
    value: Value

    @abstractmethod
    def refuse(self, what: str) -> RobspecError:
        """Build the refusal of a node without a bound."""

    @property
    def entries(self) -> int:
        """How many numbers one image's output holds."""
        return math.prod(self.value.shape)

    @property
    def sources(self) -> tuple[Value, ...]:
        """The inputs that depend on the image, in order, each as often as it occurs."""
        return read(self.call)

    @property
    def source(self) -> Value:
        """The only input that depends on the image."""
        sources = self.sources
        if len(sources) != 1:
            raise self.refuse(f"{len(sources)} inputs depend on the image")
        return sources[0]

    def gain(self) -> float:
        """Bound what the node multiplies distances by in its only input, as the rule of the constant proves it."""
        source = self.source
        known = source.known
        tracked = known.get(source)
        known[source] = 1.0
        try:
            found = self.value.step.bound(source)
        finally:
            if tracked is None:
                del known[source]
            else:
                known[source] = tracked
        if not math.isfinite(found):
            raise self.refuse("its constant is not finite")
        return found

    def repeated(self, source: Value) -> float:
        """Bound how much broadcasting an input multiplies distances."""
        return directed.root(copies(self.call, source), L2)


def read(call: Call) -> tuple[Value, ...]:
    """List what a node reads of the image, each as often as it occurs."""
    found: list[Value] = []
    for item in call.arguments.values():
        found += [v for v in (item if isinstance(item, list) else [item]) if isinstance(v, Value)]
    return tuple(found)


def needed(output: Value, inputs: Mapping[Value, Sequence[Value]], order: Sequence[Value]) -> list[Value]:
    """List the values that the output depends on, itself included, in the order of the graph.

    Args:
        output: the logits.
        inputs: what each value is computed from.
        order: all values in the order of the graph.
    """
    found = {output}
    waiting = [output]
    while waiting:
        for source in inputs[waiting.pop()]:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return [value for value in order if value in found]
