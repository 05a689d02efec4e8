"""The reader and the printer against each other, on random trees and texts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from robspec.diagnostics import Source, render_all
from robspec.lower import compile_text
from robspec.syntax import Parsed, ast, format_file, parse
from tests.syntax.strategies import files, layouts


def read(text: str) -> Parsed:
    return parse(Source(text))


def comments(parsed: Parsed) -> Counter[str]:
    return Counter(c.text for c in parsed.file.comments)


class TestPrinting:
    """Reading what was printed gives the tree that was printed, spans aside."""

    @given(files)
    def test_round_trip(self, file: ast.File) -> None:
        parsed = read(format_file(file))
        assert parsed.diagnostics == ()
        assert parsed.file == file


class TestFormatting:
    """Formatting changes no meaning, loses no comment, and a second time changes nothing."""

    @given(files, st.data())
    def test_layout_is_canonical(self, file: ast.File, data: st.DataObject) -> None:
        before = read(data.draw(layouts(format_file(file))))
        assert before.diagnostics == ()
        text = format_file(before.file)
        after = read(text)
        assert after.diagnostics == ()
        assert after.file == before.file == file
        assert comments(after) == comments(before)
        assert format_file(after.file) == text

    @given(files)
    def test_syntax_is_printed_in_ascii(self, file: ast.File) -> None:
        quoted_away = "".join(format_file(file).split('"')[::2])
        assert quoted_away.isascii()


FRAGMENTS = [
    *("language 1\n", "param eps = ", "model {", "property p {\n", "data d {", "}", "\n", "(", ")", "[", "]"),
    *(",", "metric ", "pixel_accuracy", "norm l2\n", "budget ", "degraded when ", "h", "h0", " <= ", " >= "),
    *(
        " == ",
        " and ",
        " or ",
        "require ",
        "worst_case",
        "radius",
        "mean(",
        "min(",
        "quantile(",
        "95% of images",
    ),
    *(
        " for all images\n",
        " with confidence 99%\n",
        "input x ",
        "[3, 4, 4]",
        " in [0, 1]\n",
        "classes a, b\n",
    ),
    *(
        "output y [2, 4, 4]\n",
        "0.1",
        "1e300",
        "/ 0",
        " * ",
        " - ",
        "nan",
        "to ",
        "points ",
        "clean(",
        "stability",
    ),
    *(
        "ignore 255\n",
        '"x"',
        'images "i"\n',
        'masks "m" binary\n',
        "# c\n",
        "'",
        "\x1b[31m",
        "ε",
        "∞",
        "\x00",
    ),
]


class TestHostileText:
    """No text makes the front end fail otherwise than by diagnostics."""

    @given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)))
    def test_random_text(self, text: str) -> None:
        program, diagnostics = compile_text(text)
        shown = render_all(diagnostics, Source(text))
        assert (program is None) == any(d.is_error for d in diagnostics)
        assert all(0 <= d.span.start <= d.span.end <= len(text) for d in diagnostics)
        assert all(c.isprintable() or c == "\n" for c in shown)

    @given(files)
    def test_random_trees(self, file: ast.File) -> None:
        text = format_file(file)
        program, diagnostics = compile_text(text)
        assert (program is None) == any(d.is_error for d in diagnostics)
