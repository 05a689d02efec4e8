"""Certificates: confirmed as written, rejected when any field is altered, with or without a mended digest."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.errors import RobspecError
from robspec.recheck import document
from robspec.recheck.assemble import Inputs
from robspec.recheck.recheck import MOST_AT_ONCE, Derived, derive, inputs_of
from robspec.semantics.norm import exact_text
from robspec.syntax.source import read_source
from tests.cli.conftest import Brightness, Project, Run, export, write_images
from tests.examples import examples

MANY = """
property even {
  metric weighted pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= LEAST
}
"""
PROPERTIES = """
param eps = 1.5
property counting {
  metric pixel_accuracy
  norm l2
  budget 0 to eps points 4
  require mean(worst_case) >= 0.2
}
property stable {
  metric stability
  norm l1
  degraded when h <= 0.9
  require radius >= 0.01 for 50% of images
}
property rate {
  metric fnr[bright]
  norm linf
  budget 0.3
  require worst_case <= 0.99 for all images
}
property overlap {
  metric iou[bright]
  norm l2
  degraded when h < 0.5 * h0
  require quantile(0.5, radius) >= 0.1
}
property both {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.8 or h <= 0.9 * h0
  require radius >= 0.1 for all images
}
property out_of_reach {
  metric pixel_accuracy
  norm linf
  degraded when h < 0
  require radius >= 1 for all images
}
property average {
  metric mean_iou
  norm l2
  budget 0 to eps points 3
  require mean(worst_case) >= 0.1
}
property average_by_pixels {
  metric frequency_weighted_iou
  norm linf
  budget 0.2
  require worst_case >= 0.1 for all images
}
property average_far {
  metric mean_dice
  norm l1
  degraded when h <= 0.6
  require radius >= 0.01 for 50% of images
}
property by_class {
  metric mean_accuracy
  norm l2
  budget 0 to eps points 3
  require mean(worst_case) >= 0.1
}
property by_class_far {
  metric mean_accuracy
  norm linf
  degraded when h <= 0.5
  require radius >= 0.01 for 50% of images
}
property by_class_further {
  metric mean_accuracy
  norm l1
  degraded when h < 0.5 * h0
  require quantile(0.5, radius) >= 0.01
}
property either {
  metric mean_iou
  norm l2
  degraded when h <= 0.6 or h <= 0.5 * h0 or pixel_accuracy <= 0.5
  require radius >= 0.01 for all images
}
property every {
  metric mean_accuracy
  norm l2
  degraded when h <= 0.5 and (mean_dice < 0.6 or iou[bright] <= 0.3)
  require quantile(0.5, radius) >= 0.01
}
property together {
  metric pooled dice[bright]
  norm l2
  budget 1.5
  require worst_case >= 0.1
}
property together_far {
  metric pooled iou[bright]
  norm l2
  degraded when h <= 0.5
  require radius >= 0.01
}
"""


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What one project's files lead to, for every other project of the same files."""
    return {}


@pytest.fixture
def files(project: Project, robspec: Run, tmp_path: Path, kept: dict[str, Any]) -> tuple[Project, Path]:
    project.write_spec(PROPERTIES)
    path = tmp_path / "c.json"
    if "certificate" not in kept:
        result = robspec("check", project.model, project.spec, "--certificate", path)
        assert result.status in (0, 1, 3), result.err
        kept["certificate"] = path.read_text()
    path.write_text(kept["certificate"])
    return project, path


@pytest.fixture
def derived(files: tuple[Project, Path], kept: dict[str, Any]) -> tuple[Derived, dict[str, Any]]:
    made, path = files
    written = document.read(path)
    if "derived" not in kept:
        inputs, params = inputs_of(written, str(path))
        kept["derived"] = derive(inputs, params, made.model, read_source(made.spec), made.root)
    return kept["derived"], written


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*at, key))
    elif isinstance(value, list) and value:
        for i, below in enumerate(value):
            yield from leaves(below, (*at, i))
    else:
        yield at


