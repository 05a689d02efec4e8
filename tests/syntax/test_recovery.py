"""A statement that cannot be read is reported once, and everything behind it is still read."""

from __future__ import annotations

import pytest

from robspec.diagnostics import Source
from robspec.lower import compile_text
from robspec.syntax import Parsed, ast, parse
from robspec.syntax.forms import SWEEPS
from robspec.syntax.walk import descend

MODEL = """language 1
model {
  input image [3, 4, 4] in [0, 1]
  output logits [2, 4, 4]
  classes a, b
}
data val {
  images "i/*.png"
  masks "m/*.png"
}
"""


def read(text: str) -> Parsed:
    return parse(Source(text))


def places(text: str) -> list[tuple[str, int]]:
    source = Source(text)
    return [(d.code, source.line(d.span.start)) for d in parse(source).diagnostics]


def test_an_error_in_the_middle_and_two_behind_it_are_three_errors() -> None:
    text = MODEL + (
        "property p {\n"  # line 11
        "  metric pixel_accuracy extra\n"
        "  norm l2\n"
        "  budget 0.1 0.2\n"
        "  require mean(worst_case) >= 0.5\n"
        "}\n"
        "param = 3\n"
    )
    program, diagnostics = compile_text(text)
    assert program is None
    assert [(d.code, Source(text).line(d.span.start)) for d in diagnostics] == [
        ("E0001", 12),
        ("E0001", 14),
        ("E0001", 17),
    ]


def test_a_syntax_error_and_static_errors_are_reported_together() -> None:
    text = MODEL + (
        "property p {\n  metric pixel_acuracy\n  norm l2\n  budget 0.1\n  require mean(worst_case >= 0.5\n}\n"
    )
    assert [d.code for d in compile_text(text)[1]] == ["E0103", "E0001"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("language 1\nmodel\n  input x [1, 2, 2] in [0, 1]\n  output y [2, 2, 2]\n}\n", [("E0001", 2)]),
        ("propery p {\n  norm l2\n  budgt 1\n}\n", [("E0001", 1), ("E0001", 3)]),
        ("something else {\n  a b c\n  d\n}\nparam x = 1\nlanguage =\n", [("E0001", 1), ("E0001", 6)]),
        ("data d {\n  images\n}\n", [("E0001", 2)]),
        ("data d { images }", [("E0001", 1)]),
        ("data d {\n  by method {\n    a 1\n  }\n  images 1\n}\n", [("E0001", 2), ("E0001", 5)]),
        ("property p {\n  by smoothing { sigma 1 alpha 0.1\n  norm l2\n  budget 1\n}\n", [("E0001", 2)]),
        ("property p {\n  by smoothing { sigma 1 }\n  }\n  norm l2\n}\n", [("E0001", 4), ("E0001", 5)]),
        ('data d {\n  images "a"\nproperty p {\n  norm l2\n}\n', [("E0004", 3)]),
        ("property p {\n  norm l2\n", [("E0004", 3)]),
        ("property p {\n  param x = 1\n  norm l2\n}\n", [("E0001", 2)]),
        ("}\nparam x = 1\n", [("E0001", 1)]),
        ("param x = (1 +\nparam y = 2\n", [("E0001", 1)]),
        ("model {\n  classes a,\n  output y [1, 2, 3]\n}\n", [("E0001", 2)]),
        ("model { } foo", [("E0001", 1)]),
        ("property {\n  norm l2\n  norm 3\n}\n", [("E0001", 1), ("E0001", 3)]),
        ("budget 3\n", [("E0001", 1)]),
        ("param x = 1 param y = 2\n", [("E0001", 1)]),
        ("param x = --1\n", [("E0001", 1)]),
        ('data d {\n  images "a\u202eb"\n  masks "\x1b[31m"\n}\n', [("E0002", 2), ("E0002", 3)]),
        ('param x = "a\nparam y = $\n', [("E0002", 1), ("E0002", 2)]),
        ("param x = " + "(" * 41 + "1" + ")" * 41 + "\nparam = 2\n", [("E0003", 1), ("E0001", 2)]),
        ("param x = 1e301\nparam y = 1" + "0" * 60 + "\n", [("E0005", 1), ("E0005", 2)]),
    ],
)
def test_each_broken_statement_is_reported_once(text: str, expected: list[tuple[str, int]]) -> None:
    assert places(text) == expected


