"""Small specifications that would be much work: refused at a limit that is counted, or quick."""

from __future__ import annotations

from pathlib import Path

import pytest

from robspec.checks import _spec
from robspec.lower import compile_text
from robspec.semantics import formula
from robspec.semantics.formula import Polynomial, Ratio, TooMuchWork, Work, reduced

ROOT = Path(__file__).parents[2]
SPEC = """language 1
{top}
model {{
  input image [1, 8, 8] in [0, 1]
  output logits [3, 8, 8]
  classes a, b, c
}}
data d {{
  images "images/*"
  masks "masks/*"
}}
{properties}
"""
WORST = "property p{i} {{\n metric {metric}\n norm l2\n budget {budget}\n{requires}}}\n"
RADIUS = (
    "property p{i} {{\n metric pixel_accuracy\n norm l2\n degraded when h - h0 / 3 <= {budget}\n"
    " require min(radius) >= 0.1\n}}\n"
)


def codes(properties: str, top: str = "") -> set[str]:
    _, found = compile_text(SPEC.format(top=top, properties=properties))
    return {d.code for d in found if d.is_error}


def worst(points: int, requirements: int = 1, metric: str = "pixel_accuracy", i: int = 0) -> str:
    budget = f"0 to 1 points {points}" if points > 1 else "1"
    return WORST.format(
        i=i, metric=metric, budget=budget, requires=" require min(worst_case) >= 0.1\n" * requirements
    )


class TestSweepsTogether:
    """All points of all properties, each once for each requirement."""

    @pytest.mark.parametrize(
        ("sizes", "refused"),
        [
            ([(1_000, 2)], False),
            ([(1_000, 3)], True),
            ([(1_000, 1), (500, 2)], False),
            ([(1_000, 1), (500, 2), (2, 1)], True),
            ([(1_001, 1)], True),
            ([(1, 1)] * 200, False),
        ],
    )
    def test_the_limit_is_met_exactly(self, sizes: list[tuple[int, int]], refused: bool) -> None:
        found = codes("".join(worst(points, many, i=i) for i, (points, many) in enumerate(sizes)))
        assert found == ({"E0128"} if refused else set())
        assert _spec.MAX_ANSWERS == 2_000

    @pytest.mark.parametrize(("points", "properties", "refused"), [(100, 2, 0), (100, 3, 1), (101, 1, 1)])
    def test_a_swept_threshold_counts_ten_times(self, points: int, properties: int, refused: bool) -> None:
        sweeps = [RADIUS.format(i=i, budget=f"0 to 0.5 points {points}") for i in range(properties)]
        assert codes("".join(sweeps)) == ({"E0128"} if refused else set())


def test_a_swept_threshold_is_affine_in_its_points() -> None:
    program, _ = compile_text(SPEC.format(top="", properties=RADIUS.format(i=0, budget="0.1 to 0.5 points 5")))
    assert program is not None
    objectives = program.properties[0].query.objectives  # type: ignore[union-attr]
    found = [(o.threshold.offset, o.threshold.slope, o.strict) for o in objectives]
    assert [str(offset) for offset, _, _ in found] == ["1/10", "1/5", "3/10", "2/5", "1/2"]
    assert {(str(slope), strict) for _, slope, strict in found} == {("1/3", False)}


class TestFormulasTogether:
    """The algebra of all formulas of a specification is counted."""

    HEAVY = "metric heavy(k) = " + " + ".join(f"TP[k] / (TP[k] + {i} * FP[k] + FN[k])" for i in range(1, 7)) + "\n"

    def test_one_heavy_formula_is_taken_and_hundreds_are_refused(self) -> None:
        use = worst(1, metric="heavy[b]")
        assert codes(use, self.HEAVY) == set()
        many = "".join(f"metric m{i}(k) = heavy[k] * {i + 2} / (heavy[k] + {i + 3})\n" for i in range(200))
        assert codes(use, self.HEAVY + many) == {"E0141"}

    def test_light_ones_are_taken_by_the_hundred(self) -> None:
        many = "".join(f"metric m{i}(k) = TP[k] / (TP[k] + {i + 1} * FP[k] + FN[k])\n" for i in range(150))
        assert codes(worst(1, metric="m3[b]"), many) == set()

    def test_where_it_ends_does_not_depend_on_what_was_computed_before(self) -> None:
        one = Ratio(Polynomial.count("TP"), Polynomial.count("TP", "FP"))
        other = Ratio(Polynomial.count("TN"), Polynomial.count("TN", "FN"))
        spent = []
        for _ in range(2):
            work = Work()
            with work.counted():
                one * other
            spent.append(work.left)
        assert spent[0] == spent[1] < formula.MAX_WORK

    def test_nothing_is_counted_or_refused_outside(self) -> None:
        work = Work(0)
        with pytest.raises(TooMuchWork), work.counted():
            reduced(Polynomial.count("TP") * Polynomial.count("TP"), Polynomial.count("TP"))
        assert reduced(Polynomial.count("TP") * Polynomial.count("TP"), Polynomial.count("TP")).denominator


def test_every_limit_of_the_page_is_the_one_in_the_code() -> None:
    from robspec.checks import _constants
    from robspec.semantics import kappa, powers
    from robspec.syntax import source, tokens

    page = (ROOT / "docs/reference/limits.md").read_text(encoding="utf-8")
    for number in (
        _spec.MAX_ANSWERS,
        _spec.MAX_POINTS,
        _spec.MAX_SIDE,
        _spec.MAX_THRESHOLDS,
        _constants.MAX_BITS,
        formula.MAX_WORK,
        formula.MAX_TERMS,
        formula.MAX_DEGREE,
        formula.MAX_BITS,
        kappa.MAX_DEGREE,
        kappa.MAX_LEAVES,
        powers.MOST_EXACT,
        parse_limit("MAX_DEPTH"),
        parse_limit("MAX_DIGITS"),
        parse_limit("MAX_EXPONENT"),
        parse_limit("MAX_ERRORS"),
        tokens.MAX_TOKENS,
    ):
        assert f" {number} " in page.replace(",", "").replace(";", " ") or f"{number:,}" in page, number
    assert source.MAX_BYTES == 1 << 20


def parse_limit(name: str) -> int:
    import importlib

    return int(getattr(importlib.import_module("robspec.syntax.parse"), name))
