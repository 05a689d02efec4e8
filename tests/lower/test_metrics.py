"""Metrics in the language: from a formula as it is written to what the bounds compute with."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import TypeAlias

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from robspec.ir import serialise
from robspec.ir import types as ir
from robspec.ir.plans import (
    Accuracy,
    Formula,
    Mean,
    MeanRate,
    Plan,
    Pooled,
    PooledMean,
    Quotient,
    Rate,
    Stability,
    Weighted,
)
from robspec.lower import compile_text
from robspec.lower.catalogue import entries, to_json
from robspec.metrics import built_in
from robspec.semantics.classify import Flip, P, Q
from robspec.semantics.formula import COUNTS, Polynomial, Ratio, polynomial_text, ratio_text
from robspec.syntax import ast, parse, write
from robspec.syntax.walk import operands
from tests.examples import examples

F = Fraction
TP, FP, FN, TN = (Polynomial.count(name) for name in COUNTS)
N = Polynomial.count(*COUNTS)
MODEL = """model {{
  input image [3, 8, 8] in [0, 1]
  output logits [{n}, 8, 8]
  classes {classes}
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
{data}
}}
"""
PROPERTY = """property p {{
  metric {use}
  norm l2
  budget 0.1
  require {require}
}}
"""


def spec(
    use: str, definitions: str = "", *, classes: str = "sky, road, grass", data: str = "", require: str = ""
) -> str:
    blocks = MODEL.format(n=classes.count(",") + 1, classes=classes, data=data)
    wanted = require or ("worst_case >= 0.1" + ("" if "pooled" in use else " for all images"))
    return f"language 1\n{definitions}\n{blocks}{PROPERTY.format(use=use, require=wanted)}"


def metric(use: str, definitions: str = "", **more: str) -> ir.Metric:
    text = spec(use, definitions, **more)
    program, diagnostics = compile_text(text)
    assert [(d.code, d.message) for d in diagnostics] == []
    assert program is not None
    assert serialise.loads(serialise.dumps(program)) == program
    query = program.properties[0].query
    assert isinstance(query, ir.WorstCaseQuery)
    return query.metric


def codes(use: str, definitions: str = "", **more: str) -> list[str]:
    return sorted(d.code for d in compile_text(spec(use, definitions, **more))[1])


Kind: TypeAlias = Callable[[Formula, tuple[int, ...]], Plan]
LEAVE, ENTER = partial(Rate, flips=Flip.LEAVE), partial(Rate, flips=Flip.ENTER)
DOWN = {"require": "worst_case <= 0.9 for all images"}


class TestBuiltIn:
    """Every built-in metric reaches the representation with the family of MATH.md section 3."""

    @pytest.mark.parametrize(
        ("use", "plan", "ratio", "defined"),
        [
            ("recall[road]", LEAVE, Ratio(TP, P), P),
            ("sensitivity[road]", LEAVE, Ratio(TP, P), P),
            ("specificity[road]", ENTER, Ratio(TN, Q), Q),
            ("precision[road]", Quotient, Ratio(TP, TP + FP), P),
            ("iou[road]", Quotient, Ratio(TP, TP + FP + FN), P),
            ("dice[road]", Quotient, Ratio(TP + TP, TP + TP + FP + FN), P),
            ("f_beta(1)[road]", Quotient, Ratio(TP + TP, TP + TP + FP + FN), P),
            ("tversky(1, 1)[road]", Quotient, Ratio(TP, TP + FP + FN), P),
            ("tversky(0, 1)[road]", LEAVE, Ratio(TP, P), P),
            ("pooled iou[road]", Pooled, Ratio(TP, TP + FP + FN), P),
            ("pooled precision[road]", Pooled, Ratio(TP, TP + FP), P),
        ],
    )
    def test_of_one_class(self, use: str, plan: Kind, ratio: Ratio, defined: Polynomial | None) -> None:
        found = metric(use)
        assert found.plan == plan(Formula(ratio, defined, "precision" in use), (1,))
        assert (found.low, found.high) == (0, 1)

    def test_where_lower_is_better(self) -> None:
        for use, plan, above, below in (("fnr[road]", LEAVE, FN, P), ("fpr[road]", ENTER, FP, Q)):
            found = metric(use, **DOWN)
            assert found.plan == plan(Formula(Ratio(above, below), below), (1,))
            assert found.lower_is_better

    @pytest.mark.parametrize(
        ("use", "plan", "ratio", "classes"),
        [
            ("mean_accuracy", MeanRate, Ratio(TP, P), ()),
            ("balanced_accuracy[grass, sky]", MeanRate, Ratio(TP, P), (0, 2)),
            ("mean_iou", Mean, Ratio(TP, TP + FP + FN), ()),
            ("mean_iou[road, sky]", Mean, Ratio(TP, TP + FP + FN), (0, 1)),
            ("mean_dice", Mean, Ratio(TP + TP, TP + TP + FP + FN), ()),
            ("frequency_weighted_iou", partial(Mean, frequency=True), Ratio(TP, TP + FP + FN), ()),
            ("pooled mean_iou", PooledMean, Ratio(TP, TP + FP + FN), ()),
        ],
    )
    def test_averages(self, use: str, plan: Kind, ratio: Ratio, classes: tuple[int, ...]) -> None:
        assert metric(use).plan == plan(Formula(ratio, P), classes)

    def test_over_all_classes(self) -> None:
        assert metric("pixel_accuracy").plan == Accuracy()
        assert metric("top_k(2)").plan == Accuracy(2)
        assert metric("stability").plan == Stability()
        with pytest.raises(ValueError, match="no formula"):
            _ = metric("stability").formula

    def test_arguments_are_exact(self) -> None:
        found = metric("f_beta(0.1)[road]")
        assert found.arguments == (F(1, 10),)
        hundred = Polynomial.constant(100)
        one = Polynomial.constant(101) * TP
        assert found.formula.ratio == Ratio(one, one + FN + hundred * FP)
        a, b = F("0.3"), F("0.7")
        tversky = metric("tversky(0.3, 0.7)[road]").formula.ratio
        assert tversky is not None
        assert tversky.at(3, 5, 7, 1) == F(3) / (3 + 5 * a + 7 * b)

    def test_several_classes_are_one(self) -> None:
        found = metric("iou[grass, road]")
        assert (found.classes, found.formula.ratio) == ((1, 2), metric("iou[road]").formula.ratio)

    def test_every_summary_of_undefined_images_is_what_is_proved(self) -> None:
        words = {P: "images with no pixel annotated as the class", Q: "images in which every annotated pixel belongs"}
        for info in entries():
            if info.has_formula:
                use = f"{info.name}{'(1, 1)' if len(info.arguments) == 2 else '(1)' * len(info.arguments)}[road]"
                found = metric(use, **(DOWN if info.lower_is_better else {}))
                assert found.formula.defined is not None
                assert info.undefined.startswith(words[found.formula.defined]), info.name

    def test_every_metric_has_a_file_of_its_own_and_an_entry(self) -> None:
        assert {info.name for info in entries()} == {info.name for info in built_in().values()}
        for info in entries():
            assert to_json(info)["values"] == ["0", "1"]
            assert info.source


class TestPixels:
    """Regions and weights: which pixels count, and how much."""

    FILES = '  region "r/*.png"\n  weights "w/*.npy"'

    def test_regions(self) -> None:
        found = metric("iou[road] in region", data='  region "r/*.png"')
        assert (found.region_mask, found.region, type(found.plan)) == (True, (), Quotient)
        found = metric("iou[road] in [grass, road]")
        assert (found.region_mask, found.region) == (False, (1, 2))

    def test_masks_are_needed_where_an_annotation_is_looked_at(self) -> None:
        assert not metric("stability in region", data='  region "r/*.png"').needs_masks
        assert metric("stability in [road]").needs_masks
        assert codes("stability in [nowhere]") == ["E0105"]
        bare = spec("stability in [road]").replace('  masks "m/*.png"\n', "")
        assert [d.code for d in compile_text(bare)[1]] == ["E0124"]
        assert compile_text(spec("stability").replace('  masks "m/*.png"\n', ""))[1] == ()

    @pytest.mark.parametrize(
        "name", ["pixel_accuracy", "stability", "recall[road]", "specificity[road]", "found[road]"]
    )
    def test_weights(self, name: str) -> None:
        definition = "metric found(k) = 2 * TP[k] / N"
        found = metric(f"weighted {name}", definition, data='  weights "w/*.npy"')
        counted = metric(name, definition).plan
        assert isinstance(counted, Accuracy | Stability | Rate)
        assert (found.plan, found.weighted) == (Weighted(counted), True)

    def test_files_reach_the_program(self) -> None:
        text = spec("weighted recall[road] in region", data=self.FILES)
        program, diagnostics = compile_text(text)
        assert diagnostics == ()
        assert program is not None
        assert (program.data.region, program.data.weights) == ("r/*.png", "w/*.npy")

    def test_refusals(self) -> None:
        assert codes("weighted iou[road]", data='  weights "w"') == ["E0146"]
        assert codes("weighted mean_accuracy", data='  weights "w"') == ["E0146"]
        assert codes("weighted recall[road]") == ["E0145"]
        assert codes("recall[road] in region") == ["E0145"]
        assert codes("recall[road]", data=self.FILES) == ["W0107", "W0107"]


class TestDefinitions:
    """Formulas of the user's own, classified into the cheapest family."""

    def test_composed_of_metrics(self) -> None:
        f1 = "metric f(k) = 2 * precision[k] * recall[k] / (precision[k] + recall[k])"
        found = metric("f[road]", f1)
        assert (found.formula.ratio, found.name) == (metric("dice[road]").formula.ratio, "f")
        twice = "metric g(j) = f[j] / 2 + f_beta(1)[j] / 2\n" + f1
        assert metric("g[grass]", twice).formula.ratio == found.formula.ratio

    def test_numbers_and_params(self) -> None:
        text = "param w = 0.25\nmetric t(b, k) = TP[k] / (TP[k] + w * FP[k] + b * FN[k])"
        assert metric("t(3/4)[road]", text).formula.ratio == metric("tversky(0.25, 0.75)[road]").formula.ratio
        assert metric("t(0.75)[road]", text).arguments == (F(3, 4),)

    def test_of_several_classes(self) -> None:
        found = metric("m", "metric m = 0.25 * iou[sky] + 0.75 * recall[sky, grass]")
        assert sorted(((w, part.plan) for w, part in found.parts), key=lambda s: s[0]) == [
            (F(1, 4), Quotient(Formula(Ratio(TP, TP + FP + FN), P), (0,))),
            (F(3, 4), Rate(Formula(Ratio(TP, P), P), (0, 2), Flip.LEAVE)),
        ]
        assert (found.low, found.high) == (0, 1)

    def test_of_two_parameters(self) -> None:
        found = metric("pair[grass, sky]", "metric pair(a, b) = (iou[a] + dice[b]) / 2")
        assert {part.classes: part.formula.ratio for _, part in found.parts} == {
            (2,): metric("iou[grass]").formula.ratio,
            (0,): metric("dice[sky]").formula.ratio,
        }

    def test_a_constant_joins_a_part(self) -> None:
        found = metric("m", "metric m lower_is_better = 1 - (iou[sky] + iou[road]) / 2", **DOWN)
        total = {part.classes: part.formula.ratio for _, part in found.parts}
        assert len(total) == 2
        values = [w * v for w, part in found.parts if (v := part.formula.ratio.at(1, 2, 3, 4)) is not None]
        assert sum(values) == 1 - F(1, 6)

    def test_with_two_classes_all_is_about_one(self) -> None:
        found = metric("m", "metric m = (iou[sky] + iou[road]) / 2", classes="sky, road")
        assert (type(found.plan), found.parts, len(found.classes)) == (Quotient, (), 1)
        assert found.formula.ratio.at(4, 1, 2, 3) == (F(4, 7) + F(3, 6)) / 2
        assert found.formula.defined == P * Q
        product = metric("m", "metric m = recall[sky] * recall[road]", classes="sky, road")
        assert product.formula.ratio.at(4, 1, 2, 3) == F(4, 6) * F(3, 4)

    def test_all_classes_merged(self) -> None:
        found = metric(
            "m[sky, road, grass]",
            "metric m(k) = (TP[k] + FP[k]) / N + recall[road]",
            require="worst_case >= 1.1 for all images",
        )
        assert found.formula.ratio == Ratio(TP + P, P)

    def test_range_is_used_by_the_checks(self) -> None:
        definition = "metric twice(k) = 2 * recall[k]"
        assert codes("twice[road]", definition, require="worst_case >= 2.5 for all images") == ["E0109"]
        assert codes("twice[road]", definition, require="worst_case >= 1.5 for all images") == []
        assert codes("twice[road]", definition, require="mean(worst_case) >= 1 with confidence 99%") == ["E0118"]
        assert codes("recall[road]", require="mean(worst_case) >= 0.5 with confidence 99%") == []
        loss = "metric cost(k) lower_is_better = FP[k]"
        assert codes("cost[road]", loss, require="worst_case <= 100 for all images") == []
        assert codes("cost[road]", loss, require="mean(worst_case) <= 100 with confidence 99%") == ["E0118"]

    def test_names(self) -> None:
        assert codes("m", "metric m = iou[road]\nmetric m = iou[sky]") == ["E0113"]
        assert codes("iou[road]", "metric iou(k) = TP[k] / N") == ["E0133"]
        assert codes("pixel_accuracy", "metric h(k) = TP[k] / N") == ["E0133"]
        assert codes("pixel_accuracy", "param N = 3") == ["E0133", "W0101"]
        assert codes("m", "param m = 3\nmetric m = iou[road]") == ["E0133", "W0101"]

    def test_a_definition_nobody_uses_is_looked_at(self) -> None:
        assert codes("pixel_accuracy", "metric m(k) = FN[k] / N") == ["E0140"]
        assert codes("m[road]", "metric wrong(k) = FN[k] / N\nmetric m(k) = 1 - wrong[k]") == []

    def test_an_error_in_one_definition_is_reported_once(self) -> None:
        text = "metric a(k) = TP[k] / nothing\nmetric b(k) = a[k]"
        assert codes("a[road]", text) == ["E0102"]
        assert codes("b[road]", text) == ["E0102"]

    def test_nesting_has_a_limit(self) -> None:
        chain = "metric m0(k) = recall[k]\n" + "".join(f"metric m{i}(k) = m{i - 1}[k]\n" for i in range(1, 80))
        assert codes("m79[road]", chain) == ["E0141"]
        assert codes("m40[road]", chain[: chain.index("metric m41")]) == []
        growth = "metric m0(k) = recall[k]\n" + "".join(
            f"metric m{i}(k) = m{i - 1}[k] * m{i - 1}[k]\n" for i in range(1, 40)
        )
        assert codes("m39[road]", growth) == ["E0141"]

    def test_numbers_have_a_limit(self) -> None:
        term = " + ".join(f"1{'0' * 40}1 * {name}[k]" for name in COUNTS)
        assert codes("m[road]", f"metric m(k) = ({term}) * ({term}) / (({term}) * ({term}) + N)") == ["E0141"]


