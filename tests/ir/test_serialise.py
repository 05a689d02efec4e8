"""A saved program reads back equal, and nothing else is taken for one."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robspec.ir import plans, serialise
from robspec.ir import print as ir_print
from robspec.ir import types as ir
from robspec.ir.errors import BadProgram
from robspec.semantics.classify import Flip
from robspec.semantics.formula import Polynomial, Ratio
from robspec.semantics.norm import Norm
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation

rationals = st.fractions(max_denominator=10**6)
norms = st.one_of(st.none(), st.fractions(min_value=1, max_value=9, max_denominator=1000)).map(Norm)
formulas = st.builds(
    plans.Formula,
    st.sampled_from([Ratio(Polynomial.count("TP"), Polynomial.count("TP", name)) for name in ("FP", "FN")]),
    st.none() | st.just(Polynomial.count("TP", "FN")),
    st.booleans(),
)
class_sets = st.lists(st.integers(0, 1), max_size=2, unique=True).map(tuple)
rates = st.builds(plans.Rate, formulas, class_sets, st.sampled_from(Flip))
quotients = st.builds(plans.Quotient, formulas, class_sets)
counted = st.builds(plans.Accuracy, st.integers(1, 3)) | st.builds(plans.Stability) | rates
kinds: st.SearchStrategy[plans.Plan] = st.one_of(
    counted,
    quotients,
    st.builds(plans.Weighted, counted),
    st.builds(plans.MeanRate, formulas, class_sets, st.booleans()),
    st.builds(plans.Mean, formulas, class_sets, st.booleans()),
    st.lists(st.tuples(rationals, st.builds(ir.Metric, st.text(), rates | quotients)), min_size=1, max_size=2).map(
        lambda parts: plans.Sum(tuple(parts))
    ),
    st.builds(plans.Pooled, formulas, class_sets),
    st.builds(plans.PooledMean, formulas, class_sets),
    st.builds(plans.Ranked, st.sampled_from(plans.Measure), st.none() | st.sampled_from(plans.Attacked)),
    st.builds(plans.Objects, formulas, class_sets),
    st.builds(plans.PooledObjects, formulas, class_sets),
    st.builds(plans.Precisions, class_sets),
)
metrics = st.builds(
    ir.Metric,
    st.sampled_from(["pixel_accuracy", "f_beta"]),
    kinds,
    st.lists(rationals, max_size=2).map(tuple),
    st.booleans(),
)
objectives: st.SearchStrategy[ir.Objective] = st.recursive(
    st.builds(ir.Degraded, metrics, st.builds(Threshold, rationals, rationals), st.booleans()),
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)),
        st.sampled_from([ir.AllOf, ir.AnyOf]),
        st.lists(inner, min_size=1),
    ),
    max_leaves=6,
)
sequences = st.lists(rationals, min_size=1, max_size=6).map(tuple)
queries = st.one_of(
    st.builds(ir.WorstCaseQuery, metrics, norms, sequences),
    st.builds(ir.RadiusQuery, norms, st.lists(objectives, min_size=1, max_size=3).map(tuple), sequences),
)
requirements = st.builds(
    ir.Requirement,
    st.sampled_from(ir.Aggregate),
    st.sampled_from(Relation),
    rationals,
    st.just(Fraction(1, 2)),
    st.none() | rationals,
    st.text(),
)
shapes = st.tuples(*[st.integers(1, 999)] * 3)
vectors = st.lists(rationals, min_size=1, max_size=3).map(tuple)
programs = st.builds(
    ir.Program,
    st.just(1),
    st.builds(
        ir.Model,
        shapes,
        rationals,
        rationals,
        shapes,
        st.tuples(st.text(), st.text()),
        st.none() | st.builds(ir.Normalize, vectors, vectors),
        st.none() | st.builds(ir.LipschitzClaim, norms, norms, rationals),
    ),
    st.builds(ir.Data, st.text(), st.text(), st.text(), st.none() | st.integers(), st.booleans()),
    st.lists(
        st.builds(ir.Property, st.text(), queries, st.lists(requirements, max_size=2).map(tuple), st.integers(0)),
        max_size=3,
    ).map(tuple),
    st.lists(st.tuples(st.text(), rationals), max_size=3).map(tuple),
)


class TestRoundTrip:
    """Reading what was saved gives an equal program, every rational exact."""

    @given(programs)
    def test_equal(self, program: ir.Program) -> None:
        text = serialise.dumps(program)
        assert serialise.loads(text) == program
        assert json.loads(text)["version"] == ir.IR_VERSION

    @given(programs)
    def test_printing_shows_every_number_of_it(self, program: ir.Program) -> None:
        shown = ir_print.text(program)
        for block in program.properties:
            assert f"property {block.name}\n" in shown
        for _, value in program.params:
            assert value.denominator != 1 or f" = {value}\n" in shown


def saved() -> dict[str, Any]:
    metric = ir.Metric("pixel_accuracy", plans.Accuracy())
    block = ir.Property("p", ir.WorstCaseQuery(metric, Norm(Fraction(3, 2)), (Fraction(1, 3),)), ())
    model = ir.Model((1, 2, 3), Fraction(0), Fraction(1), (2, 2, 3), ("a", "b"))
    return serialise.to_json(ir.Program(1, model, ir.Data("d", "i"), (block,)))


def change(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    at: Any = value
    for key in parents:
        at = at[int(key) if key.isdigit() else key]
    at[int(last) if last.isdigit() else last] = new
    return value


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("schema", "other"),
        ("version", 1),
        ("program", None),
        ("program.language", "1"),
        ("program.language", True),
        ("program.extra", 1),
        ("program.kind", "Model"),
        ("program.model.low", 0.5),
        ("program.model.low", "1/0"),
        ("program.model.low", "nan"),
        ("program.model.low", "1" * 5000),
        ("program.model.input_shape", [1, 2]),
        ("program.model.input_shape", "123"),
        ("program.model.classes", [1, 2]),
        ("program.data.ignore", "255"),
        ("program.properties.0.query.kind", "Program"),
        ("program.properties.0.query.norm", "l(0.5)"),
        ("program.properties.0.query.norm", "l3"),
        ("program.properties.0.query.norm", None),
        ("program.properties.0.requirements", {}),
    ],
)
def test_anything_else_is_refused(path: str, new: Any) -> None:
    with pytest.raises(BadProgram):
        serialise.from_json(change(saved(), path, new))


@pytest.mark.parametrize("text", ["", "{", "null", "[" * 100_000, '{"schema": 1}', "NaN"])
def test_text_that_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(BadProgram):
        serialise.loads(text)


def test_objectives_nested_without_end_are_refused() -> None:
    query: dict[str, Any] = {"kind": "RadiusQuery", "norm": "l2", "objectives": [], "points": []}
    inner = query["objectives"]
    for _ in range(300):
        inner.append({"kind": "AllOf", "parts": []})
        inner = inner[0]["parts"]
    with pytest.raises(BadProgram, match="nested too deep"):
        serialise.from_json(change(saved(), "program.properties.0.query", query))
