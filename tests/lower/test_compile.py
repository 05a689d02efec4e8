"""From text to queries: every statement reaches the representation, exactly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from robspec.diagnostics import SpecError
from robspec.ir import types as ir
from robspec.ir.plans import Accuracy, Stability
from robspec.lower import compile_file, compile_text, parse_overrides
from robspec.lower.errors import BadOverride
from robspec.semantics.norm import L2, LINF, Norm
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from robspec.syntax.errors import SpecFileNotText, SpecFileTooLarge, SpecFileUnreadable

F = Fraction
ACCURACY = ir.Metric("pixel_accuracy", Accuracy(), text="correct pixels / annotated pixels", low=F(0), high=F(1))
STABILITY = ir.Metric(
    "stability",
    Stability(),
    text="pixels predicted as on the clean image / pixels",
    low=F(0),
    high=F(1),
)


def program(text: str, overrides: dict[str, Fraction] | None = None) -> ir.Program:
    compiled, diagnostics = compile_text(text, overrides)
    assert [d for d in diagnostics if d.is_error] == []
    assert compiled is not None
    return compiled


def codes(text: str) -> list[str]:
    return [d.code for d in compile_text(text)[1]]


def objective(text: str, condition: str) -> ir.Objective:
    query = program(text.replace("h0 - h > gamma / 5", condition)).properties[1].query
    assert isinstance(query, ir.RadiusQuery)
    return query.objectives[0]


def test_every_statement_reaches_the_program(runway: str) -> None:
    half = (F(1, 2),) * 3
    accuracy = ACCURACY
    fraction = ir.Aggregate.FRACTION
    assert program(runway) == ir.Program(
        language=1,
        model=ir.Model(
            (3, 256, 256),
            F(0),
            F(1),
            (2, 256, 256),
            ("background", "runway"),
            ir.Normalize(half, half),
            ir.LipschitzClaim(L2, LINF, F("2.001")),
        ),
        data=ir.Data("val", "val/images/*.png", "val/masks/*.png", 255),
        properties=(
            ir.Property(
                "accurate_under_attack",
                ir.WorstCaseQuery(accuracy, L2, (F(1, 10),)),
                (
                    ir.Requirement(
                        ir.Aggregate.MEAN,
                        Relation.GE,
                        F(3, 4),
                        None,
                        F(99, 100),
                        "mean(worst_case) >= 0.75 with confidence 99%",
                    ),
                    ir.Requirement(fraction, Relation.GE, F(2, 5), F(1), None, "worst_case >= 0.40 for all images"),
                ),
                line=21,
            ),
            ir.Property(
                "hard_to_degrade",
                ir.RadiusQuery(LINF, (ir.Degraded(accuracy, Threshold(F(-1, 10), F(1)), strict=True),)),
                (
                    ir.Requirement(
                        fraction,
                        Relation.GE,
                        F(3, 10),
                        F(95, 100),
                        F(99, 100),
                        "radius >= 0.3 for 95% of images with confidence 0.99",
                    ),
                    ir.Requirement(
                        ir.Aggregate.QUANTILE,
                        Relation.GE,
                        F(8, 255),
                        F(5, 100),
                        None,
                        "quantile(0.05, radius) >= 8/255",
                    ),
                ),
                line=29,
            ),
        ),
        params=(("eps", F(1, 10)), ("gamma", F(1, 2))),
    )


def test_overrides_replace_parameters_exactly(runway: str) -> None:
    compiled = program(runway, parse_overrides(["eps=8/255", "gamma=0.3", "gamma = 0.25"]))
    query = compiled.properties[0].query
    assert isinstance(query, ir.WorstCaseQuery)
    assert query.budgets == (F(8, 255),)
    assert dict(compiled.params) == {"eps": F(8, 255), "gamma": F(1, 4)}


def test_parameters_are_computed_from_those_above(runway: str) -> None:
    text = runway.replace("param gamma = 0.5", "param twice = 2 * eps\nparam gamma = 1 - -twice / 2")
    assert dict(program(text, {"eps": F(1, 5)}).params) == {
        "eps": F(1, 5),
        "twice": F(2, 5),
        "gamma": F(6, 5),
    }


def test_an_override_makes_the_error_of_its_value(runway: str) -> None:
    compiled, diagnostics = compile_text(runway, overrides={"eps": F(-1)})
    assert compiled is None
    assert [d.code for d in diagnostics] == ["E0107"]


@pytest.mark.parametrize(
    "item",
    [
        "eps",
        "=1",
        "eps=",
        "eps=nan",
        "eps=inf",
        "eps=1/0",
        "eps=1e999",
        "eps=0x1",
        "eps=1_0",
        "eps=" + "1" * 100,
    ],
)
def test_malformed_overrides_are_refused(item: str) -> None:
    with pytest.raises(BadOverride):
        parse_overrides([item])


def test_an_override_of_no_parameter_names_the_nearest(runway: str) -> None:
    with pytest.raises(BadOverride, match="did you mean `eps`"):
        compile_text(runway, overrides={"esp": F(1)})


def test_a_swept_threshold_behind_a_constant_and_a_slope(runway: str) -> None:
    """h + 1/10 <= 2 s + ... is h <= s - 1/10 - ...: affine in the right side, with an offset at 0."""
    text = runway.replace("h0 - h > gamma / 5", "2 * h + 0.1 - h0 <= 0.3 to 0.7 points 3")
    query = program(text).properties[1].query
    assert isinstance(query, ir.RadiusQuery)
    assert [o.threshold for o in query.objectives if isinstance(o, ir.Degraded)] == [
        Threshold(F(1, 10), F(1, 2)),
        Threshold(F(1, 5), F(1, 2)),
        Threshold(F(3, 10), F(1, 2)),
    ]


def test_sweeps_keep_metric_norm_and_strictness(runway: str) -> None:
    single = program(runway)
    swept = program(runway.replace("budget   eps", "budget   0 to eps points 5"))
    strict = program(runway.replace("h0 - h > gamma / 5", "h < 0.3 to 0.7 points 3"))
    before, after = (p.properties[0].query for p in (single, swept))
    assert isinstance(before, ir.WorstCaseQuery)
    assert isinstance(after, ir.WorstCaseQuery)
    assert (after.metric, after.norm) == (before.metric, before.norm)
    radius, whole = strict.properties[1].query, single.properties[1].query
    assert isinstance(radius, ir.RadiusQuery)
    assert isinstance(whole, ir.RadiusQuery)
    assert radius.norm == whole.norm
    assert isinstance(radius.norm, Norm)
    for objective in radius.objectives:
        assert isinstance(objective, ir.Degraded)
        assert (objective.metric.name, objective.strict) == ("pixel_accuracy", True)


def test_names_and_norms_of_the_model_are_the_specifications(runway: str) -> None:
    """A claim's exponents may be parameters; input and output may be called anything."""
    text = runway.replace("input     image", "input     photo").replace("output    logits", "output    scores")
    text = text.replace("param gamma", "param p = 1.5\nparam gamma").replace(
        "lipschitz l2 -> linf", "lipschitz l(p) -> l(p)"
    )
    model = program(text).model
    assert (model.input_name, model.output_name) == ("photo", "scores")
    assert model.claim is not None
    assert (model.claim.input_norm, model.claim.output_norm) == (Norm(F(3, 2)), Norm(F(3, 2)))


