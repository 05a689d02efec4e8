"""`robspec check` end to end on a tiny model: verdicts, exit status, reports and every bad input."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import PROVED, SIDE, Brightness, Project, Run, export


def test_everything_proved_exits_0(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec)
    assert result.status == 0, result.err
    assert "assuming" not in result.out
    assert result.out.count("PROVED") == 3
    assert "4/4" in result.out
    assert "arithmetic: about the function over the reals" in result.out
    assert "backend cpu" in result.out


def test_json_holds_every_value_hash_and_version(project: Project, robspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    result = robspec("check", project.model, project.spec, "--format", "json", "--output", path)
    assert (result.status, result.out) == (0, "")
    report = json.loads(path.read_text())
    assert (report["schema"], report["schema_version"], report["complete"]) == ("robspec-report", 1, True)
    assert {len(h) for h in report["sha256"].values()} == {64}
    assert set(report["sha256"]) == {"spec", "model", "data"}
    assert {"robspec", "torch", "python"} <= set(report["versions"])
    accurate, far = report["properties"]
    assert accurate["label"] == accurate["verdict"] == "PROVED"
    assert [i["image"] for i in accurate["images"]] == [f"images/im{n}.png" for n in range(4)]
    assert [i["clean"]["exact"] for i in accurate["images"]] == ["1", "1", "1", "63/64"]
    assert accurate["lipschitz"]["status"] == "proved"
    assert Fraction(accurate["lipschitz"]["value"]["exact"]) <= Fraction("1.0001")
    assert report["claims"][0]["verdict"] == "PROVED"
    assert all(i["certified"][0]["approx"] > 0.1 for i in far["images"])


def test_certified_values_follow_from_the_definition(project: Project, robspec: Run, tmp_path: Path) -> None:
    """The linear model's margins are known, so the knapsack can be solved here, in exact rationals."""
    path = tmp_path / "report.json"
    properties = PROVED.replace("budget 0.1", "budget 1.5").replace(">= 0.5", ">= 0.1")
    project.write_spec(properties)
    robspec("check", project.model, project.spec, "--format", "json", "--output", path)
    images = json.loads(path.read_text())["properties"][0]["images"]
    for n, found in enumerate(images):
        pixels = np.asarray(Image.open(project.root / f"images/im{n}.png")).astype(np.float64) / 255
        labels = np.asarray(Image.open(project.root / f"masks/im{n}.png"))
        s = (pixels.astype(np.float32) - np.float32(0.5)).sum(2) * np.float32(6**-0.5)
        correct = (s > 0) == (labels == 1)
        costs = sorted(Fraction(float(2 * abs(v))) ** 2 / 2 for v in s[correct])
        spent, flips = Fraction(0), 0
        while flips < len(costs) and spent + costs[flips] <= Fraction(3, 2) ** 2:
            spent += costs[flips]
            flips += 1
        assert abs(Fraction(found["certified"][0]["exact"]) - Fraction(int(correct.sum()) - flips, SIDE * SIDE)) <= (
            Fraction(1, SIDE * SIDE)
        )
        assert found["certified"][0]["approx"] < found["clean"]["approx"]


def test_refuted_by_the_clean_images_writes_a_witness(project: Project, robspec: Run, tmp_path: Path) -> None:
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.99 for all images"))
    result = robspec("check", project.model, project.spec, "--witness-dir", tmp_path / "w")
    assert result.status == 1
    assert "REFUTED" in result.out
    witness = json.loads((tmp_path / "w" / "accurate.witness.json").read_text())
    assert witness["violations"][0]["images"] == [{"image": "images/im3.png", "distance": "0", "attained": "63/64"}]