def mutated(value: Any) -> Any:
    """A value of the same kind that claims something else."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "1"
    if isinstance(value, list):
        return [1]
    try:
        exact = Fraction(value)
    except ValueError:
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return str(exact * (1 + Fraction(1, 10**6)) + (Fraction(1, 10**6) if exact == 0 else 0))


def changed(written: Any, path: tuple[Any, ...]) -> Any:
    """A copy with one leaf altered; what lies beside the path is shared."""
    if not path:
        return mutated(written)
    made = copy.copy(written)
    made[path[0]] = changed(written[path[0]], path[1:])
    return made


def test_a_certificate_is_confirmed(files: tuple[Project, Path], robspec: Run) -> None:
    made, path = files
    result = robspec("recheck", path, made.model, made.spec)
    assert result.status == 0, result.err
    assert "confirmed: 4 images" in result.out
    assert "together_far: PROVED" in result.out


def test_every_altered_field_is_rejected(derived: tuple[Derived, dict[str, Any]]) -> None:
    """Each leaf in turn, its digest left as it was: the digest alone must notice."""
    _, written = derived
    paths = list(leaves(written))
    assert len(paths) > 400
    for path in paths:
        with pytest.raises(RobspecError):
            document.verified(changed(written, path), "altered")


def test_every_forged_field_is_rejected(derived: tuple[Derived, dict[str, Any]]) -> None:
    """Each leaf in turn, with the digest a forger would compute: what is derived must notice."""
    truth, written = derived
    assert truth.differences(written) == []
    # Another batch size or forward pass is another, true, certificate where the logits are the same.
    inputs = [("inputs", name) for name in ("batch_size", "forward", "assume_lipschitz")]
    paths = [path for path in leaves(written) if path != ("digest",) and path not in inputs]
    # What a unit of the budget is matters to nobody who buys none.
    paths = [path for path in paths if path[-1] != "unit" or _at(written, path[:-1])["price"] != "0"]
    every_forgery_is_found(truth, written, paths, len(paths) // 10)


def every_forgery_is_found(truth: Derived, written: dict[str, Any], paths: list[tuple[Any, ...]], most: int) -> None:
    """Forge fields far apart at once; each must be found by a difference of its own, or it is forged alone.

    Args:
        truth: what the files lead to.
        written: the certificate.
        paths: the fields.
        most: fewer than so many may need to be forged alone.
    """
    groups = len(paths) // 40
    alone = []
    for number in range(groups):
        group = paths[number::groups]
        causes = _found(truth, written, *group)
        alone += [path for path, cause in zip(group, causes, strict=True) if cause is None or causes.count(cause) > 1]
    assert len(alone) < most
    for path in alone:
        assert _found(truth, written, path) != [None], path


def _at(written: Any, path: tuple[Any, ...]) -> Any:
    """What lies at the end of a path."""
    return reduce(lambda part, step: part[step], path, written)


def _found(truth: Derived, written: dict[str, Any], *paths: tuple[Any, ...]) -> list[str | None]:
    """The difference that tells of each of several fields forged together: of the field, or of what it is part of."""
    forged = written
    for path in paths:
        forged = changed(forged, path)
    forged = {**forged, "digest": document.digest(forged)}
    told = {at for at, _, _ in truth.differences(forged)}
    found = []
    for path in paths:
        names = accumulate(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        found.append(next((name[1:] for name in reversed([*names]) if name[1:] in told), None))
    return found


def test_added_and_missing_fields_are_rejected(derived: tuple[Derived, dict[str, Any]]) -> None:
    truth, written = derived
    for name in [key for key in written if key != "digest"]:
        made = copy.deepcopy(written)
        del made[name]
        assert truth.differences(made), name
    extra = {**written, "note": "trust me"}
    assert truth.differences(extra)
    first = copy.deepcopy(written)
    del first["properties"][0]["images"][0]["points"][1]
    assert truth.differences(first)


def test_the_options_are_derived_with_and_so_cannot_be_altered(
    files: tuple[Project, Path],
    robspec: Run,
) -> None:
    made, path = files
    written = document.read(path)
    written["inputs"]["params"]["eps"] = "1"
    path.write_text(document.dumps(written))
    result = robspec("recheck", path, made.model, made.spec)
    assert result.status == 1
    assert "E0804" in result.err


def test_another_model_spec_or_image_is_rejected(
    files: tuple[Project, Path],
    robspec: Run,
    tmp_path: Path,
) -> None:
    made, path = files
    other = export(Brightness(0.3), tmp_path / "other.pt2")
    result = robspec("recheck", path, other, made.spec)
    assert (result.status, "sha256.model" in result.err) == (1, True)
    text = made.spec.read_text()
    made.spec.write_text(text.replace("0.2", "0.1"))
    result = robspec("recheck", path, made.model, made.spec)
    assert (result.status, "sha256.spec" in result.err) == (1, True)
    made.spec.write_text(text)
    pixels = np.asarray(Image.open(made.root / "images/im0.png")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(made.root / "images/im0.png")
    result = robspec("recheck", path, made.model, made.spec)
    assert (result.status, "sha256.files[0]" in result.err) == (1, True)


@pytest.mark.parametrize("objective", ["h <= 0.3", "h <= 0.3 or h <= 0.5 * h0"])
def test_another_specification_is_rejected_before_anything_is_derived(
    files: tuple[Project, Path],
    robspec: Run,
    objective: str,
) -> None:
    made, path = files
    other = made.write_spec(
        f"property p {{\n  metric mean_iou\n  norm l2\n  degraded when {objective}\n"
        "  require radius >= 0.1 for all images\n}\n"
    )
    result = robspec("recheck", path, made.model, other)
    assert (result.status, "E0804" in result.err) == (1, True)
    assert "of another specification" in result.err
    assert str(other) in result.err


def test_a_missing_certificate_is_said_to_be_missing(project: Project, robspec: Run) -> None:
    result = robspec("recheck", "nope.json", project.model, project.spec)
    assert (result.status, "E0802" in result.err) == (2, True)
    assert "No such file" in result.err


def test_a_combination_is_written_with_the_radii_it_follows_from(files: tuple[Project, Path]) -> None:
    _, path = files
    either, every = (p for p in document.read(path)["properties"] if p["name"] in ("either", "every"))
    for image in either["images"]:
        (point,) = image["points"]
        radii = [part["certified"] for part in point["parts"]]
        assert len(radii) == 3
        assert point["certified"] == min(radii, key=Fraction)
        assert {"price", "spends", "bound"} <= set(point["parts"][0])
        assert set(point["parts"][2]) == {"cut", "needs", "certified"}
    for image in every["images"]:
        (point,) = image["points"]
        first, second = (part["certified"] for part in point["parts"])
        assert point["certified"] == max(first, second, key=Fraction)
        assert second == min((part["certified"] for part in point["parts"][1]["parts"]), key=Fraction)


def test_comparing_image_by_image_finds_what_comparing_the_whole_does(
    files: tuple[Project, Path], derived: tuple[Derived, dict[str, Any]]
) -> None:
    """`recheck` compares each image as it is derived; one field of each kind, and lists of other lengths."""
    (made, path), (truth, written) = files, derived
    inputs, params = inputs_of(written, str(path))
    forgeries = []
    kinds: set[tuple[Any, ...]] = set()
    for at in leaves(written):
        if at[0] not in ("properties", "images") or "derivation" in at:
            continue
        kind = (at[:2] if at[0] == "properties" else ()) + tuple(step for step in at if isinstance(step, str))
        if kind in kinds:
            continue
        kinds.add(kind)
        # Only some: each is derived from the files anew.
        if len(kinds) % (25 if examples(1) == 1 else 9) == 0:
            forgeries.append(changed(written, at))
    lists: list[Callable[[dict[str, Any]], object]] = [
        lambda p: p["images"].pop(),
        lambda p: p["images"].append({}),
        lambda p: p.update(images="none"),
        lambda p: p.update(images=[None] * 4),
    ]
    for change in lists:
        forgeries.append(copy.deepcopy(written))
        change(forgeries[-1]["properties"][-3])
    assert len(forgeries) > 6
    for forged in [written, *forgeries]:
        found = derive(inputs, params, made.model, read_source(made.spec), made.root, written=forged)
        assert found.differences(forged) == truth.differences(forged)
    assert found.differences(copy.deepcopy(forged)), "nothing is confirmed that was not compared"


def test_where_the_certificate_is_is_said(project: Project, robspec: Run, tmp_path: Path) -> None:
    result = robspec("check", project.model, project.spec, "--certificate", tmp_path / "c.json")
    assert f"certificate written: {tmp_path / 'c.json'}\n" in result.err
    assert (tmp_path / "c.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "NaN", '{"schema": "robspec-certificate"}', '{"a": 1, "a": 2}'])
def test_what_is_no_certificate_is_refused(project: Project, robspec: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    result = robspec("recheck", path, project.model, project.spec)
    assert (result.status, "E0802" in result.err) == (2, True)


@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": 10**9},
        {"batch_size": 0},
        {"batch_size": True},
        {"assume_lipschitz": "1e999999999"},
        {"assume_lipschitz": "-1"},
        {"forward": "float16"},
        {"params": {"eps": "inf"}},
    ],
)
def test_hostile_options_are_refused_before_any_work(given: dict[str, Any]) -> None:
    options = {"params": {}, "forward": "model", "batch_size": 8, "assume_lipschitz": None, **given}
    with pytest.raises(RobspecError, match="does not say how it was made"):
        inputs_of({"inputs": options}, "certificate")


def test_more_images_at_once_than_can_be_rechecked_are_refused(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    path, asked = tmp_path / "c.json", (project.model, project.spec, "--batch-size")
    result = robspec("check", *asked, MOST_AT_ONCE + 1, "--certificate", path)
    assert (result.status, "E0601" in result.err, path.exists()) == (2, True, False)
    assert robspec("check", *asked, MOST_AT_ONCE + 1).status == 0
    assert robspec("check", *asked, MOST_AT_ONCE, "--certificate", path).status == 0
    result = robspec("recheck", path, project.model, project.spec, "--batch-size", MOST_AT_ONCE)
    assert result.status == 0, result.err


def test_a_certificate_too_large_to_be_rechecked_is_said_to_be(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "MOST", 1 << 10)
    result = robspec("check", project.model, project.spec, "--certificate", tmp_path / "c.json")
    assert result.status == 0
    assert "this certificate is larger: check fewer images" in result.err
    assert (tmp_path / "c.json").exists()


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    for depth in (900, 100_000):
        path.write_text(
            '{"schema": "robspec-certificate", "schema_version": 1, "a": ' + "[" * depth + "]" * depth + "}"
        )
        with pytest.raises(RobspecError, match="E0802"):
            document.read(path)


def test_a_wrong_kernel_cannot_write_a_certificate(
    project: Project,
    robspec: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from robspec.bounds import ratio

    true = ratio.Bound._worst
    monkeypatch.setattr(ratio.Bound, "_worst", lambda self, image, eps: true(self, image, eps * Fraction(9, 10)))
    project.write_spec(
        "property p {\n  metric iou[bright]\n  norm l2\n  degraded when h <= 0.5\n"
        "  require radius >= 0.1 for all images\n}\n"
    )
    path = tmp_path / "c.json"
    result = robspec("check", project.model, project.spec, "--certificate", path)
    assert (result.status, "E0901" in result.err) == (4, True)
    assert result.out == "", "no verdict is shown that exact arithmetic contradicts"
    assert not path.exists()


def test_exact_costs_equal_the_definition() -> None:
    """Against the definition of the water filling, for several classes and every norm."""
    from robspec.oracle import costs
    from robspec.oracle.scene import Scene
    from robspec.recheck.exact import price

    rng = np.random.default_rng(4)
    for q in (1, 2, None):
        for z in (rng.normal(size=(50, 4)), rng.integers(0, 3, (50, 4)) * 1.0, rng.normal(size=(50, 1)) * 1e-30):
            blank = np.zeros(50, np.int64), np.zeros(50, np.bool_), np.ones(50, np.bool_), np.ones(50)
            scene = Scene(z.astype(np.float32).astype(np.float64), *blank, q)
            for inside in (None, (1,), (0, 2)) if z.shape[1] > 1 else (None,):
                found = price(scene, np.ones(50, np.bool_), inside)
                expected = []
                for row, mine in zip(scene.logits.tolist(), scene.predicted.tolist(), strict=True):
                    own = {mine} if inside is None else set(inside) if mine in inside else set(range(4)) - set(inside)
                    others = [k for k in range(scene.classes) if k not in own]
                    expected.append(min(costs.exact(row, k, q) for k in others))
                assert [c * found.unit for c in found.costs] == sorted(expected)


def test_the_file_is_small_text_with_exact_numbers(files: tuple[Project, Path]) -> None:
    _, path = files
    content = json.loads(path.read_text())
    assert not [p for p in leaves(content) if isinstance(_at(content, p), float)]
    point = content["properties"][0]["images"][0]["points"][-1]
    assert set(point) == {"budget", "cut", "spent", "certified"}
    assert Fraction(point["spent"]) <= Fraction(point["budget"])


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


class Squared(torch.nn.Module):
    """No global constant: a product of two functions of the image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image * image - 0.25).sum(1, keepdim=True)
        return torch.cat([-s, s], 1)


