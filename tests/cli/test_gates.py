"""What a check in CI needs: several reports at once, some properties or images, a baseline, and silence."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import junitparser

from tests.cli.conftest import PROVED, Project, Run

UNKNOWN = PROVED.replace("mean(worst_case) >= 0.5", "mean(worst_case) >= 0.97").replace("budget 0.1", "budget 1.5")


def test_reports_in_several_formats_are_written_beside_the_one_shown(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    files = {form: tmp_path / f"{form}.out" for form in ("json", "junit", "sarif", "markdown")}
    outputs = [part for form, path in files.items() for part in ("--output", f"{form}={path}")]
    result = robspec("check", project.model, project.spec, *outputs)
    assert (result.status, result.out.count("PROVED")) == (0, 3)
    assert json.loads(files["json"].read_text())["complete"] is True
    assert junitparser.JUnitXml.fromfile(str(files["junit"])).tests == 3
    quiet = robspec("check", project.model, project.spec, "--quiet", "--output", f"json={files['json']}")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_two_files_need_formats(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--output", "a", "--output", "b")
    assert result.status == 2
    assert "E0601" in result.err
    assert "junit=b" in result.err


def test_a_format_that_there_is_not_is_no_file(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--output", "juint=x.xml")
    assert (result.status, result.out) == (2, "")
    assert "E0601" in result.err
    assert "did you mean `junit`?" in result.err
    assert "choose one of " in robspec("check", project.model, project.spec, "--output", "xml=foo.xml").err
    assert robspec("check", project.model, project.spec, "--output", "./xml=foo.xml").status == 0
    assert (project.root / "cwd" / "xml=foo.xml").is_file()


def test_one_property(project: Project, robspec: Run) -> None:
    project.write_spec(UNKNOWN)
    assert robspec("check", project.model, project.spec).status == 3
    result = robspec("check", project.model, project.spec, "--property", "far")
    assert (result.status, "accurate" in result.out) == (0, False)
    wrong = robspec("check", project.model, project.spec, "--property", "fra")
    assert wrong.status == 2
    assert "did you mean `far`?" in wrong.err


def test_a_limit_proves_nothing_of_the_rest(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--limit", 2)
    assert result.status == 3
    assert "of the first 2 of 4 images" in " ".join(result.out.split())
    assert robspec("check", project.model, project.spec, "--limit", 4).status == 0
    both = robspec("check", project.model, project.spec, "--limit", 2, "--certificate", project.root / "c.json")
    assert both.status == 2
    assert "E0601" in both.err


def test_fail_on_refuted_lets_unknown_pass(project: Project, robspec: Run) -> None:
    project.write_spec(UNKNOWN)
    assert robspec("check", project.model, project.spec, "--fail-on", "refuted").status == 0


def test_every_image_is_listed_when_asked(project: Project, robspec: Run) -> None:
    plain, wordy = (robspec("check", project.model, project.spec, *more).out for more in ((), ("--verbose",)))
    assert all(f"images/im{n}.png: clean" in wordy for n in range(4))
    assert "images/im1.png: clean" not in plain
    assert robspec("check", project.model, project.spec, "--verbose", "--quiet").status == 2


def test_listed_values_are_rounded_to_the_worse_side(project: Project, robspec: Run) -> None:
    """63/64 has six decimals, and four are shown: down where higher is better, up where lower is."""
    rates = PROVED.replace("metric pixel_accuracy", "metric fnr[dark]", 1).replace(">= 0.5", "<= 1")
    for properties, metric, up in ((PROVED, 0, False), (rates, 0, True)):
        project.write_spec(properties.replace("budget 0.1", "budget 1.5"))
        path = project.root / "r.json"
        told = robspec("check", project.model, project.spec, "--verbose", "--output", f"json={path}").out
        found = json.loads(path.read_text())["properties"][metric]["images"]
        for image in found:
            exact = Fraction(image["certified"][0]["exact"])
            (line,) = [
                x for x in told.split("far, by image:")[0].splitlines() if x.startswith(f"  {image['image']}:")
            ]
            shown = Fraction(line.partition("certified ")[2].partition(",")[0])
            assert (shown >= exact) if up else (shown <= exact)
            assert abs(shown - exact) < Fraction(1, 10_000)


def test_a_baseline_fails_on_what_became_worse_alone(project: Project, robspec: Run) -> None:
    kept = project.root / "baseline.json"
    project.write_spec(UNKNOWN)
    first = robspec("check", project.model, project.spec, "--baseline", kept, "--update-baseline")
    assert first.status == 3
    assert kept.exists()
    again = robspec("check", project.model, project.spec, "--baseline", kept)
    assert again.status == 0
    assert "no worse than in the baseline" in again.out
    # What was proved before and is not any more fails, though nothing else changed.
    text = kept.read_text()
    kept.write_text(text.replace('"UNKNOWN"', '"PROVED"'))
    worse = robspec("check", project.model, project.spec, "--baseline", kept)
    assert worse.status == 3
    assert "baseline: worse: accurate, mean(worst_case) >= 0.97: PROVED before, now UNKNOWN" in worse.err
    # A requirement that was not there is new, and has to be proved.
    kept.write_text(text)
    project.write_spec(UNKNOWN.replace("0.97", "0.98"))
    new = robspec("check", project.model, project.spec, "--baseline", kept)
    assert new.status == 3
    assert "baseline: new: accurate, mean(worst_case) >= 0.98" in new.err
    assert "baseline: gone: accurate, mean(worst_case) >= 0.97: UNKNOWN before" in new.err


def test_some_images_make_no_baseline(project: Project, robspec: Run) -> None:
    kept = project.root / "baseline.json"
    result = robspec("check", project.model, project.spec, "--limit", 2, "--baseline", kept, "--update-baseline")
    assert "baseline not written, as only some images were looked at" in result.err
    assert not kept.exists()


def test_fewer_images_are_less(project: Project, robspec: Run) -> None:
    kept = project.root / "baseline.json"
    given = ("check", project.model, project.spec, "--baseline", kept)
    assert robspec(*given, "--update-baseline").status == 0
    for folder in ("images", "masks"):
        sorted((project.root / folder).iterdir())[-1].unlink()
    fewer = robspec(*given)
    assert fewer.status == 3
    assert "baseline: worse: images: 4 before, now 3" in fewer.err


def test_another_budget_is_another_requirement(project: Project, robspec: Run) -> None:
    """What was unknown at 1.5 is not accepted at 1.6, nor at a budget that asks for less."""
    kept = project.root / "baseline.json"
    project.write_spec(UNKNOWN)
    robspec("check", project.model, project.spec, "--baseline", kept, "--update-baseline")
    for budget in ("1.6", "1.4"):
        project.write_spec(UNKNOWN.replace("budget 1.5", f"budget {budget}"))
        result = robspec("check", project.model, project.spec, "--baseline", kept)
        assert result.status == 3
        assert "baseline: new: accurate" in result.err


def test_a_baseline_that_is_none_is_an_error(project: Project, robspec: Run) -> None:
    missing = robspec("check", project.model, project.spec, "--baseline", project.root / "none.json")
    assert missing.status == 2
    assert "E0604" in missing.err
    assert "there is no such file" in missing.err
    assert "--update-baseline" in missing.err
    assert robspec("check", project.model, project.spec, "--update-baseline").status == 2
    (project.root / "none.json").write_text('{"schema": "robspec-report", "schema_version": 1, "properties": 3}')
    odd = robspec("check", project.model, project.spec, "--baseline", project.root / "none.json")
    assert odd.status == 0, odd.err


def test_a_refutation_that_was_there_is_accepted_and_a_new_one_is_not(project: Project, robspec: Run) -> None:
    kept = project.root / "baseline.json"
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "mean(worst_case) >= 1"))
    assert robspec("check", project.model, project.spec, "--baseline", kept, "--update-baseline").status == 1
    assert robspec("check", project.model, project.spec, "--baseline", kept).status == 0
    kept.write_text(kept.read_text().replace('"REFUTED"', '"UNKNOWN"'))
    assert robspec("check", project.model, project.spec, "--baseline", kept).status == 1
