"""The words of a `privacy` block are names everywhere else, as specifications were written before it."""

from __future__ import annotations

from fractions import Fraction

from robspec.diagnostics import Source
from robspec.ir import serialise
from robspec.lower import compile_text
from robspec.syntax import format_file, parse

REST = """
model {
  input   image [3, 8, 8] in [0, 1]
  output  logits [2, 8, 8]
  classes "privacy", "epsilon"
}
data val {
  images "images/*.png"
  masks  "masks/*.png"
}
property accurate {
  metric   iou[epsilon]
  norm     l2
  budget   epsilon + privacy
  require  mean(worst_case) >= 0.5
}
"""
NAMES = "language 1\nparam epsilon = 1\nparam delta = 2\nparam privacy = (\n  epsilon\n  + delta\n)\nparam at = 3\n"


def test_they_may_be_names_inside_and_outside() -> None:
    block = "privacy {\n  # why\n  epsilon <= (epsilon\n    + at) at delta delta/1000\n}"
    program, _ = compile_text(NAMES + REST + block)
    assert program is not None
    assert program.privacy is not None
    assert (program.privacy.epsilon, program.privacy.delta) == (Fraction(4), Fraction(2, 1000))
    assert program.privacy.text == "epsilon <= epsilon + at at delta delta / 1000"
    assert program.privacy.line == NAMES.count("\n") + REST.count("\n") + 3
    assert serialise.loads(serialise.dumps(program)) == program
    written = format_file(parse(Source(NAMES + REST + block)).file)
    assert "privacy {\n  # why\n  epsilon <= epsilon + at at delta delta / 1000\n}" in written
    assert format_file(parse(Source(written)).file) == written


def test_a_specification_without_the_block_asks_nothing() -> None:
    program, _ = compile_text("language 1\nparam epsilon = 1\nparam privacy = 2\n" + REST)
    assert program is not None
    assert program.privacy is None


def test_what_is_missing_or_twice() -> None:
    head = "language 1\nparam epsilon = 1\nparam privacy = 1\n" + REST
    codes = {
        "privacy {\n}": "E0115",
        "privacy {\n  epsilon < 8\n}": "E0001",
        "privacy {\n  epsilon <= 8\n}": "E0001",
        "privacy {\n  epsilon <= 8 at delta 1e-5\n}\nprivacy {\n  epsilon <= 8 at delta 1e-5\n}": "E0113",
        "privacy {\n  epsilon <= 8 at delta 1e-5\n  epsilon <= 4 at delta 1e-5\n}": "E0113",
        "privacy {\n  epsilon <= 8 at delta 0\n}": "E0160",
        "privacy {\n  epsilon <= 0 at delta 0.5\n}": "E0160",
    }
    for block, code in codes.items():
        program, diagnostics = compile_text(head + block)
        assert program is None, block
        assert [d.code for d in diagnostics if d.is_error] == [code], block
