"""Decimal texts of bounds, rounded in the safe direction (torch-free)."""

from __future__ import annotations

import decimal
import math


def upper_text(value: float, digits: int) -> str:
    """Write an upper bound with at most `digits` significant digits, rounded up."""
    return _text(value, digits, decimal.ROUND_CEILING)


def lower_text(value: float, digits: int) -> str:
    """Write a lower bound with at most `digits` significant digits, rounded down."""
    return _text(value, digits, decimal.ROUND_FLOOR)


def _text(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return str(value)
    exact = decimal.Decimal(value)
    with decimal.localcontext() as context:
        context.prec = digits
        context.rounding = rounding
        rounded = +exact
    text = format(rounded, "f") if -5 < rounded.adjusted() < 12 else str(rounded)
    return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text
