"""Random syntax trees, and random layouts of the texts they print to."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from robspec.syntax import ast

NAMES = st.sampled_from(["a", "eps", "gamma", "x1", "h", "h0", "mean_iou", "_b", "meanx", "l"])
CLASSES = st.sampled_from(
    [
        "road",
        "traffic light",
        "data",
        "ignored",
        "map",
        "region",
        "pooled",
        "Wüste",
        "b1",
        "",
        "a,b",
        "# no comment",
        "}",
    ]
)
GLOBS = st.sampled_from(["a/*.png", "", "dir with blank/x_[0-9].npy", "ü/*.jpg", "a # b", "{"])
name = NAMES.map(ast.Name)
class_names = st.lists(CLASSES.map(ast.ClassName), min_size=1, max_size=4).map(tuple)


@st.composite
def numbers(draw: st.DrawFn) -> ast.Number:
    whole, digits = draw(st.integers(0, 10**6)), draw(st.sampled_from(["", ".5", ".125", "e3", ".50E-2"]))
    return ast.Number(Fraction(f"{whole}{digits}"), f"{whole}{digits}")


def _chains(inner: st.SearchStrategy[ast.Expr]) -> st.SearchStrategy[ast.Expr]:
    def rest(signs: str) -> st.SearchStrategy[tuple[tuple[str, ast.Expr], ...]]:
        return st.lists(st.tuples(st.sampled_from(signs), inner), min_size=1, max_size=3).map(tuple)

    return st.one_of(
        inner.map(ast.Negative),
        st.builds(ast.Sum, inner, rest("+-")),
        st.builds(ast.Product, inner, rest("*/")),
        st.builds(ast.MetricReference, name, st.lists(inner, min_size=1, max_size=2).map(tuple), st.just(())),
    )


adjectives = st.sampled_from([None, "pooled", "weighted"])
withins = st.one_of(st.none(), st.just(ast.Within()), class_names.map(ast.Within))
leaves = st.one_of(
    numbers(),
    name,
    st.builds(ast.MetricReference, name, st.just(()), class_names, adjectives, withins),
    st.builds(ast.MetricReference, name, st.just(()), st.just(()), st.sampled_from(["pooled", "weighted"]), withins),
    st.builds(ast.MetricReference, name, st.just(()), st.just(()), st.none(), class_names.map(ast.Within)),
    st.builds(lambda n: ast.Clean(ast.MetricReference(n)), name),
)
exprs: st.SearchStrategy[ast.Expr] = st.recursive(leaves, _chains, max_leaves=8)
vectors = st.lists(exprs, min_size=1, max_size=3).map(tuple)
references = st.builds(
    ast.MetricReference,
    name,
    st.lists(exprs, max_size=2).map(tuple),
    st.one_of(st.just(()), class_names),
    adjectives,
    withins,
)
sweeps = st.builds(ast.Sweep, exprs, exprs, exprs)
levels = st.builds(ast.Level, exprs, st.booleans())
norms = st.builds(ast.NormName, st.sampled_from(["l2", "l1", "linf", "l"]), st.none() | exprs)
comparisons = st.builds(
    ast.Comparison, exprs, st.sampled_from(["<=", "<", ">=", ">", "==", "!="]), st.one_of(exprs, sweeps)
)
conditions: st.SearchStrategy[ast.Condition] = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)),
        st.sampled_from([ast.AllOf, ast.AnyOf]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=5,
)
quantities = st.sampled_from(["worst_case", "radius"])
measures = st.one_of(
    st.builds(ast.Measure, quantities, st.sampled_from([None, "mean", "min"])),
    st.builds(ast.Measure, quantities, st.just("quantile"), exprs),
)
requires = st.builds(
    ast.Require,
    measures,
    st.sampled_from(["<=", "<", ">=", ">"]),
    exprs,
    st.one_of(st.none(), st.just(ast.AllImages()), levels.map(ast.ShareOfImages)),
    st.none() | levels,
)
model_statements = st.one_of(
    st.builds(ast.Input, name, vectors, vectors),
    st.builds(ast.Output, name, vectors, st.none() | st.builds(ast.BoxesOutput, name, vectors)),
    class_names.map(ast.Classes),
    st.builds(ast.Normalize, vectors, vectors),
    st.builds(ast.Lipschitz, norms, st.none() | norms, exprs),
)
layouts_named = st.builds(ast.Layout, name, GLOBS, st.none() | name)
sources = st.one_of(
    st.builds(ast.Stored, exprs, st.none() | exprs),
    st.integers(0, 0xFFFFFF).map(ast.Colour),
    st.just(ast.Others()),
)
detector_statements = st.one_of(
    st.builds(ast.Threshold, st.sampled_from(["sigmoid", "score"]), exprs),
    st.builds(ast.Nms, name, st.none() | exprs),
    st.builds(ast.Match, name, st.none() | exprs),
    name.map(ast.BoxesStatement),
    vectors.map(ast.Strides),
    exprs.map(ast.Limit),
)
data_statements = st.one_of(
    st.builds(ast.ObjectsStatement, name, GLOBS),
    GLOBS.map(ast.Images),
    st.builds(ast.Masks, GLOBS, st.booleans()),
    vectors.map(ast.Ignore),
    GLOBS.map(ast.Region),
    GLOBS.map(ast.Weights),
    st.builds(ast.Pairs, GLOBS, st.booleans()),
    layouts_named,
    st.lists(st.builds(ast.Mapping, sources, st.none() | CLASSES.map(ast.ClassName)), min_size=1, max_size=3)
    .map(tuple)
    .map(ast.Map),
    st.builds(ast.Crop, vectors, st.none() | vectors),
    st.builds(ast.Resize, vectors, name),
)
property_statements = st.one_of(
    references.map(ast.MetricStatement),
    norms.map(ast.NormStatement),
    st.one_of(exprs, sweeps).map(ast.Budget),
    conditions.map(ast.Degraded),
    requires,
)


def _some(statements: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[tuple[ast.Node, ...]]:
    return st.lists(statements, max_size=4).map(tuple)


files = st.lists(
    st.one_of(
        numbers().map(ast.Language),
        st.builds(ast.Param, name, exprs),
        st.builds(ast.Definition, name, st.lists(name, max_size=2).map(tuple), st.booleans(), exprs),
        _some(model_statements).map(ast.Model),
        _some(detector_statements).map(ast.Detector),
        st.lists(st.builds(ast.Epsilon, exprs, exprs), max_size=2).map(lambda s: ast.Privacy(tuple(s))),
        st.builds(ast.Data, name, _some(data_statements)),
        layouts_named.map(lambda layout: ast.Data(layout.name, (layout,), ready=True)),
        name.map(ast.Use),
        st.builds(ast.Property, name, _some(property_statements)),
    ),
    max_size=5,
).map(lambda statements: ast.File(tuple(statements)))


@st.composite
def layouts(draw: st.DrawFn, text: str) -> str:
    """The text with comments, blank lines, blanks and line breaks strewn in where they change nothing."""
    out: list[str] = []
    marks = st.integers(0, 40)
    serial = 0
    for line in text.splitlines():
        mark = draw(marks)
        if mark == 0:
            out.append("")
        elif mark in (1, 2):
            serial += 1
            out.append(f"{' ' * draw(st.integers(0, 5))}# own line {serial}  ")
        if mark == 3 and '"' not in line:
            line = line.replace("[", "[ # opened\n", 1).replace(",", " ,\n\n# between\n  ", 1)
        if mark == 4 and '"' not in line:
            line = line.replace("  ", "\t ").replace(" {", "\n {")
        if mark in (5, 6):
            serial += 1
            line += f"# behind {serial}"
        out.append(line)
    return draw(st.sampled_from(["\n", "\r\n"])).join(out) + draw(st.sampled_from(["", "\n", "\n\n# end"]))