def test_sweeps_include_both_ends(runway: str) -> None:
    text = runway.replace("budget   eps", "budget   0 to eps points 5").replace(
        "h0 - h > gamma / 5", "h0 - 2 * h >= gamma - 1 to gamma points 3"
    )
    worst, radius = (p.query for p in program(text).properties)
    assert isinstance(worst, ir.WorstCaseQuery)
    assert isinstance(radius, ir.RadiusQuery)
    assert worst.budgets == (F(0), F(1, 40), F(1, 20), F(3, 40), F(1, 10))
    assert radius.points == (F(-1, 2), F(0), F(1, 2))
    assert [o.threshold for o in radius.objectives if isinstance(o, ir.Degraded)] == [
        Threshold(F(1, 4), F(1, 2)),
        Threshold(F(0), F(1, 2)),
        Threshold(F(-1, 4), F(1, 2)),
    ]


def test_conditions_over_several_metrics_keep_their_structure(runway: str) -> None:
    found = objective(runway, "(stability <= 0.5 or stability < 0.9 * clean(stability)) and h <= 0.4")
    stability, accuracy = STABILITY, ACCURACY
    assert found == ir.AllOf(
        (
            ir.AnyOf(
                (
                    ir.Degraded(stability, Threshold(F(1, 2)), strict=False),
                    ir.Degraded(stability, Threshold(F(0), F(9, 10)), strict=True),
                )
            ),
            ir.Degraded(accuracy, Threshold(F(2, 5)), strict=False),
        )
    )


@pytest.mark.parametrize(
    ("written", "norm"),
    [("l1", Norm(F(1))), ("l2", L2), ("linf", LINF), ("l(1.5)", Norm(F(3, 2))), ("l(2)", L2), ("ℓ∞", LINF)],
)
def test_norms(runway: str, written: str, norm: Norm) -> None:
    assert program(runway.replace("norm     l2", f"norm {written}")).properties[0].query.norm == norm


