"""Says why a requirement stays unknown: the gap, how far a proof reaches, what costs most, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from robspec.lipschitz.figures import upper_text
from robspec.semantics.constant import Constant
from robspec.semantics.norm import directed_text, shortest
from robspec.verify.result import Gap


def lines(gap: Gap, constant: Constant, *, radius: bool) -> Iterator[str]:
    """Write the lines below an UNKNOWN.

    Args:
        gap: what was found.
        constant: the Lipschitz constant of the property.
        radius: whether it asks for radii.
    """
    needed, reach = directed_text(gap.needed, 6, up=False), shortest(gap.provable)
    slope = "" if gap.measured is None else directed_text(gap.measured, 6, up=False)
    if "constant-too-large" in gap.causes:
        why = f"the constant is too large: L <= {needed} would prove it, not L <= {constant.text}"
        why += f"; two images show that L >= {slope}" if slope else ""
    else:
        why = "images lie near the decision boundary"
        why += f": it would take L <= {needed}, and two images show that L >= {slope}" if slope else ""
    if "no-attack-tried" in gap.causes:
        why += "; no attack was tried"
    yield f"  why: {why}"
    what = "radius" if radius else "eps"
    if gap.provable:
        yield f"  proved: for {what} {'>=' if radius else '<='} {reach}"
    else:
        yield f"  proved: for no {what} above 0"
    cost = gap.costliest
    if cost is not None:
        where = f" ({cost.where})" if cost.where else ""
        share = f"{100 * cost.share:.0f} % of the logarithm of all that multiply distances"
        factor = f"{upper_text(cost.factor, 7)}, {share}"
        yield f"  costliest: {cost.name}{where} multiplies distances by up to {factor}"
    yield f"  next: {'; '.join(gap.advice)}"
