"""One specification, several models: what is claimed of one is decided for that one, and never silently left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.conftest import PROVED, SPEC, Brightness, Project, Run, export

CLAIM = "  lipschitz l2 <= 1.0001\n"


@pytest.fixture
def spec(project: Project) -> Path:
    """The strict model keeps what is claimed of it, the loose one (of constant 2) does not keep 1.5."""
    export(Brightness(2 * 6**-0.5), project.root / "loose.pt2")
    digest = hashlib.sha256((project.root / "loose.pt2").read_bytes()).hexdigest()[:16]
    text = SPEC.format(claim="1.0001", properties=PROVED).replace(CLAIM, "")
    blocks = f'model "{project.model.name}" {{\n{CLAIM}}}\nmodel "sha256:{digest}" {{\n  lipschitz l2 <= 1.5\n}}\n'
    project.spec.write_text(text.replace("data val", blocks + "data val"))
    return project.spec


def of(result: str) -> tuple[list[tuple[str, str]], dict[str, object]]:
    report = json.loads(result)
    remarks = {r["code"]: r["figures"] for r in report["remarks"]}
    return [(c["claim"], c["verdict"]) for c in report["claims"]], remarks


def test_each_model_answers_for_its_own_claim(project: Project, spec: Path, robspec: Run) -> None:
    strict, noted = of(robspec("check", project.model, spec, "--format", "json").out)
    assert strict == [("lipschitz l2 -> l2 <= 1.000100000", "PROVED")]
    assert [name[:7] for name in noted["claim-of-another-model"]["models"]] == ["sha256:"]  # type: ignore[index]
    loose, noted = of(robspec("check", project.root / "loose.pt2", spec, "--format", "json").out)
    assert loose == [("lipschitz l2 -> l2 <= 1.500000000", "REFUTED")]
    assert noted["claim-of-another-model"]["models"] == [project.model.name]  # type: ignore[index]


def test_a_model_of_no_block_has_no_claim_and_says_so(project: Project, spec: Path, robspec: Run) -> None:
    other = export(Brightness(0.1), project.root / "other.pt2")
    result = robspec("check", other, spec)
    assert result.status == 0, result.err
    assert "claimed of other models was not looked at" in " ".join(result.out.split())
    claims, noted = of(robspec("check", other, spec, "--format", "json").out)
    assert claims == []
    assert len(noted["claim-of-another-model"]["models"]) == 2  # type: ignore[index, arg-type]


def test_a_claim_left_aside_is_noted(project: Project, robspec: Run) -> None:
    claims, noted = of(robspec("check", project.model, project.spec, "--claims", "ignore", "--format", "json").out)
    assert claims == []
    assert noted["claim-left-aside"] == {"claims": ["Lipschitz, l2 to l2, <= 1.0001"]}
    assert "claim-left-aside" not in of(robspec("check", project.model, project.spec, "--format", "json").out)[1]


def test_a_longer_name_means_the_folder_too(project: Project, robspec: Run) -> None:
    text = SPEC.format(claim="1.0001", properties=PROVED).replace(CLAIM, "")
    for folder in ("a", "b"):
        (project.root / folder).mkdir()
        export(Brightness(), project.root / folder / "m.pt2")
    for name, found in (("m.pt2", 1), ("b/m.pt2", 1), ("a/m.pt2", 0), ("pt2", 0)):
        project.spec.write_text(text.replace("data val", f'model "{name}" {{\n{CLAIM}}}\ndata val'))
        report = robspec("check", project.root / "b" / "m.pt2", project.spec, "--format", "json")
        assert len(of(report.out)[0]) == found, name


def test_two_blocks_of_one_file(project: Project, spec: Path, robspec: Run) -> None:
    digest = hashlib.sha256(project.model.read_bytes()).hexdigest()
    spec.write_text(spec.read_text() + f'model "sha256:{digest.upper()}" {{\n{CLAIM}}}\n')
    result = robspec("check", project.model, spec)
    assert result.status == 2
    assert "E0227" in result.err


def test_a_certificate_is_of_the_claim_of_its_model(project: Project, spec: Path, robspec: Run) -> None:
    certificate = project.root / "c.json"
    result = robspec("check", project.model, spec, "--certificate", certificate)
    assert result.status == 0, result.err
    again = robspec("recheck", certificate, project.model, spec)
    assert again.status == 0, again.err
    assert "lipschitz l2 -> l2 <= 10001/10000: PROVED" in again.out
    renamed = project.root / "renamed.pt2"
    renamed.write_bytes(project.model.read_bytes())
    assert robspec("recheck", certificate, renamed, spec).status == 1
