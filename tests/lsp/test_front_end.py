"""What the server answers, without a server: completion, hover, repairs and places at every character."""

from __future__ import annotations

import pytest

from robspec.diagnostics import Span
from robspec.lsp import actions, completion, highlight, hover, names
from robspec.lsp.document import Document
from tests.lsp.test_session import TEXT


def texts(text: str) -> set[str]:
    """What is offered at the bar."""
    offset = text.index("|")
    return {s.text for s in completion.complete(Document(text.replace("|", "", 1)), offset)}


def at(line: str) -> set[str]:
    """What is offered at the bar in a statement of the property."""
    return texts(TEXT.replace("  norm l2\n", f"  {line}\n"))


def test_statements_of_the_place() -> None:
    assert texts("|") == {"language", "param", "metric", "model", "detector", "privacy", "data", "use", "property"}
    assert {"input", "output", "classes"} <= texts(TEXT.replace("model {", "model {\n  |"))
    assert at("|") >= {"metric", "norm", "budget", "require"}
    assert "norm" in at("no|")
    assert texts("privacy {\n  |") == {"epsilon"}
    assert "at" in texts("privacy {\n  epsilon <= 8 |")
    assert "delta" in texts("privacy {\n  epsilon <= 8 at |")
    assert "budget_size" in texts(TEXT + "privacy {\n  epsilon <= |\n}")
    assert texts(TEXT.replace("data val", 'model "strict.pt2" {\n  |\n}\ndata val')) == {"lipschitz"}
    assert not texts("language 1 # |")


def test_names_of_the_place() -> None:
    assert at("norm |") >= {"l1", "l2", "linf"}
    assert at("metric |") >= {"missed", "iou", "pixel_accuracy", "pooled"}
    assert at("metric iou[|") == {"road", '"no road"'}
    assert "budget_size" in at("budget |")
    assert texts(TEXT + "use |") == {"val"}
    assert '"no road"' in texts(TEXT.replace("data val {", "data val {\n  map 7 to |"))
    assert at("degraded when |") >= {"h", "h0", "budget_size", "iou"}
    assert at("require |") >= {"worst_case", "radius", "mean"}


def said(word: str, nth: int = 0, text: str = TEXT) -> str:
    offset = -1
    for _ in range(nth + 1):
        offset = text.index(word, offset + 1)
    found = hover.hover(Document(text), offset)
    return "" if found is None else found[0]


def test_hover() -> None:
    assert "class 1 of 2" in said('"no road"')
    assert "smallest" not in said("kept")
    assert "largest missed[road]" in said("kept")
    assert "higher is better" in said("iou", 0, TEXT.replace("missed[road]", "iou[road]"))
    assert "norm l2" in said("norm")
    assert "grey levels" in said("8/255", 1, TEXT.replace("budget budget_size", "budget 8/255"))
    assert said("epsilon", 0, TEXT + "privacy {\n  epsilon <= 8 at delta 1e-5\n}") == "`epsilon <= 8 at delta 1e-5`"
    assert said("language 1") == "`language 1`"


@pytest.mark.parametrize("size", range(0, len(TEXT), 7))
def test_no_text_and_no_place_is_too_odd(size: int) -> None:
    """Every prefix of a specification, at its end and somewhere in it, as it is while it is typed."""
    document = Document(TEXT[:size] + "\ud800")
    for offset in (0, size // 2, size):
        completion.complete(document, offset)
        hover.hover(document, offset)
        assert document.offset(document.place(offset)) == offset
    actions.repairs(document, Span(0, size))
    assert len(highlight.encode(document)) % 5 == 0


def test_a_text_of_more_than_a_mebibyte_is_one_complaint() -> None:
    document = Document("#" * (1 << 20) + "#")
    assert [d.code for d in document.compiled[1]] == ["E0012"]
    assert not names.occurrences(document)
    assert hover.hover(document, 5) is None
    assert not completion.complete(document, 5)


def test_repairs_are_only_those_that_help() -> None:
    text = TEXT.replace("missed[road]", "mised[road]")
    document = Document(text)
    (repair,) = actions.repairs(document, Span(0, len(text)))
    assert (repair.text, text[repair.span.start : repair.span.end]) == ("missed", "mised")
    assert not actions.repairs(Document(TEXT), Span(0, len(TEXT)))


def test_highlight_names_every_word_once() -> None:
    numbers = highlight.encode(Document(TEXT))
    kinds = [highlight.TYPES[k] for k in numbers[3::5]]
    assert kinds[:3] == ["keyword", "number", "keyword"]
    assert {"comment", "function", "enumMember", "variable", "parameter", "property", "string"} <= set(kinds)
    assert all(length > 0 for length in numbers[2::5])