class TestPooled:
    """A pooled metric is one number: no images, no aggregates, no combinations."""

    def test_requirements(self) -> None:
        program, diagnostics = compile_text(spec("pooled iou[road]"))
        assert diagnostics == ()
        assert program is not None
        assert [r.aggregate for r in program.properties[0].requirements] == [ir.Aggregate.POOLED]
        for require in (
            "worst_case >= 0.1 for all images",
            "mean(worst_case) >= 0.1",
            "worst_case >= 0.1 for 9% of images",
        ):
            assert codes("pooled iou[road]", require=require) == ["E0148"]
        confident = "worst_case >= 0.1 with confidence 99%"
        assert codes("pooled iou[road]", require=confident) == ["E0118"]
        assert codes("iou[road]", require="worst_case >= 0.1") == ["E0117"]

    def radius(self, condition: str, require: str) -> list[str]:
        text = (
            spec("iou[road]").replace("  metric iou[road]\n", "").replace("budget 0.1", f"degraded when {condition}")
        )
        return sorted(d.code for d in compile_text(text.replace("worst_case >= 0.1 for all images", require))[1])

    def test_radii(self) -> None:
        assert self.radius("pooled iou[road] <= 0.5", "radius >= 0.1") == []
        assert self.radius("pooled iou[road] <= 0.9 * clean(pooled iou[road])", "radius >= 0.1") == []
        assert self.radius("pooled iou[road] <= 0.5 and fnr[road] >= 0.2", "radius >= 0.1") == ["E0149"]
        assert self.radius("iou[road] <= 0.5 and fnr[road] >= 0.2", "radius >= 0.1 for all images") == []

    def test_what_cannot_be_pooled(self) -> None:
        product = "metric m(k) = precision[k] * recall[k]"
        for use in ("pixel_accuracy", "stability", "mean_accuracy", "frequency_weighted_iou", "m[road]"):
            assert codes(f"pooled {use}", product) == ["E0147"]


