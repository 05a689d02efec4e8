"""How the documentation becomes a site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "robspec"
author = "the robspec authors"
extensions = ["myst_parser", "codes"]
exclude_patterns = ["_ext", "_build", "changes"]
# Pages are written for GitHub as well: plain Markdown, links to headings as GitHub makes them.
myst_heading_anchors = 4
html_theme = "furo"
html_title = "robspec"
html_static_path: list[str] = []
html_extra_path = [f"reference/{form}.schema.json" for form in ("report", "sarif", "gitlab")]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
suppress_warnings = ["myst.xref_ambiguous"]