def test_binary_masks_and_no_masks(runway: str) -> None:
    binary = runway.replace('masks/*.png"\n  ignore 255', 'masks/*.png" binary')
    assert program(binary).data == ir.Data("val", "val/images/*.png", "val/masks/*.png", None, binary=True)
    without = runway.replace('  masks  "val/masks/*.png"\n', "").replace("pixel_accuracy", "stability")
    assert program(without.replace("metric   accuracy", "metric   stability")).data.masks == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("language 1\n", ""), ["E0101"]),
        (("language 1\n", "language 1.5\n"), ["E0101"]),
        (("budget   eps", "budget   eps\n  budget nan"), ["E0108", "E0113"]),
        (("[2, 256, 256]", "[1, 256, 256]"), []),
        (("background, runway", "background, runway, taxiway"), ["E0119"]),
        (("ignore 255", "ignore -1"), []),
        (("mean(worst_case) >= 0.75", "mean(worst_case) > 1"), ["E0109"]),
        (("mean(worst_case) >= 0.75", "mean(worst_case) >= 1"), []),
        (("worst_case >= 0.40 for all", "worst_case >= 0.40 for 95% of"), []),
        (
            ("quantile(0.05, radius) >= 8/255", "quantile(0.05, radius) >= 8/255 with confidence 99%"),
            ["E0118"],
        ),
        (
            ("quantile(0.05, radius) >= 8/255", "mean(radius) >= 8/255 with confidence 99%"),
            ["E0118", "W0105"],
        ),
        (
            ("worst_case >= 0.40 for all images", "quantile(0.1, worst_case) >= 0 with confidence 9%"),
            ["E0118", "W0103"],
        ),
        (("h0 - h > gamma / 5", "h <= gamma * h0 * 0 + 0.9 * h0"), []),
        (("h0 - h > gamma / 5", "h <= gamma / h0"), ["E0132"]),
        (("h0 - h > gamma / 5", "h <= h0"), ["W0101", "W0104"]),
        (("h0 - h > gamma / 5", "h < h0"), ["W0101"]),
        (("param eps   = 0.1", "param eps   = eps"), ["E0102"]),
        (("lipschitz l2 -> linf <= 2.001", "lipschitz l3 -> l(1/2) <= 0"), ["E0121", "E0129", "E0129"]),
    ],
)
def test_variations(runway: str, change: tuple[str, str], expected: list[str]) -> None:
    assert change[0] in runway
    assert sorted(codes(runway.replace(*change, 1))) == expected


class TestLowerIsBetter:
    """A metric where lower is better is degraded upwards and required downwards."""

    def test_directions(self, runway: str) -> None:
        text = runway.replace("metric   accuracy", "metric fnr[runway]")
        assert codes(text) == ["E0111"]
        assert codes(text.replace("h0 - h > gamma / 5", "h - h0 > gamma / 5")) == []
        assert codes(text.replace("h0 - h > gamma / 5", "h >= 0 * gamma")) == ["W0104"]

    def test_requirements(self, runway: str) -> None:
        text = runway.replace("metric   pixel_accuracy", "metric fpr[runway]")
        assert codes(text) == ["E0111", "E0111"]
        down = text.replace("worst_case >= 0.40", "worst_case <= -0.1")
        changed = codes(down.replace("mean(worst_case) >= 0.75", "min(worst_case) <= 1"))
        assert sorted(changed) == ["E0109", "E0117", "E0118", "W0103"]

    def test_arguments_and_classes(self, runway: str) -> None:
        assert codes(runway.replace("metric   accuracy", "metric f_beta")) == ["E0104", "E0104"]
        changed = codes(runway.replace("metric   accuracy", "metric f_beta(2)[a, a]"))
        assert sorted(changed) == ["E0105", "E0105", "E0113"]


class TestFiles:
    """A specification file that cannot be used is one clear error with its own code."""

    def test_good_and_bad_specifications(self, tmp_path: Path, runway: str) -> None:
        path = tmp_path / "runway.rspec"
        path.write_text("\ufeff" + runway, encoding="utf-8")
        assert compile_file(path) == program(runway)
        path.write_text(runway.replace("l2\n", "l2 =\n").replace("0.40", "4"), encoding="utf-8")
        with pytest.raises(SpecError) as raised:
            compile_file(path)
        assert [d.code for d in raised.value.diagnostics] == ["E0001", "E0109"]
        assert f"{path}:23:15" in str(raised.value)

    def test_missing_and_directory(self, tmp_path: Path) -> None:
        with pytest.raises(SpecFileUnreadable, match="no such file"):
            compile_file(tmp_path / "none.rspec")
        with pytest.raises(SpecFileUnreadable, match="directory"):
            compile_file(tmp_path)
        with pytest.raises(SpecFileUnreadable):
            compile_file("a\0b")
        with pytest.raises(SpecFileUnreadable):
            compile_file("a" * 5000)

    def test_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "model.rspec"
        for data in (b"\xff\xfe\x00", "Wüste".encode("latin-1"), b"a\0b"):
            path.write_bytes(data)
            with pytest.raises(SpecFileNotText):
                compile_file(path)

    def test_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "large.rspec"
        path.write_bytes(b"#" * ((1 << 20) + 1))
        with pytest.raises(SpecFileTooLarge):
            compile_file(path)