def test_an_assumed_constant_is_confirmed_as_assumed(project: Project, robspec: Run, tmp_path: Path) -> None:
    model, path = export(Squared(), tmp_path / "squared.pt2"), tmp_path / "c.json"
    project.write_spec(
        "property p {\n  metric pixel_accuracy\n  norm linf\n  budget 0.001\n  require mean(worst_case) >= 0.1\n}\n"
    )
    options = ("--assume-lipschitz", "3.5", "--certificate", path)
    result = robspec("check", model, project.spec, *options, "--allow", "unknown")
    assert result.status == 0, result.err
    assume = ("--assume-lipschitz", "3.5")
    result = robspec("recheck", path, model, project.spec, *assume)
    assert result.status == 0, result.err
    assert "PROVED, assuming L <=" in result.out
    for other in ((), ("--assume-lipschitz", "3")):
        result = robspec("recheck", path, model, project.spec, *other)
        assert (result.status, "E0804" in result.err, "--assume-lipschitz 7/2" in result.err) == (1, True, True)
    written = document.read(path)
    written["inputs"]["assume_lipschitz"] = "3"
    path.write_text(document.dumps(written))
    for other in (assume, ("--assume-lipschitz", "3")):
        assert robspec("recheck", path, model, project.spec, *other).status == 1


