"""Formulas drawn at random: what compiles is bounded by its family, and never better than the truth."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from robspec.bounds import open_bound
from robspec.ir.plans import Quotient, Rate
from robspec.lower import compile_text
from tests.bounds.language import SPEC, metric
from tests.bounds.test_metrics import IMAGE, NORMS, K, cells, constant, context, worst
from tests.examples import examples
from tests.kernels.oracle import predict

COUNTS = ("TP", "FP", "FN", "TN")
SHAPES = [
    # Coefficients of TP, FP, FN, TN above and below that make sense often enough.
    st.tuples(*(st.integers(0, 3) for _ in COUNTS)),
    st.tuples(st.integers(1, 3), st.just(0), st.just(0), st.integers(0, 1)),
]


def sum_of(coefficients: tuple[int, ...]) -> str:
    return " + ".join(f"{c} * {name}[k]" for c, name in zip(coefficients, COUNTS, strict=True) if c) or "0"


@st.composite
def quotients(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    above = draw(st.one_of(SHAPES))
    extra = draw(st.tuples(*(st.integers(0, 2) for _ in COUNTS)))
    return above, tuple(a + e for a, e in zip(above, extra, strict=True))


# Of two quotients multiplied most are not provably monotone, and the compiler refuses them.
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    parts=st.lists(quotients(), min_size=1, max_size=2),
    lower=st.booleans(),
    image=IMAGE,
    eps=st.fractions(0, 3, max_denominator=6),
    q=st.sampled_from([2, 2, 1, None]),
)
def test_a_random_formula_is_never_certified_above_its_worst_case(
    parts: list[tuple[tuple[int, ...], tuple[int, ...]]], lower: bool, image: Any, eps: Fraction, q: int | None
) -> None:
    """Monotonicity is PROVED (sympy, counts >= 0); a denominator that an attack can bring to 0 is the worst value."""
    quotient = " * ".join(f"(({sum_of(a)}) / ({sum_of(b)}))" for a, b in parts)
    definition = f"metric m(k){' lower_is_better' if lower else ''} = {quotient}"
    texts = [
        SPEC.format(channels=K, names="c0, c1, c2", metric="m[c1]", definitions=definition, requirement=r)
        for r in ("mean(worst_case) >= 0", "mean(worst_case) <= 1")
    ]
    assume(any(compile_text(text)[0] is not None for text in texts))
    asked = metric("m[c1]", K, definition)
    rows, labels = [list(r) for r, _ in image], [y for _, y in image]
    bound = open_bound(asked, context(rows, labels), constant(NORMS[q]))
    clean = bound.clean()[0]

    def truth(y: list[int], p: list[int]) -> Fraction | None:
        counts = cells(y, p, {1})
        value = Fraction(1)
        for above, below in parts:
            d = sum(c * n for c, n in zip(below, counts, strict=True))
            if d == 0:
                # A factor that cancels is gone before anything is evaluated: 0/0 of a product may have a value.
                assume(len(parts) == 1)
                extreme = asked.high if lower else asked.low
                assert extreme is not None
                return extreme
            value *= Fraction(sum(c * n for c, n in zip(above, counts, strict=True)), d)
        return value

    certified = bound.worst_case([eps])[0][0]
    if clean is None:
        assert certified is None
        return
    if (
        isinstance(asked.plan, Rate | Quotient)
        and asked.formula.ratio.at(*cells(labels, [predict(r) for r in rows], {1})) is not None
    ):
        assert clean == truth(labels, [predict(r) for r in rows])
    expected = worst(truth, rows, labels, eps, q, lower)
    assert certified is not None
    assert expected is not None
    assert certified >= expected if lower else certified <= expected
    if q == 2 and isinstance(asked.plan, Quotient):
        wider = worst(truth, rows, labels, eps * (1 + Fraction(1, 2**16)) + Fraction(1, 2**30), q, lower)
        assert wider is not None
        assert certified <= wider if lower else certified >= wider