atoms = st.one_of(
    st.sampled_from(["TP[k]", "FP[k]", "FN[k]", "TN[k]", "N", "recall[k]", "precision[k]", "iou[k]", "f_beta(2)[k]"]),
    st.integers(0, 3).map(str),
    st.just("0.5"),
)
formulas = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda f: f"(-{f})"),
    ),
    max_leaves=6,
)
counts = st.tuples(*[st.integers(0, 6)] * 4)


def direct(expr: ast.Expr, at: tuple[int, int, int, int]) -> Fraction:
    """A formula's value step by step, with no algebra; the definitions of the metrics are written out again."""
    tp, fp, fn, tn = map(F, at)
    if isinstance(expr, ast.Number):
        return expr.value
    if isinstance(expr, ast.Name):
        return tp + fp + fn + tn
    if isinstance(expr, ast.MetricReference):
        name = expr.name.id
        if name in COUNTS:
            return F(at[COUNTS.index(name)])
        above = {"recall": tp, "precision": tp, "iou": tp, "f_beta": 5 * tp}[name]
        below = {"recall": tp + fn, "precision": tp + fp, "iou": tp + fp + fn, "f_beta": 5 * tp + fp + 4 * fn}[name]
        return above / below
    if isinstance(expr, ast.Negative):
        return -direct(expr.operand, at)
    values = [direct(part, at) for part in operands(expr)]
    total = values[0]
    assert isinstance(expr, (ast.Sum, ast.Product))
    for (sign, _), other in zip(expr.rest, values[1:], strict=True):
        total = {"+": total.__add__, "-": total.__sub__, "*": total.__mul__, "/": total.__truediv__}[sign](other)
    return total