ASKED = """param eps = 0.2
property p {
  metric pixel_accuracy
  norm l2
  budget eps
  require mean(worst_case) >= 0.1
}
"""


class TestTheQuestionIsTheSpecifications:
    """Nothing that decides what is claimed is read from a certificate."""

    @pytest.fixture
    def asked(self, project: Project) -> Project:
        project.write_spec(ASKED, claim="999")
        return project

    def certificate(self, robspec: Run, asked: Project, tmp_path: Path, *options: object) -> Path:
        path = tmp_path / "c.json"
        result = robspec("check", asked.model, asked.spec, "--certificate", path, *options)
        assert path.exists(), result.err
        return path

    @pytest.mark.parametrize(
        ("chosen", "said"),
        [
            (("--set", "eps=0.001"), "param eps is 1/1000 there, and 1/5 in the specification"),
            (("--forward", "float64"), "--forward was float64, and is model here"),
            (("--batch-size", "3"), "--batch-size was 3, and is 8 here"),
        ],
    )
    def test_what_the_check_was_asked_with_has_to_be_said_again(
        self, asked: Project, robspec: Run, tmp_path: Path, chosen: tuple[str, str], said: str
    ) -> None:
        path = self.certificate(robspec, asked, tmp_path, *chosen)
        result = robspec("recheck", path, asked.model, asked.spec)
        assert (result.status, "E0804" in result.err, said in result.err) == (1, True, True), result.err
        assert chosen[0] in result.err.split("mend")[-1]
        result = robspec("recheck", path, asked.model, asked.spec, *chosen)
        assert result.status == 0, result.err
        assert f"params: eps = {'0.001' if 'eps' in chosen[1] else '0.2'}\n" in result.out

    def test_an_option_that_the_check_was_not_asked_with(self, asked: Project, robspec: Run, tmp_path: Path) -> None:
        path = self.certificate(robspec, asked, tmp_path)
        for other in (("--set", "eps=0.1"), ("--forward", "float64"), ("--batch-size", 2)):
            assert robspec("recheck", path, asked.model, asked.spec, *other).status == 1
        result = robspec("recheck", path, asked.model, asked.spec, "--set", "esp=0.1")
        assert (result.status, "E0013" in result.err) == (2, True)
        assert robspec("recheck", path, asked.model, asked.spec, "--set", "eps=0.2").status == 0

    @pytest.mark.parametrize(
        "forge",
        [
            lambda c: c["inputs"]["params"].update(eps="1/1000"),
            lambda c: c["inputs"]["params"].clear(),
            lambda c: c["inputs"]["params"].update(more="1"),
            lambda c: c["inputs"].update(batch_size=1),
            lambda c: c["inputs"].update(forward="float64"),
            lambda c: c["inputs"].update(assume_lipschitz="1/1000"),
            lambda c: c["inputs"].update(data="elsewhere"),
            lambda c: c["images"].pop(),
            lambda c: c["sha256"]["files"].pop(),
            lambda c: c["sha256"].update(model="0" * 64),
            lambda c: c["properties"].clear(),
            lambda c: c["properties"][0]["images"].pop(),
            lambda c: c["properties"][0]["requirements"].clear(),
            lambda c: c["properties"][0].update(verdict="UNKNOWN"),
            lambda c: c["properties"][0]["lipschitz"].update(value="1/1000"),
            lambda c: c["properties"][0]["lipschitz"].update(status="assumed"),
            lambda c: c["properties"][0]["lipschitz"].update(divided_by="2"),
            lambda c: c["properties"][0]["lipschitz"]["derivation"].clear(),
            lambda c: c["program"].update(normalize=None),
            lambda c: c["program"].popitem(),
            lambda c: c.update(lipschitz=None),
            lambda c: c["lipschitz"].update(verdict="NOT PROVED"),
            lambda c: c["lipschitz"].update(bound="1/1000"),
            lambda c: c["versions"].update(torch="0"),
            lambda c: c["taken_for_granted"].clear(),
            lambda c: c.update(limits="none"),
        ],
    )
    def test_every_part_of_a_certificate_is_derived(
        self, asked: Project, robspec: Run, tmp_path: Path, forge: Callable[[dict[str, Any]], object]
    ) -> None:
        path = self.certificate(robspec, asked, tmp_path)
        written = json.loads(path.read_text())
        forge(written)
        path.write_text(document.dumps(written))
        result = robspec("recheck", path, asked.model, asked.spec)
        assert (result.status, "E0804" in result.err) == (1, True), result.err

    def test_a_certificate_of_fewer_images_or_of_part_of_the_specification(
        self, asked: Project, robspec: Run, tmp_path: Path
    ) -> None:
        away = tmp_path / "away"
        shutil.copytree(asked.root, away)
        for name in ("images", "masks"):
            (away / name / "im0.png").unlink()
        path = self.certificate(robspec, asked, tmp_path, "--data", away)
        assert robspec("recheck", path, asked.model, asked.spec, "--data", away).status == 0
        result = robspec("recheck", path, asked.model, asked.spec)
        assert (result.status, "E0804" in result.err) == (1, True)

    def test_the_declared_constant_is_part_of_it(self, asked: Project, robspec: Run, tmp_path: Path) -> None:
        path = self.certificate(robspec, asked, tmp_path)
        result = robspec("recheck", path, asked.model, asked.spec)
        assert "lipschitz l2 -> l2 <= 999: PROVED" in result.out
        asked.spec.write_text(asked.spec.read_text().replace("999", "0.001"))
        path = self.certificate(robspec, asked, tmp_path)
        result = robspec("recheck", path, asked.model, asked.spec)
        assert result.status == 0
        assert "lipschitz l2 -> l2 <= 1/1000: NOT PROVED" in result.out


