"""Programs drawn from the grammar itself, and specification files of arbitrary bytes."""

from __future__ import annotations

import contextlib
import importlib.resources
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from robspec.diagnostics import Source, SpecError, render_all
from robspec.lower import compile_file, compile_source
from robspec.syntax import format_file, parse
from robspec.syntax.errors import SpecFileNotText
from tests.examples import examples

GRAMMAR = importlib.resources.files("robspec.grammars").joinpath("rspec.lark").read_text(encoding="utf-8")
# Names that mean something, and numbers of usual size, so that more than the parser is reached.
METRICS = ["iou", "mean_iou", "pixel_accuracy", "stability", "precision", "f_beta"]
NAMES = st.sampled_from([*METRICS, *"abhklpN", "eps", "h0", "TP", "FN", "l2", "linf", "val", "γ", "ℓ₂"])
EXPLICIT = {
    "NAME": NAMES.map(lambda name: f" {name} "),
    "NUMBER": st.sampled_from(["0", "1", "2", "0.5", "3", "4", "255", "1e300", "0.1"]).map(lambda n: f" {n} "),
    "SPACE": st.just(" "),
    "COMMENT": st.just("# noted\n"),
    "STRING": st.sampled_from(['"i/*.png"', '""', '"a b"', '"road"']),
}


@lru_cache
def programs(start: str) -> st.SearchStrategy[str]:
    """Texts derived from one rule of the grammar."""
    lark = Lark(GRAMMAR, parser="lalr", lexer="basic", start=start)
    return from_lark(lark, start=start, explicit=EXPLICIT)


WHOLE = """language 1
model {{
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes a, b
}}
data val {{
  images "i/*.png"
  masks "m/*.png"
}}
{definition}
property p {{
  metric pixel_accuracy
  norm l2
  {statements}
}}
"""
FRAGMENTS = ["budget", "degraded", "require", "metric", "norm"]


def diagnosed(text: str) -> None:
    """Compile a text: a program or errors, each of which can be shown."""
    source = Source(text)
    program, diagnostics = compile_source(source)
    assert (program is None) == any(d.is_error for d in diagnostics)
    assert all(0 <= d.span.start <= d.span.end <= len(text) for d in diagnostics)
    assert render_all(diagnostics, source).isascii() or not text.isascii()


class TestGrammar:
    """The grammar alone defines the syntax; whatever it derives is answered, by a program or by errors."""

    @given(text=programs("file"))
    def test_files(self, text: str) -> None:
        diagnosed(text)

    @pytest.mark.parametrize("rule", FRAGMENTS)
    @settings(max_examples=examples(5), suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_statements_of_a_whole_specification(self, rule: str, data: st.DataObject) -> None:
        """Around one random statement all is in order: checks and compiler are reached."""
        statements = data.draw(programs(rule))
        asked = "budget 1" if rule != "budget" else "require worst_case >= 0.5 for all images"
        diagnosed(WHOLE.format(definition="", statements=f"{statements}\n  {asked}"))

    @given(text=programs("definition"))
    def test_definitions(self, text: str) -> None:
        diagnosed(WHOLE.format(definition=text, statements="budget 1\n  require mean(worst_case) >= 0.5"))

    @given(text=programs("file"))
    def test_what_is_read_is_printed_and_read_alike(self, text: str) -> None:
        """Reading what was printed gives the tree that was printed."""
        parsed = parse(Source(text))
        if not parsed.diagnostics:
            again = parse(Source(format_file(parsed.file)))
            assert again.diagnostics == ()
            assert again.file == parsed.file


class TestBytes:
    """No specification file fails otherwise than by a coded error."""

    @given(data=st.binary(max_size=400))
    def test_random(self, data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        answered(tmp_path_factory.getbasetemp() / "random.rspec", data)

    @given(at=st.integers(0, 10**4), put=st.binary(max_size=6), drop=st.integers(0, 6))
    def test_a_specification_with_bytes_changed(
        self, at: int, put: bytes, drop: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        sound = WHOLE.format(definition="", statements="budget 1\n  require mean(worst_case) >= 0.5").encode()
        at %= len(sound)
        answered(tmp_path_factory.getbasetemp() / "changed.rspec", sound[:at] + put + sound[at + drop :])


def answered(path: Path, data: bytes) -> None:
    """Compile a file of these bytes: a program, or errors."""
    path.write_bytes(data)
    with contextlib.suppress(SpecError, SpecFileNotText):
        assert compile_file(path)
