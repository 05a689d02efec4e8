"""Requirements are decided exactly; nothing is proved without an image (MATH.md sections 4 and 7)."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from robspec.ir.plans import Accuracy
from robspec.ir.types import Aggregate, Metric, Property, Requirement, WorstCaseQuery
from robspec.semantics.norm import L2
from robspec.semantics.relation import Relation
from robspec.verify.decide import aggregate, decide
from robspec.verify.errors import InfiniteMeanError
from robspec.verify.result import ImageResult, RequirementResult, Value, Verdict

PROP = Property("p", WorstCaseQuery(Metric("pixel_accuracy", Accuracy()), L2, (Fraction(1),)), ())


def need(kind: Aggregate, relation: Relation, bound: str, level: str = "", confidence: str = "") -> Requirement:
    return Requirement(
        kind,
        relation,
        Fraction(bound),
        Fraction(level) if level else None,
        Fraction(confidence) if confidence else None,
    )


def images(*pairs: tuple[Value | None, Value | None]) -> list[ImageResult]:
    return [ImageResult(f"i{n}", Fraction(1), (low,), (high,)) for n, (low, high) in enumerate(pairs)]


def run(requirement: Requirement, found: list[ImageResult], complete: bool = True) -> RequirementResult:
    return decide(PROP, requirement, found, 0, 1, complete=complete)


F = Fraction
MEAN = need(Aggregate.MEAN, Relation.GE, "0.5")
ALL = need(Aggregate.FRACTION, Relation.GE, "0.5", "1")


class TestVerdicts:
    """PROVED: the certified bound meets the requirement; REFUTED: a concrete input violates it; UNKNOWN: neither."""

    @pytest.mark.parametrize(
        ("requirement", "pairs", "verdict"),
        [
            (MEAN, [(F(1, 2), F(1)), (F(1, 2), F(1))], Verdict.PROVED),
            (MEAN, [(F(49, 100), F(1)), (F(1, 2), F(1))], Verdict.UNKNOWN),
            (MEAN, [(F(0), F(1, 4)), (F(0), F(1, 2))], Verdict.REFUTED),
            (need(Aggregate.MEAN, Relation.GT, "0.5"), [(F(1, 2), F(1))], Verdict.UNKNOWN),
            (ALL, [(F(1, 2), F(1)), (F(2, 5), F(2, 5))], Verdict.REFUTED),
            (ALL, [(F(1, 2), F(1)), (F(2, 5), F(3, 5))], Verdict.UNKNOWN),
            (need(Aggregate.FRACTION, Relation.GE, "0.5", "1/2"), [(F(1), F(1)), (F(0), F(0))], Verdict.PROVED),
            (need(Aggregate.MIN, Relation.GE, "0.5"), [(F(1), F(1)), (F(1, 2), F(1))], Verdict.PROVED),
            (need(Aggregate.QUANTILE, Relation.GE, "0.5", "1/2"), [(F(0), F(1)), (F(1), F(1))], Verdict.UNKNOWN),
            (need(Aggregate.QUANTILE, Relation.GE, "0.5", "1"), [(F(0), F(1)), (F(1), F(1))], Verdict.PROVED),
            (ALL, [(math.inf, math.inf)], Verdict.PROVED),
            (ALL, [(F(0), math.inf)], Verdict.UNKNOWN),
            (ALL, [(F(0), F(0))], Verdict.REFUTED),
        ],
    )
    def test_table(self, requirement: Requirement, pairs: list[tuple[Value, Value]], verdict: Verdict) -> None:
        assert run(requirement, images(*pairs)).verdict is verdict

    def test_nine_of_ten_exactly(self) -> None:
        """In doubles `h0 - h >= 0.1` with h0 = 1, 9 of 10 kept, is false; here 9/10 meets 0.9 exactly."""
        nine = images((F(9, 10), F(9, 10)))
        assert run(need(Aggregate.MEAN, Relation.GE, "0.9"), nine).verdict is Verdict.PROVED
        assert run(need(Aggregate.MEAN, Relation.GT, "0.9"), nine).verdict is Verdict.REFUTED

    def test_zero_images_are_never_proved(self) -> None:
        trivial = need(Aggregate.FRACTION, Relation.GE, "0", "1")
        for found in ([], images((None, None))):
            result = run(trivial, found)
            assert result.verdict is Verdict.UNKNOWN
            assert result.certified is None

    def test_undefined_images_are_excluded_not_counted_as_good(self) -> None:
        result = run(MEAN, images((F(1, 2), F(1)), (None, None)))
        assert (result.verdict, result.certified) == (Verdict.PROVED, F(1, 2))

    def test_incomplete_runs_prove_and_refute_nothing(self) -> None:
        assert run(MEAN, images((F(1), F(1))), complete=False).verdict is Verdict.UNKNOWN
        assert run(MEAN, images((F(0), F(0))), complete=False).verdict is Verdict.UNKNOWN

    def test_a_mean_of_radii_with_infinity_is_refused(self) -> None:
        """A mean of radii that contains inf is refused."""
        with pytest.raises(InfiniteMeanError, match="i1"):
            run(MEAN, images((F(1), F(1)), (math.inf, math.inf)))

    def test_witnesses_are_the_violating_images_or_all_of_a_mean(self) -> None:
        pairs = [(F(0), F(0)), (F(3, 5), F(3, 5))]
        assert run(ALL, images(*pairs)).witnesses == ("i0",)
        assert run(MEAN, images(*pairs)).witnesses == ("i0", "i1")


class TestConfidence:
    """A population claim is never REFUTED by a sample."""

    def test_fraction(self) -> None:
        claim = need(Aggregate.FRACTION, Relation.GE, "0.5", "95/100", "99/100")
        good = (F(1), F(1))
        assert run(claim, images(*[good] * 90)).verdict is Verdict.PROVED
        assert run(claim, images(*[good] * 89)).verdict is Verdict.UNKNOWN
        assert run(claim, images(*[(F(0), F(0))] * 90)).verdict is Verdict.UNKNOWN

    def test_sweeps_pay_for_their_points(self) -> None:
        claim = need(Aggregate.FRACTION, Relation.GE, "0.5", "95/100", "99/100")
        found = images(*[(F(1), F(1))] * 90)
        assert decide(PROP, claim, found, 0, 2, complete=True).verdict is Verdict.UNKNOWN

    def test_mean(self) -> None:
        claim = need(Aggregate.MEAN, Relation.GE, "0.9", confidence="95/100")
        found = images(*[(F(1), F(1))] * 149)
        assert run(claim, found).verdict is Verdict.UNKNOWN
        assert run(claim, images(*[(F(1), F(1))] * 150)).verdict is Verdict.PROVED


def test_quantile_is_the_order_statistic_ceil() -> None:
    values: list[Value] = [F(3), F(1), F(2), math.inf]
    for level, expected in [("1/100", F(1)), ("1/4", F(1)), ("26/100", F(2)), ("3/4", F(3)), ("1", math.inf)]:
        assert aggregate(need(Aggregate.QUANTILE, Relation.GE, "0", level), values) == expected


def test_the_worst_value_follows_the_polarity() -> None:
    values: list[Value] = [F(3), F(1)]
    assert aggregate(need(Aggregate.MIN, Relation.GE, "0"), values) == 1
    assert aggregate(need(Aggregate.MIN, Relation.LE, "0"), values) == 3