@pytest.mark.parametrize("least", ["0.5", "0.999"])
def test_a_mean_of_many_digits_is_reported_and_certified(
    project: Project, robspec: Run, tmp_path: Path, least: str
) -> None:
    """Weights of random doubles give every image a denominator of its own: their mean has thousands of digits."""
    for folder in ("images", "masks"):
        shutil.rmtree(project.root / folder)
    write_images(project.root, 320)
    (project.root / "weights").mkdir()
    rng = np.random.default_rng(0)
    for i in range(320):
        np.save(project.root / "weights" / f"im{i}.npy", rng.random((8, 8)))
        mask = np.array(Image.open(project.root / "masks" / f"im{i}.png"))
        mask[0, 0] = 1
        Image.fromarray(mask).save(project.root / "masks" / f"im{i}.png")
    project.write_spec(MANY.replace("LEAST", least))
    project.spec.write_text(project.spec.read_text().replace('/*.png"\n}', '/*.png"\n  weights "weights/*.npy"\n}'))
    path, report = tmp_path / "c.json", tmp_path / "report.json"
    asked = ("--certificate", path, "--format", "json", "--output", report, "--witness-dir", tmp_path / "w")
    result = robspec("check", project.model, project.spec, *asked)
    assert result.status == (0 if least == "0.5" else 1), result.err
    certified = json.loads(report.read_text())["properties"][0]["requirements"][0]["certified"]["exact"]
    assert len(certified) > 2 * 4300
    assert document.read(path)["properties"][0]["requirements"][0]["certified"] == certified
    assert robspec("recheck", path, project.model, project.spec).status == 0
    witness = tmp_path / "w" / "even.witness.json"
    assert witness.exists() == (least != "0.5")


