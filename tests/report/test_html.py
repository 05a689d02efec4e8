"""The page: everything it says, nothing that a file's name could add, nothing fetched from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from robspec import registry
from robspec import report as formats
from robspec.report import render
from robspec.verify.result import Verdict
from tests.report.test_machine_formats import hostile, report

FORMATS = registry.names(formats)


class Page(HTMLParser):
    """Collects tags and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(t == tag for t, _ in self.tags)


@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda v: v.value)
def test_hostile_names_are_text(verdict: Verdict) -> None:
    ours, theirs = Page(render("html", report(verdict))), Page(render("html", hostile(verdict)))
    assert theirs.count("script") == ours.count("script") == 1
    assert theirs.count("b") == 0
    assert not any(name.startswith("on") for _, attributes in theirs.tags for name in attributes)


@pytest.mark.parametrize("form", FORMATS)
def test_a_property_may_be_called_check(form: str) -> None:
    """Names of properties are taken from the specification, and must not meet a name that formats use themselves."""
    found = report(Verdict.PROVED, evaluated=2)
    (prop,) = found.properties
    text = render(form, replace(found, properties=(replace(prop, source=replace(prop.source, name="check")),)))
    assert "check" in text


def test_nothing_is_fetched() -> None:
    text = render("html", report(Verdict.UNKNOWN))
    assert "default-src 'none'" in text
    for tag, attributes in Page(text).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
