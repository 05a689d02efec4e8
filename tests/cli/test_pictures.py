"""Pictures of the worst images in the HTML report."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.conftest import Project, Run


def test_pictures_of_the_worst_images_come_first(project: Project, robspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    result = robspec("check", project.model, project.spec, "-q", "--output", f"html={path}")
    assert (result.status, result.out) == (0, "")
    text = path.read_text()
    shown = re.findall(r'<div class="card"><strong>(.*?)</strong>', text)
    assert sorted(shown) == [f"images/im{n}.png" for n in range(4)]
    listed = re.search(r'<table class="sortable">.*?</table>', text, re.DOTALL)
    assert listed is not None
    assert re.findall(r"<tr><td>(images/im\d.png)", listed[0])[0] == shown[0]
    for title in ("image", "annotation", "prediction", "radius", "worst case", "regions"):
        assert text.count(f'alt="images/im0.png: {title}"') == 1
    assert len(text) < 20 * 2**20 * len(shown) / 60