@pytest.mark.parametrize("eps", [Fraction(1, 10**3990), Fraction(10**3990 + 1, 10**3990), Fraction(10**3990)])
def test_params_of_many_digits_are_derived_with(project: Project, eps: Fraction) -> None:
    """A certificate names the params; a budget of 4000 digits has 8000 once squared."""
    project.write_spec(MANY.replace("LEAST", "0.5").replace("weighted ", "").replace("0.1", "e"))
    project.spec.write_text(project.spec.read_text().replace("data val", "param e = 0.1\ndata val"))
    inputs = Inputs("model", 8, Fraction(10**3990 + 7, 3**8000))
    found = derive(inputs, {"e": eps}, project.model, read_source(project.spec), project.root)
    assert exact_text(eps) == found.content["inputs"]["params"]["e"]
    assert Fraction(Decimal(found.content["properties"][0]["images"][0]["points"][0]["budget"].split("/")[0])) > 0


def test_the_notes_of_the_report_are_those_of_recheck(project: Project, robspec: Run, tmp_path: Path) -> None:
    """Everything that a report remarks on data, model and properties; not warnings about the specification's text."""
    write_images(project.root, 4)
    shutil.copyfile(project.root / "images/im0.png", project.root / "images/im9.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(project.root / "masks/im9.png")
    project.write_spec(REMARKABLE)
    path = tmp_path / "c.json"
    shown = robspec("check", project.model, project.spec, "--certificate", path)
    said = [" ".join(part.split()) for part in _notes(shown.out)]
    again = robspec("recheck", path, project.model, project.spec)
    assert again.status == 0, again.err
    assert len(said) > 5
    assert [line for line in again.out.splitlines() if line.startswith("note: ")] == said
    assert "pixels: stored u becomes u / 255" in again.out
    about = "arithmetic: about the function over the reals"
    assert about in " ".join(shown.out.split())
    assert about in again.out


REMARKABLE = """
property still {
  metric pixel_accuracy
  norm l2
  budget 0
  require mean(worst_case) >= 0.2
}
property rate {
  metric recall[bright] in [bright]
  norm l2
  budget 0.3
  require worst_case >= 0 for all images
}
property out_of_reach {
  metric pixel_accuracy
  norm linf
  degraded when h < 0
  require radius >= 1 for all images
}
"""


def _notes(report: str) -> list[str]:
    """The notes of a text report, lines that go on joined."""
    found: list[str] = []
    inside = False
    for line in report.splitlines():
        if line.startswith("note: "):
            found.append(line)
            inside = True
        elif inside and line.startswith(" "):
            found[-1] += " " + line.strip()
        else:
            inside = False
    return found


def test_a_certificate_with_rounding_is_confirmed_as_what_it_is(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    """Rounding is proved anew, and whoever rechecks has to ask about the function over the reals."""
    spec = project.write_spec(
        "property counting {\n  metric pixel_accuracy\n  norm l2\n  budget 0 to 1.5 points 3\n"
        "  require mean(worst_case) >= 0.2\n}\nproperty far {\n  metric iou[bright]\n  norm l2\n"
        "  degraded when h < 0.5 * h0\n  require radius >= 0.01 for 50% of images\n}\n"
    )
    path = tmp_path / "c.json"
    checked = robspec("check", project.model, spec, "--arithmetic", "real", "--certificate", path)
    assert checked.status in (0, 1, 3), checked.err
    written = document.read(path)
    assert Fraction(written["properties"][0]["lipschitz"]["rounding"]) > 0
    assert "the computed logits" not in " ".join(written["taken_for_granted"])
    result = robspec("recheck", path, project.model, spec, "--arithmetic", "real")
    assert result.status == 0, result.err
    assert "about the function over the reals" in result.out
    unsaid = robspec("recheck", path, project.model, spec)
    assert (unsaid.status, "about the function over the reals" in unsaid.out) == (0, True)
    plain = robspec("recheck", path, project.model, spec, "--arithmetic", "exact")
    assert (plain.status, "--arithmetic was real" in plain.err) == (1, True)
    other = tmp_path / "exact.json"
    assert robspec("check", project.model, spec, "--arithmetic", "exact", "--certificate", other).status in (0, 1, 3)
    for said in ((), ("--arithmetic", "real")):
        refused = robspec("recheck", other, project.model, spec, *said)
        assert (refused.status, "--arithmetic was exact, and is real" in refused.err) == (1, True), refused.err
    assert robspec("recheck", other, project.model, spec, "--arithmetic", "exact").status == 0
    less = copy.deepcopy(written)
    less["properties"][0]["lipschitz"]["rounding"] = "1/1000000000000000000000"
    path.write_text(document.dumps(less))
    forged = robspec("recheck", path, project.model, spec, "--arithmetic", "real")
    assert (forged.status, "lipschitz.rounding" in forged.err) == (1, True)