@pytest.mark.parametrize(
    ("statement", "mend"),
    [
        ("budget 0 to 0.5", "a sweep reads like this: `budget 0 to 1 points 21`"),
        ("budget 0 to 0.5 steps 5", "a sweep reads like this: `budget 0 to 1 points 21`"),
        ("degraded when h <= 0.1 to 0.5", "a sweep reads like this: `degraded when h <= 0.1 to 0.9 points 9`"),
        ("metric pixel_accuracy in regoin", "did you mean `region`?"),
        ("metric weigthed recall[a]", "did you mean `weighted` for `weigthed`?"),
        ("require radius >= 1 for al images", "did you mean `all` for `al`?"),
        ("require maen(worst_case) >= 1", "did you mean `mean`?"),
        ("degraded whne h <= 0.5", "did you mean `when`?"),
        ("metric pixel_accuracy extra", "it reads like this: `metric iou[runway]`"),
        ("budget 0.1 0.2", "it reads like this: `budget 0.1`"),
    ],
)
def test_the_mend_is_about_the_mistake(statement: str, mend: str) -> None:
    (found,) = read(f"property p {{\n  {statement}\n}}\n").diagnostics
    assert found.mend == mend


def test_the_sweeps_that_mends_show_are_sweeps() -> None:
    for statement in SWEEPS.values():
        parsed = read(f"property p {{\n  {statement}\n}}\n")
        assert not parsed.diagnostics
        assert any(isinstance(node, ast.Sweep) for node in descend(parsed.file))


def test_statements_behind_a_broken_header_belong_to_the_block() -> None:
    file = read("property hard to degrade {\n  norm l2\n  budget 0.1\n}\nparam x = 1\n").file
    assert [type(s).__name__ for s in file.statements] == ["Property", "Param"]
    assert [type(s).__name__ for s in file.statements[0].statements] == ["NormStatement", "Budget"]  # type: ignore[union-attr]


def test_reading_stops_after_twenty_errors() -> None:
    codes = [d.code for d in read("x\n" * 1000).diagnostics]
    assert codes == ["E0001"] * 20 + ["E0006"]


@pytest.mark.parametrize("text", ["param x = " + "1+" * 60_000 + "1\n", "#\n" * 110_000])
def test_a_file_of_too_many_words_is_not_read(text: str) -> None:
    assert [d.code for d in read(text).diagnostics] == ["E0007"]
    assert [d.code for d in compile_text(text)[1]] == ["E0007"]


def test_the_deepest_allowed_nesting_is_read() -> None:
    deep = "(" * 38 + "-(1 + 2 * (3))" + ")" * 38
    assert read(f"param x = {deep}\n").diagnostics == ()


@pytest.mark.parametrize(
    "text",
    [
        "model\n{\n  classes a,\n    b\n}\n",
        "param x = (1 +\n  2)\n",
        "property p {\n  degraded when h <= 1 and\n    h <= 2 or\n    h <= 3\n}\n",
        'data d { images "x" }\r\nparam y = 1\r\n',
        "\n\n# nothing\n\nparam x = 1",
        "model {}\n",
        "model { } property p { norm l2 }",
        "",
    ],
)
def test_lines_go_on_where_no_statement_can_end(text: str) -> None:
    assert read(text).diagnostics == ()


@pytest.mark.parametrize(
    ("unicode", "ascii_"),
    [
        ("param ε = 0.1", "param eps = 0.1"),
        ("param κ = 0.1", "param kappa = 0.1"),
        ("param γ₁ = 2 × 3 − 1", "param gamma1 = 2 * 3 - 1"),
        ("property p {\n norm ℓ2\n}", "property p {\n norm l2\n}"),
        ("property p {\n norm ℓ₂\n}", "property p {\n norm l2\n}"),
        ("property p {\n norm ℓ∞\n}", "property p {\n norm linf\n}"),
        ("property p {\n norm ℓ(1.5)\n}", "property p {\n norm l(1.5)\n}"),
        ("property p {\n degraded when h ≤ 1\n}", "property p {\n degraded when h <= 1\n}"),
        (
            "property p {\n require radius ≥ 1 for all images\n}",
            "property p {\n require radius >= 1 for all images\n}",
        ),
    ],
)
def test_unicode_spellings_mean_the_same_and_print_as_ascii(unicode: str, ascii_: str) -> None:
    from robspec.syntax import format_file

    assert read(unicode).diagnostics == ()
    assert read(unicode).file == read(ascii_).file
    assert format_file(read(unicode).file).isascii()


def test_braces_of_settings_are_named_as_they_are_written() -> None:
    (found,) = parse(Source("property p {\n  by smoothing { sigma 1\n  norm l2\n}\n")).diagnostics
    assert found.message == "expected a name or `}`, found the end of the line"
