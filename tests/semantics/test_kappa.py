"""Degradation conditions against their definition, on exact grids of h and h0 (MATH.md section 3.G)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robspec.diagnostics import Source
from robspec.semantics.kappa import Independent, Inverted, NotClosed, Outcome, Unsupported, Variable, invert
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from robspec.syntax import ast, parse

GRID = [Fraction(k, 10) for k in range(11)]


def condition(text: str) -> ast.Comparison:
    parsed = parse(Source(f"property p {{\n degraded when {text}\n}}\n"))
    assert parsed.diagnostics == ()
    degraded = parsed.file.statements[0].statements[0]  # type: ignore[union-attr]
    assert isinstance(degraded, ast.Degraded)
    assert isinstance(degraded.condition, ast.Comparison)
    return degraded.condition


def leaf(expr: ast.Expr) -> Fraction | Variable | None:
    if isinstance(expr, ast.Number):
        return expr.value
    return Variable(expr.id) if isinstance(expr, ast.Name) else None


def outcome(text: str, *, lower_is_better: bool = False) -> Outcome:
    node = condition(text)
    assert not isinstance(node.right, ast.Sweep)
    return invert(node.left, node.relation, node.right, leaf, lower_is_better=lower_is_better)


def evaluate(expr: ast.Expr | ast.Sweep, h: Fraction, h0: Fraction) -> Fraction:
    """The definition: plug the values in."""
    if isinstance(expr, ast.Number):
        return expr.value
    if isinstance(expr, ast.Name):
        return h if expr.id == "h" else h0
    if isinstance(expr, ast.Negative):
        return -evaluate(expr.operand, h, h0)
    assert isinstance(expr, (ast.Sum, ast.Product))
    total = evaluate(expr.first, h, h0)
    for sign, part in expr.rest:
        value = evaluate(part, h, h0)
        total = {"+": total + value, "-": total - value, "*": total * value}[sign] if sign != "/" else total / value
    return total


@pytest.mark.parametrize(
    ("text", "relation", "offset", "slope"),
    [
        ("h <= 0.5", "<=", "0.5", "0"),
        ("h < 0.5", "<", "0.5", "0"),
        ("0.5 >= h", "<=", "0.5", "0"),
        ("h <= 0.9 * h0", "<=", "0", "0.9"),
        ("h0 - h >= 0.1", "<=", "-0.1", "1"),
        ("h0 - h > 0.1", "<", "-0.1", "1"),
        ("h0 - h >= 0.1 * h0", "<=", "0", "0.9"),
        ("2 * (h0 - h) >= 0.1 + h0 / 4", "<=", "-0.05", "0.875"),
        ("h >= 0.5", ">=", "0.5", "0"),
        ("-h >= -0.5", "<=", "0.5", "0"),
        ("h * 3 - h < h0 - (1 - h)", "<", "-1", "1"),
    ],
)
def test_linear_conditions_are_solved_for_h(text: str, relation: str, offset: str, slope: str) -> None:
    assert outcome(text) == Inverted(Relation(relation), Threshold(Fraction(offset), Fraction(slope)))


coefficients = st.sampled_from(["0", "1", "2", "0.1", "0.5", "3", "1.25"])


class TestInversion:
    """The inverted form holds exactly where the condition holds."""

    @given(
        st.tuples(*[coefficients] * 6),
        st.sampled_from(["<=", "<", ">=", ">"]),
        st.lists(st.sampled_from("+-"), min_size=4, max_size=4),
    )
    def test_inverted_form_is_equivalent(self, c: tuple[str, ...], comparator: str, signs: list[str]) -> None:
        text = (
            f"{c[0]} * h {signs[0]} {c[1]} * h0 {signs[1]} {c[2]} {comparator} "
            f"({c[3]} * h {signs[2]} {c[4]} * h0) / 2 {signs[3]} {c[5]}"
        )
        node, found = condition(text), outcome(text)
        if isinstance(found, Independent):
            found_values = {evaluate(node.left, h, GRID[0]) - evaluate(node.right, h, GRID[0]) for h in GRID}
            assert len(found_values) == 1
            return
        assert isinstance(found, Inverted)
        for h in GRID:
            for h0 in GRID:
                direct = Relation(comparator).holds(evaluate(node.left, h, h0), evaluate(node.right, h, h0))
                assert found.relation.holds(h, found.threshold.at(h0)) == direct


@pytest.mark.parametrize(
    "text",
    [
        "h == 0.5",
        "h != 0.5",
        "h == 0.9 * h0",
        "h * (1 - h) <= 0.1",
        "(h - 0.2) * (h - 0.6) <= 0",
        "h * h >= 0.25",
        "h * h0 >= 0.25",
    ],
)
@pytest.mark.parametrize("lower_is_better", [False, True])
def test_a_counterexample_is_one(text: str, lower_is_better: bool) -> None:
    found = outcome(text, lower_is_better=lower_is_better)
    if lower_is_better and text in ("h * h >= 0.25", "h * h0 >= 0.25"):
        assert isinstance(found, Unsupported)
        return
    assert isinstance(found, NotClosed)
    assert (found.worse > found.satisfied) if lower_is_better else (found.worse < found.satisfied)
    node, h0 = condition(text), found.clean if found.clean is not None else Fraction(1)

    def holds(h: Fraction) -> bool:
        left, right = evaluate(node.left, h, h0), evaluate(node.right, h, h0)
        if node.relation in ("==", "!="):
            return (left == right) == (node.relation == "==")
        return Relation(node.relation).holds(left, right)

    assert holds(found.satisfied)
    assert not holds(found.worse)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(h0 - h) / h0 >= 0.1", "divides"),
        ("1 / h >= 2", "divides"),
        ("h * h <= 0.25", "not linear"),
        ("h <= h0 * h0", "form a + b * h0"),
        ("h * h * h * h * h * h * h <= 0.1", "more than 6"),
        (" + ".join(["h"] * 300) + " <= 1", "more than 200"),
        ("h == 2", "not a threshold"),
    ],
)
def test_what_has_no_threshold_is_refused_with_the_reason(text: str, reason: str) -> None:
    found = outcome(text)
    assert isinstance(found, Unsupported)
    assert reason in found.reason


@pytest.mark.parametrize("text", ["h - h <= 0", "0 * h <= 1", "h0 <= 1", "2 * h - h - h >= h0"])
def test_a_condition_from_which_h_cancels_is_told_apart(text: str) -> None:
    assert isinstance(outcome(text), Independent)
