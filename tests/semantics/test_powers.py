"""Powers with long exponents: never below the exact power, close to it, and at a bounded cost."""

import math
from fractions import Fraction

import numpy as np
import pytest

from robspec.lipschitz import directed
from robspec.semantics.constant import power_up
from robspec.semantics.norm import Norm
from robspec.semantics.powers import is_short, power_above

PI = Fraction("3.141592653589793")


def at_least(found: float, value: Fraction, exponent: Fraction) -> bool:
    return Fraction(found) ** exponent.denominator >= value**exponent.numerator


@pytest.mark.parametrize("seed", range(5))
def test_never_below_the_exact_power_and_at_most_the_second_double_above(seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(40):
        value = Fraction(10.0 ** draw.uniform(-1, 1))
        exponent = Fraction(int(draw.integers(1, 300)), int(draw.integers(1, 150)))
        found = power_above(value, exponent)
        assert at_least(found, value, exponent)
        assert not at_least(math.nextafter(math.nextafter(found, 0), 0), value, exponent)


def test_values_that_are_powers_exactly_are_not_undercut() -> None:
    for base in (2, 3, 10):
        for b in (65, 128, 101):
            found = power_above(Fraction(base) ** b, Fraction(1, b))
            assert base <= found <= math.nextafter(math.nextafter(base, 99), 99)
    assert power_above(Fraction(1), PI) >= 1


def test_beyond_every_double_is_infinity_and_below_every_one_the_least() -> None:
    assert power_above(Fraction(2), Fraction(10**300)) == math.inf
    assert power_above(Fraction(1, 2), Fraction(10**300)) == math.ulp(0.0)
    assert directed.power(1e200, Fraction(5, 2)) == math.inf
    assert directed.power(1e-200, Fraction(5, 2)) > 0


@pytest.mark.parametrize(
    "text", ["3.141592653589793", "1.0000000000000000000000000000000000000001", "1e300", "999.999"]
)
def test_every_power_of_a_norm_with_a_long_exponent_is_an_upper_bound(text: str) -> None:
    norm = Norm(Fraction(text))
    stacked = directed.stack([0.3, 0.7, 1e-300, 0.0, 5e5], norm)
    assert 5e5 <= stacked <= 5e5 + 1.0000001
    assert directed.stack([math.inf, 1.0], norm) == math.inf == directed.stack([math.nan, 1.0], norm)
    assert directed.stack([0.0, 0.0], norm) == 0.0
    assert 1.0 <= directed.root(7, norm) <= 7.0000001
    assert not is_short(directed.inverse(norm))
    assert power_up(3 * 256 * 256, 1 - directed.inverse(norm)) >= 1
    between = directed.between(3.0, 2.0, 5.0, norm)
    assert 2.0 <= between <= 5.0000001


def test_stacking_is_the_norm_of_the_vector_where_its_powers_leave_the_doubles() -> None:
    norm = Norm(Fraction(3))
    assert directed.stack([1e160, 1e160], norm) == pytest.approx(1e160 * 2 ** (1 / 3), rel=1e-15)
    assert directed.stack([1e-200, 1e-200], norm) == pytest.approx(1e-200 * 2 ** (1 / 3), rel=1e-15)
