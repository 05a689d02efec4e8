"""Requirement that always holds.

Every image of every model satisfies it, so it proves nothing.

Example::

    require worst_case >= 0 for all images
    require radius >= 0 for all images

Mend::

    require worst_case >= 0.4 for all images
    require radius >= 0.3 for all images
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import shown, warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.semantics.relation import Relation


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Try the worst value there is."""
    for block in spec.properties:
        info, radius = spec.info_of(block), spec.asks_radius(block)
        ends = spec.range_of(spec.metric_of(block))
        for requirement in spec.requirements(block):
            bound, relation = spec.value(requirement.bound), Relation(requirement.relation)
            if bound is None or radius is None or radius != (requirement.measure.quantity == "radius"):
                continue
            if radius:
                worst, lower_is_better, what = Fraction(0), False, "a radius"
            elif info is not None and ends is not None:
                lower_is_better, what = info.lower_is_better, f"`{info.name}`"
                worst = ends[1] if lower_is_better else ends[0]
            else:
                continue
            if relation.upward is not lower_is_better and relation.holds(worst, bound):
                message = f"{what} is always {relation.value} {shown(bound)}, so this requires nothing"
                mend = "require more, or leave it out"
                yield warning(__name__, requirement.span, message, mend)
