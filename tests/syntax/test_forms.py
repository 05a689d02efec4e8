"""The forms shown in mends are right, and there is one for each statement of the grammar."""

from __future__ import annotations

import pytest

from robspec.diagnostics import Source
from robspec.syntax import parse
from robspec.syntax.forms import FORMS
from robspec.syntax.parse import _starts
from robspec.syntax.tokens import grammar


def test_every_statement_of_the_grammar_has_a_form() -> None:
    top, inside = _starts()
    terminals = top.union(*inside.values())
    assert {grammar().get_terminal(t).pattern.value for t in terminals} == set(FORMS)


@pytest.mark.parametrize("word", FORMS)
def test_a_form_is_read_where_it_belongs(word: str) -> None:
    form = FORMS[word].replace("...", "")
    texts = [form, f"model {{\n{form}\n}}", f"data d {{\n{form}\n}}", f"property p {{\n{form}\n}}"]
    texts += [f"{block} {{\n{form}\n}}" for block in ("detector", "privacy")]
    # `use` stands in the file, for every property, or in one of them.
    assert [parse(Source(t)).diagnostics for t in texts].count(()) == (2 if word == "use" else 1)
