"""Pictures of the worst images in the HTML report."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

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
    large = re.findall(r'<figure><a href="(page-images/val-00[1-4]-[a-z-]+.png)">', text)
    assert len(large) == len(set(large)) == 6 * 4
    assert sorted(p.name for p in (tmp_path / "page-images").iterdir()) == sorted(Path(p).name for p in large)
    with Image.open(tmp_path / large[0]) as first:
        assert max(first.size) == 1024


def test_pictures_of_an_earlier_report_are_removed_and_nothing_else(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "a b#-images"
    folder.mkdir()
    for name in ("val-009-image.png", "mine.png", "notes.txt"):
        (folder / name).write_text("")
    result = robspec(
        "check", project.model, project.spec, "--limit", 1, "--format", "html", "--output", tmp_path / "a b#.html"
    )
    assert result.status == 3
    left = {p.name for p in folder.iterdir()}
    assert {"mine.png", "notes.txt", "val-001-image.png", "val-001-worst-case.png"} < left
    assert "val-009-image.png" not in left
    assert 'href="a%20b%23-images/val-001-image.png"' in (tmp_path / "a b#.html").read_text()


def test_a_page_without_a_place_of_its_own_has_thumbnails_alone(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    two = ("--output", f"html={tmp_path / 'a.html'}", "--output", f"html={tmp_path / 'b.html'}")
    assert robspec("check", project.model, project.spec, "--limit", 1, "-q", *two).status == 3
    assert "-images/" not in (tmp_path / "a.html").read_text()
    (tmp_path / "c-images").write_text("")
    refused = robspec("check", project.model, project.spec, "--output", f"html={tmp_path / 'c.html'}")
    assert (refused.status, "E0602" in refused.err) == (2, True)


def test_regions_carry_what_changes_all_but_a_few_pixels(project: Project, robspec: Run, tmp_path: Path) -> None:
    """The seed's N_min: never more than what changes all, and nothing where a region has no more pixels than that."""
    said = []
    for rest in (0, 3, 64):
        path = tmp_path / f"{rest}.html"
        robspec(
            "check",
            project.model,
            project.spec,
            "--limit",
            1,
            "-q",
            "--region-rest",
            rest,
            "--output",
            f"html={path}",
        )
        said += re.findall(r"below its number changes (.*?) of one", path.read_text())
    assert said == ["all", "all but 3 pixels", "all but 64 pixels"]
