"""Other highlighters know every word of the language, and lose no character."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pygments.token import Keyword  # type: ignore[import-untyped]

from robspec.syntax.pygments_lexer import RspecLexer
from robspec.syntax.tokens import grammar

VSCODE = Path(__file__).parents[2] / "grammars" / "vscode"
RUNWAY = Path(__file__).parents[2] / "specs" / "runway" / "runway.rspec"


def words() -> set[str]:
    return {
        str(t.pattern.value)
        for t in grammar().terminals
        if t.pattern.type == "str" and t.pattern.value.isidentifier()
    }


def test_the_textmate_grammar_has_every_word_and_no_other() -> None:
    found = json.loads((VSCODE / "syntaxes" / "rspec.tmLanguage.json").read_text(encoding="utf-8"))
    (listed,) = [p["match"] for p in found["patterns"] if p.get("name") == "keyword.control.rspec"]
    assert set(re.findall(r"\w+", listed.replace("\\b", " "))) == words()


def test_the_extension_names_files_that_exist() -> None:
    package = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))
    contributes = package["contributes"]
    named = [package["main"], contributes["grammars"][0]["path"], contributes["languages"][0]["configuration"]]
    assert all((VSCODE / name).is_file() for name in named)


def test_pygments_gives_back_the_text() -> None:
    for text in (RUNWAY.read_text(encoding="utf-8"), 'param ε = "open\n\t$', ""):
        found = list(RspecLexer().get_tokens_unprocessed(text))
        assert "".join(part for _, _, part in found) == text
        assert all(text[at : at + len(part)] == part for at, _, part in found)
    kinds = {part: kind for _, kind, part in RspecLexer().get_tokens_unprocessed("property p {\n norm l2\n}")}
    assert kinds["property"] is kinds["norm"] is Keyword