def test_a_witness_takes_the_place_of_an_older_one_and_says_so(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    """The name stays the same from run to run, so that scripts find it."""
    body = PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.99 for all images")
    project.write_spec(body)
    arguments = ("check", project.model, project.spec, "--witness-dir", tmp_path / "w")
    path = tmp_path / "w" / "accurate.witness.json"
    said = []
    for text in (body, body, body.replace("0.99", "0.995")):
        project.write_spec(text)
        said.append(robspec(*arguments).err)
    assert said[0] == said[1] == f"witness written: {path}\n"
    assert said[2] == f"witness written: {path}, in place of that of an earlier run\n"
    assert "0.995" in path.read_text()


def test_unknown_exits_3_with_the_gap_and_0_when_allowed(project: Project, robspec: Run) -> None:
    project.write_spec(PROVED.replace("budget 0.1", "budget 10"))
    result = robspec("check", project.model, project.spec)
    assert result.status == 3
    assert "UNKNOWN in [" in result.out
    assert robspec("check", project.model, project.spec, "--allow", "unknown").status == 0


def test_the_last_line_sums_up(project: Project, robspec: Run, tmp_path: Path) -> None:
    def last(*options: object) -> str:
        result = robspec("check", project.model, project.spec, "--witness-dir", tmp_path / "w", *options)
        assert result.out.splitlines()[-2] == ""
        line = result.out.splitlines()[-1]
        assert line.startswith("2 properties: ")
        assert f"exit status {result.status}" in line
        return line.removeprefix("2 properties: ")

    assert last() == "2 proved; exit status 0"
    project.write_spec(PROVED.replace("budget 0.1", "budget 10"))
    assert last() == "1 proved, 1 unknown; exit status 3"
    assert last("--allow", "unknown") == "1 proved, 1 unknown; exit status 0 by --allow unknown"
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.99 for all images"))
    assert last() == "1 refuted, 1 proved; exit status 1"
    project.write_spec(claim="0.9")
    assert last() == "2 proved; declared constant refuted; exit status 1"


def test_a_share_is_shown_with_its_worst_image(project: Project, robspec: Run) -> None:
    """Exactly the minimum of the certified values, as the JSON report has it image by image."""
    project.write_spec(
        PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.5 for 50% of images").replace("0.1\n", "1\n", 1)
    )
    report = json.loads(robspec("check", project.model, project.spec, "--format", "json").out)
    text = robspec("check", project.model, project.spec).out.splitlines()
    for found, word in zip(report["properties"], ("worst", "smallest"), strict=True):
        values = {i["image"]: Fraction(i["certified"][0]["exact"]) for i in found["images"]}
        (requirement,) = found["requirements"]
        least = min(values.values())
        worst = requirement["worst"]
        assert Fraction(worst["certified"]["exact"]) == least == values[worst["image"]]
        assert worst["images"] == list(values.values()).count(least)
        (row,) = [line for line in text if f"    {word}: {worst['image']}" in line]
        shown = Fraction(row.split()[2])
        assert shown <= least < shown + Fraction(1, 10**4)


def test_no_line_is_wider_than_the_terminal(project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.5 for 50% of images"))
    for width in (80, 120):
        monkeypatch.setattr("robspec.cli._options.terminal_width", lambda width=width: width)
        lines = robspec("check", project.model, project.spec).out.splitlines()
        assert lines[-1] == "2 properties: 2 proved; exit status 0"
        assert max(map(len, lines)) <= width


def test_set_overrides_a_param(project: Project, robspec: Run) -> None:
    project.write_spec("param eps = 0.1\n" + PROVED.replace("budget 0.1", "budget eps"))
    assert robspec("check", project.model, project.spec).status == 0
    assert robspec("check", project.model, project.spec, "--set", "eps=10").status == 3
    assert robspec("check", project.model, project.spec, "--set", "epz=3").status == 2


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_backends_are_explicit_and_agree(project: Project, robspec: Run, backend: str) -> None:
    result = robspec("check", project.model, project.spec, "--backend", backend, "--format", "json")
    report = json.loads(result.out)
    assert report["backend"] == backend
    other = json.loads(robspec("check", project.model, project.spec, "--format", "json").out)
    assert report["properties"] == other["properties"]


def test_unknown_backend_is_an_error(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--backend", "tpu")
    assert result.status == 2
    assert "E0405" in result.err


def test_batch_size_changes_nothing(project: Project, robspec: Run) -> None:
    reports = [
        json.loads(robspec("check", project.model, project.spec, "--batch-size", n, "--format", "json").out)
        for n in (1, 3, 64)
    ]
    assert reports[0]["properties"] == reports[1]["properties"] == reports[2]["properties"]


def test_data_folder_can_be_elsewhere(project: Project, robspec: Run, tmp_path: Path) -> None:
    spec = tmp_path / "other" / "spec.rspec"
    spec.parent.mkdir()
    shutil.move(project.spec, spec)
    assert robspec("check", project.model, spec).status == 2
    assert robspec("check", project.model, spec, "--data", project.root).status == 0


def test_a_refutation_stays_one_when_its_witness_cannot_be_written(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_spec(PROVED.replace("mean(worst_case) >= 0.5", "worst_case >= 0.99 for all images"))
    (tmp_path / "file").write_text("")
    result = robspec("check", project.model, project.spec, "--witness-dir", tmp_path / "file")
    assert (result.status, result.out) == (2, "")
    assert "E0603" in result.err

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robspec.verify.witness.tempfile.NamedTemporaryFile", refuse)
    result = robspec("check", project.model, project.spec, "--witness-dir", tmp_path / "w")
    assert result.status == 1
    assert "E0603" in result.err


def test_a_closed_pipe_is_not_a_refutation(project: Project) -> None:
    command = [sys.executable, "-m", "robspec", "explain", "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode not in (0, 1)


class TestClaims:
    """A declared constant is a claim: PROVED, REFUTED, or the check goes on with the proved bound and says so."""

    def test_a_claim_below_what_a_pair_shows_is_refuted(self, project: Project, robspec: Run, tmp_path: Path) -> None:
        project.write_spec(claim="0.9")
        result = robspec("check", project.model, project.spec, "--witness-dir", tmp_path / "w")
        assert result.status == 1
        assert "REFUTED" in result.out
        with np.load(tmp_path / "w" / "lipschitz.witness.npz") as pair:
            moved = [Brightness()(torch.from_numpy(pair[k].astype(np.float64))) for k in ("first", "second")]
            distance = np.linalg.norm((pair["first"] - pair["second"]).astype(np.float64))
            assert float((moved[0] - moved[1]).norm()) > 0.9 * distance

    def test_a_claim_between_is_unknown_and_the_proved_bound_is_used(
        self, project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("robspec.verify.constant._SEARCH_SECONDS", 0.2)
        path = tmp_path / "r.json"
        # The weight as float32 gives 1.0000000364; nearer to it than a measured slope concedes to rounding.
        project.write_spec(claim="1.0000000363")
        result = robspec("check", project.model, project.spec, "--format", "json", "--output", path)
        report = json.loads(path.read_text())
        assert result.status == 3
        assert report["claims"][0]["verdict"] == "UNKNOWN"
        assert [p["verdict"] for p in report["properties"]] == ["PROVED", "PROVED"]
        used = Fraction(report["properties"][0]["lipschitz"]["value"]["exact"])
        assert used == Fraction(report["claims"][0]["proved"]["exact"]) > Fraction("1.0000000363")

    def test_normalisation_enters_the_constant(self, project: Project, robspec: Run, tmp_path: Path) -> None:
        """A model that divides by min(std) where it should multiply, certified with L = 1 (PEERS.md, 4)."""
        path = tmp_path / "r.json"
        text = project.spec.read_text().replace(
            "  lipschitz", "  normalize mean [0, 0, 0] std [0.25, 0.5, 0.5]\n  lipschitz"
        )
        project.spec.write_text(text)
        result = robspec("check", project.model, project.spec, "--format", "json", "--output", path)
        report = json.loads(path.read_text())
        assert result.status == 1
        assert report["claims"][0]["verdict"] == "REFUTED"
        assert Fraction(report["properties"][0]["lipschitz"]["value"]["exact"]) >= 4
        project.spec.write_text(text.replace("<= 1.0001", "<= 4.0001"))
        assert robspec("check", project.model, project.spec, "--allow", "unknown").status == 0

    def test_the_weights_that_are_proved_are_the_weights_that_run(
        self, project: Project, robspec: Run, tmp_path: Path
    ) -> None:
        """The constant read before the weights were loaded (PEERS.md, 5)."""
        values = []
        for scale in (0.1, 10.0):
            model = export(Brightness(scale), tmp_path / f"m{scale}.pt2")
            out = robspec("check", model, project.spec, "--format", "json").out
            values.append(json.loads(out)["properties"][0]["lipschitz"]["value"]["approx"])
        assert values[0] == pytest.approx(0.1 * 6**0.5, rel=1e-4)
        assert values[1] == pytest.approx(10 * 6**0.5, rel=1e-4)


def test_every_ignored_image_is_excluded_and_none_left_is_never_proved(project: Project, robspec: Run) -> None:
    mask = Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8))
    text = project.spec.read_text().replace('masks "masks/*.png"', 'masks "masks/*.png"\n  ignore 255')
    project.spec.write_text(text)
    mask.save(project.root / "masks/im0.png")
    result = robspec("check", project.model, project.spec)
    assert result.status == 0
    assert "3/4" in result.out
    assert "1 excluded, metric undefined (images/im0.png)" in result.out
    for n in range(4):
        mask.save(project.root / f"masks/im{n}.png")
    result = robspec("check", project.model, project.spec, "--format", "json")
    assert result.status == 3
    assert {p["verdict"] for p in json.loads(result.out)["properties"]} == {"UNKNOWN"}


def test_a_mean_of_infinite_radii_is_refused(project: Project, robspec: Run) -> None:
    properties = PROVED.replace("h <= 0.25", "h < 0 * h0").replace(
        "radius >= 0.1 for all images", "mean(radius) >= 0.1"
    )
    project.write_spec(properties)
    result = robspec("check", project.model, project.spec)
    assert result.status == 2
    assert "E0404" in result.err


class TestBadInput:
    """Every bad input gets one clear error: a stable code, where, what, how to mend."""

    def expect(self, result: object, code: str, *words: str) -> None:
        status, out, err = result.status, result.out, result.err  # type: ignore[attr-defined]
        assert status == 2
        assert out == ""
        assert err.startswith(f"error[{code}]"), err
        assert "mend:" in err
        for word in words:
            assert word in err, err

    def test_wrong_input_shape(self, project: Project, robspec: Run, tmp_path: Path) -> None:
        model = export(Brightness(), tmp_path / "m.pt2", side=16)
        self.expect(robspec("check", model, project.spec), "E0402", "[3, 8, 8]", "[3, 16, 16]")

    def test_wrong_number_of_classes(self, project: Project, robspec: Run, tmp_path: Path) -> None:
        class Three(Brightness):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return torch.cat([super().forward(image), image[:, :1]], 1)

        model = export(Three(), tmp_path / "m.pt2")
        self.expect(robspec("check", model, project.spec), "E0402", "[2, 8, 8]", "[3, 8, 8]")

    def test_label_out_of_range(self, project: Project, robspec: Run) -> None:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[2, 3] = 7
        Image.fromarray(mask).save(project.root / "masks/im1.png")
        result = robspec("check", project.model, project.spec)
        assert result.status == 2
        assert "masks/im1.png" in result.err
        assert "7" in result.err

    def test_image_without_mask(self, project: Project, robspec: Run) -> None:
        (project.root / "masks/im2.png").unlink()
        result = robspec("check", project.model, project.spec)
        assert result.status == 2
        assert "im2" in result.err

    def test_unreadable_image(self, project: Project, robspec: Run) -> None:
        (project.root / "images/im2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
        result = robspec("check", project.model, project.spec)
        assert result.status == 2
        assert "im2.png" in result.err

    def test_empty_data_set_is_never_0(self, project: Project, robspec: Run) -> None:
        for path in (project.root / "images").iterdir():
            path.unlink()
        result = robspec("check", project.model, project.spec)
        assert result.status == 2
        assert result.out == ""

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_non_finite_logits_name_the_image(
        self, project: Project, robspec: Run, tmp_path: Path, bad: float
    ) -> None:
        class Poisoned(Brightness):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                logits = super().forward(image)
                mark = (image.sum((1, 2, 3), keepdim=True) == 0).to(logits.dtype)
                return torch.where(mark.bool(), torch.full_like(logits, bad), logits)

        Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(project.root / "images/im2.png")
        model = export(Poisoned(), tmp_path / "m.pt2")
        result = robspec("check", model, project.spec, "--assume-lipschitz", "1")
        self.expect(result, "E0401", "images/im2.png")

    def test_a_model_without_a_constant_needs_an_explicit_assumption(
        self, project: Project, robspec: Run, tmp_path: Path
    ) -> None:
        class Squared(Brightness):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                logits = super().forward(image)
                return logits * logits

        model = export(Squared(), tmp_path / "m.pt2")
        refused = robspec("check", model, project.spec)
        self.expect(refused, "E0403", "--assume-lipschitz")
        assert "by smoothing { sigma 0.25 }" in refused.err
        relaxed = PROVED.replace(">= 0.5", ">= 0").replace(">= 0.1", ">= 0")
        project.write_spec(relaxed)
        for form in ("text", "json"):
            result = robspec("check", model, project.spec, "--assume-lipschitz", "7.5", "--format", form)
            assert result.status == 3, result.err
            assert "(not proved)" in result.out
            assert "assuming L <= 7.5" in " ".join(result.out.split())
            assert form == "json" or "2 proved on an assumed constant; declared constant unknown;" in result.out

    @pytest.mark.parametrize("value", ["nan", "-1", "0", "1e999999999", "one", "1/0"])
    def test_bad_assumed_constant(self, project: Project, robspec: Run, value: str) -> None:
        self.expect(robspec("check", project.model, project.spec, f"--assume-lipschitz={value}"), "E0601")

    @pytest.mark.parametrize("place", ["missing/report.json", "."])
    def test_unwritable_output_is_found_before_the_work(
        self, project: Project, robspec: Run, tmp_path: Path, place: str
    ) -> None:
        self.expect(robspec("check", tmp_path / "no.pt2", project.spec, "--output", tmp_path / place), "E0602")

    def test_unknown_format(self, project: Project, robspec: Run) -> None:
        self.expect(robspec("check", project.model, project.spec, "--format", "xml"), "E0601", "json")

    @pytest.mark.parametrize("content", [None, b"", b"just text\n", b"PK\x03\x04 cut short"])
    def test_model_file(self, project: Project, robspec: Run, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "model.pt"
        path.mkdir() if content is None else path.write_bytes(content)
        result = robspec("check", path, project.spec)
        assert result.status == 2
        assert result.err.startswith("error[E02")
        assert str(path) in result.err

    def test_specification_errors_come_before_the_model_is_opened(self, project: Project, robspec: Run) -> None:
        project.write_spec(PROVED.replace("pixel_accuracy", "pixel_acuracy", 1))
        result = robspec("check", "no-such-model.pt2", project.spec)
        assert result.status == 2
        assert "pixel_accuracy" in result.err
        assert "no-such-model" not in result.err


def test_ctrl_c_keeps_what_is_finished(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from robspec.verify.evaluate import BatchEvaluator

    answered = 0
    original = BatchEvaluator.answer

    def interrupted(self: BatchEvaluator, *args: object) -> object:
        nonlocal answered
        answered += 1
        if answered > 4:
            raise KeyboardInterrupt
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(BatchEvaluator, "answer", interrupted)
    path = tmp_path / "partial.json"
    result = robspec("check", project.model, project.spec, "--batch-size", 1, "--format", "json", "--output", path)
    assert result.status == 130
    report = json.loads(path.read_text())
    assert report["complete"] is False
    assert report["images"] == {"total": 4, "evaluated": 2}
    assert [len(p["images"]) for p in report["properties"]] == [2, 2]
    assert {p["verdict"] for p in report["properties"]} == {"UNKNOWN"}
