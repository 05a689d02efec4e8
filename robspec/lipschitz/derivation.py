"""The finished proof of a Lipschitz constant: one row per node, and the final bound (torch-free)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from robspec.semantics.norm import Norm


@dataclass(frozen=True, slots=True)
class Row:
    """One node of the graph that the bound rests on.

    Args:
        name: node name in the exported graph.
        module: dotted module path, empty at top level.
        source: source line recorded by the export, or a note that there is none.
        rule: which rule bounded it.
        bound: how much this node (or group) multiplies distances, rounded up.
        running: bound from the image to this node's output, rounded up.
        members: names of the nodes grouped into one operator, in order; the node's own name alone if none.
        apart: bound from the image had the members been bounded one by one; None where nothing was
            compared.
        seconds: time spent on this row.
    """

    name: str
    module: str
    source: str
    rule: str
    bound: float
    running: float
    members: tuple[str, ...]
    apart: float | None
    seconds: float

    @property
    def grouping_gain(self) -> float:
        """How many times looser this row would be without grouping; 1 where nothing was gained."""
        if self.apart is None or self.running == 0.0:
            return 1.0
        return max(1.0, self.apart / self.running)


@dataclass(frozen=True, slots=True)
class Cost:
    """What multiplies distances most on the way from image to logits.

    Args:
        name: a node of the exported graph, or "conversion" of norms, or "normalisation" of the images.
        where: module and source line, or the conversion in words.
        factor: how much it multiplies distances at most.
        share: its logarithm among those of all that multiply distances, from 0 to 1.
    """

    name: str
    where: str
    factor: float
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Derivation:
    """A proved bound ||f(x) - f(x')||_q <= L ||x - x'||_p, and how it was reached.

    Args:
        bound: L, an exact upper float.
        input_norm: p.
        output_norm: q.
        walk_norm: r, the norm of every row.
        conversion: factor from r to (p, q), rounded up; 1 when the norms agree.
        conversion_text: the factor in words, empty when the norms agree.
        rows: the nodes in graph order.
        folded: how many constant nodes were evaluated and taken as exact.
        seconds: total time.
    """

    bound: float
    input_norm: Norm
    output_norm: Norm
    walk_norm: Norm
    conversion: float
    conversion_text: str
    rows: tuple[Row, ...]
    folded: int
    seconds: float

    @property
    def value(self) -> Fraction:
        """The bound as an exact rational."""
        return Fraction(self.bound)

    @property
    def loosest(self) -> Row | None:
        """The row that multiplies distances most."""
        return max(self.rows, key=lambda row: row.bound, default=None)

    def costliest(self, extra: tuple[Cost, ...] = ()) -> Cost | None:
        """Find what costs the constant most: a node, the conversion of norms, or something beside the graph.

        Args:
            extra: what multiplies distances before the graph.

        Returns:
            It, with its share; None where nothing multiplies distances by more than 1.
        """
        costs = [Cost(r.name, f"module {r.module or '(top)'}, {r.source}", r.bound) for r in self.rows]
        costs += [Cost("conversion", self.conversion_text, self.conversion), *extra]
        above = [cost for cost in costs if cost.factor > 1.0]
        if not above:
            return None
        most = max(above, key=lambda cost: cost.factor)
        total = sum(math.log(cost.factor) for cost in above)
        return replace(most, share=math.log(most.factor) / total)