def compiled(formula: str, *, lower: bool) -> ir.Metric | None:
    polarity = " lower_is_better" if lower else ""
    require = "worst_case <= 1000000 for all images" if lower else "worst_case >= -1000000 for all images"
    program, _ = compile_text(spec("m[road]", f"metric m(k){polarity} = {formula}", require=require))
    query = None if program is None else program.properties[0].query
    return query.metric if isinstance(query, ir.WorstCaseQuery) else None


class TestRandomFormulas:
    """A formula that compiles has the value it says, and reads back as it is printed."""

    @settings(max_examples=examples(120), deadline=None)
    @given(formulas, counts, st.booleans())
    def test_value_and_text(self, formula: str, at: tuple[int, int, int, int], lower: bool) -> None:
        found = compiled(formula, lower=lower)
        assume(found is not None)
        assert found is not None
        statement = parse_formula(formula)
        try:
            value = direct(statement, at)
        except ZeroDivisionError:
            pass
        else:
            assert found.formula.ratio.at(*at) == value
        again = compiled(found.text, lower=lower)
        assert again is not None
        assert again.formula.ratio == found.formula.ratio
        assert ratio_text(found.formula.ratio, "[k]") == found.text

    @settings(max_examples=examples(60), deadline=None)
    @given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), counts)
    def test_overlaps(self, a: int, b: int, c: int, at: tuple[int, int, int, int]) -> None:
        formula = f"{a} * TP[k] / ({a} * TP[k] + {b}/3 * FP[k] + {c} * FN[k])"
        found = compiled(formula, lower=False)
        if c == 0 and b == 0:
            assert found is None
        else:
            assert found is not None
            tp, fp, fn, _ = at
            below = a * tp + F(b, 3) * fp + c * fn
            assert found.formula.ratio.at(*at) == (None if below == 0 else a * tp / below)


def parse_formula(formula: str) -> ast.Expr:
    from robspec.diagnostics import Source

    statement = parse(Source(f"metric m(k) = {formula}\n")).file.statements[0]
    assert isinstance(statement, ast.Definition)
    assert write.definition(statement).startswith("m(k) = ")
    return statement.formula


def test_printed_polynomials_are_read_back() -> None:
    cubic = TP * TP * FN - Polynomial.constant(4) * TN * N
    assert parse_formula(polynomial_text(cubic, "[k]")) is not None


def test_a_metric_of_several_classes_says_which() -> None:
    """Two uses that differ in their classes never read the same, in the order they were asked in."""
    from robspec.ir.print import metric_text

    definition = "metric both(a, b) = 0.5 * dice[a] + 0.25 * dice[b]"
    names = ("sky", "road", "grass")
    seen = {metric_text(metric(f"both[{a}, {b}]", definition), names) for a in names for b in names if a != b}
    assert "both[road, sky]" in seen
    assert len(seen) == 6
