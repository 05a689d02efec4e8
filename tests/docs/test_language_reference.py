"""The language reference: every block in it compiles, and nothing of the language is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robspec.diagnostics import Source
from robspec.lower import compile_text
from robspec.lower.catalogue import use
from robspec.metrics import built_in
from robspec.syntax import format_file, parse
from robspec.syntax.forms import FORMS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "language.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```rspec\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
WHOLE = BLOCKS[0]


def completed(block: str) -> str:
    """A piece of a specification with what it lacks taken from the whole one at the top of the page."""
    parts = {"language": "language 1\n"}
    for word in ("model", "data", "property"):
        found = re.search(rf"^{word} .*?^}}\n", WHOLE, flags=re.DOTALL | re.MULTILINE)
        assert found is not None
        parts[word] = found[0].replace("eps", "0.1")
    if re.search(r"^model ", block, flags=re.MULTILINE):
        parts["data"] = parts["data"].replace("  ignore 255\n", "")
    missing = [text for word, text in parts.items() if not re.search(rf"^{word} ", block, flags=re.MULTILINE)]
    return "".join((*missing, block))


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) >= 8
    assert completed(WHOLE) == WHOLE


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split("{")[0].split("\n")[-1].strip())
def test_every_block_compiles_without_a_warning(block: str) -> None:
    program, diagnostics = compile_text(completed(block))
    assert diagnostics == ()
    assert program is not None


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split("{")[0].split("\n")[-1].strip())
def test_every_block_is_formatted(block: str) -> None:
    assert format_file(parse(Source(block)).file) == block


def test_every_statement_and_every_metric_is_described() -> None:
    for word in FORMS:
        assert re.search(rf"^(##+ {word}\b|\| `{word}|`{word} )", TEXT, flags=re.MULTILINE), word
    for name, info in built_in().items():
        assert re.search(rf"`{name}[`(\[]", TEXT), name
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{use(info)}` |"))
        assert info.formula in row
        assert ("lower" if info.lower_is_better else "higher") in row


def test_the_limits_are_those_of_the_code() -> None:
    from robspec.checks._spec import MAX_POINTS
    from robspec.syntax.parse import MAX_DEPTH, MAX_DIGITS, MAX_ERRORS, MAX_EXPONENT
    from robspec.syntax.source import MAX_BYTES
    from robspec.syntax.tokens import MAX_TOKENS

    limits = TEXT[TEXT.index("## Limits") :]
    for limit in (MAX_POINTS, MAX_DEPTH, MAX_DIGITS, MAX_ERRORS, MAX_EXPONENT, MAX_TOKENS):
        assert re.search(rf"\b{limit}\b", limits), limit
    assert MAX_BYTES == 1 << 20
