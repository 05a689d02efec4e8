"""The directive `codes`: every error and warning as `robspec explain` tells it, so that there is one source."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from robspec.cli._pages import pages
from robspec.syntax.pygments_lexer import RspecLexer


class Codes(SphinxDirective):
    """One section for each code."""

    def run(self) -> list[nodes.Node]:
        """Parse the pages of `robspec explain`, which are reStructuredText."""
        found: list[nodes.Node] = []
        for page in pages().values():
            section = nodes.section(ids=[page.code.lower()])
            section += nodes.title(text=f"{page.code}: {page.title}")
            # In these texts single backticks quote what is typed.
            body = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", page.body)
            self.state.nested_parse(StringList(body.splitlines(), source=page.code), self.content_offset, section)
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the highlighting of specifications."""
    app.add_directive("codes", Codes)
    app.add_lexer("rspec", RspecLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
