"""Products and quotients by constants, entry by entry."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge

OPERATIONS = ("mul", "multiply", "div", "divide", "true_divide")


def charge(asked: Asked) -> Charge:
    """Bound the error by gamma_4 of the result: a constant may be rounded, or inverted, before it is applied."""
    gain = asked.gain()
    return asked.one(
        directed.mul(asked.precision.gamma(4), gain), asked.everywhere(2.0 * asked.precision.tiny), "one product"
    )
