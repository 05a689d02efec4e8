"""What is shared by everything that a certificate claims by cells: budgets, prices as they are written, metrics."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from robspec.ir.plans import Accuracy, Pooled, PooledMean, Quotient, Rate, Stability
from robspec.ir.types import Metric
from robspec.recheck.cells import Prices
from robspec.recheck.claims import rational
from robspec.recheck.lattice import Lattice
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text


def counted(metric: Metric) -> bool:
    """Tell whether a metric counts pixels that leave: accuracy, stability, recall and FNR of one class."""
    if metric.weighted or metric.rank != 1:
        return False
    plan = metric.plan
    if isinstance(plan, Rate):
        return plan.flips is Flip.LEAVE and len(plan.classes) == 1
    return isinstance(plan, Accuracy | Stability)


def divided(metric: Metric) -> bool:
    """Tell whether a metric is a quotient of two sums of counts of one class set, of an image."""
    return isinstance(metric.plan, Quotient | Rate) and not metric.weighted and metric.formula.linear


def pooled(metric: Metric) -> bool:
    """Tell whether it is one of the data set, or the mean of several."""
    return isinstance(metric.plan, Pooled | PooledMean) and not metric.weighted


def by_cells(metric: Metric) -> bool:
    """Tell whether cells bound a metric."""
    return counted(metric) or divided(metric) or pooled(metric)


def energy_of(eps: Fraction, constant: Constant) -> Fraction:
    """What an attack may spend on coarse logits: (L eps + delta)^2, with the constants of these."""
    if constant.coarse is None:
        raise ValueError("nothing is known of coarse logits")
    return (constant.coarse * eps + constant.coarse_rounding) ** 2


def written_prices(prices: Prices, lattice: Lattice) -> list[Any]:
    """Write prices as `read_prices` reads them."""
    listed = [exact_text(price) for price in prices.of]
    wide = lattice.bands[1]
    return listed if prices.alike else [listed[i : i + wide] for i in range(0, len(listed), wide)]


def read_prices(written: Any, lattice: Lattice) -> Prices | None:
    """Read prices: one for each colour, or rows of one for each cell; None for anything else.

    Args:
        written: of a certificate.
        lattice: says how many there must be.
    """
    if not isinstance(written, list):
        return None
    alike = not any(isinstance(row, list) for row in written)
    rows: list[Any] = [written] if alike else written
    tall, wide = (1, lattice.colours) if alike else lattice.bands
    if len(rows) != tall or not all(isinstance(row, list) and len(row) == wide for row in rows):
        return None
    found = [rational(text) for row in rows for text in row]
    exact = tuple(price for price in found if isinstance(price, Fraction) and price >= 0)
    return Prices(exact, alike) if len(exact) == len(found) else None
