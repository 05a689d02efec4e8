"""`robspec check --coarse` end to end: what it certifies, says and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from robspec.function.program import GraphProgram
from robspec.ir.types import Program
from robspec.kernels import _jit, coarse
from robspec.kernels.coarse import triton
from robspec.kernels.knapsack import backends
from robspec.lipschitz.ending import Ending
from robspec.lipschitz.rounding.statement import Statement
from robspec.models.loading import LoadedModel
from robspec.verify import constant
from tests.cli.conftest import Brightness, Project, Run, export
from tests.kernels.available import TRITON

PROPERTIES = """
property accurate {
  metric pixel_accuracy
  norm l2
  budget 1
  require mean(worst_case) >= 0.01
}
property stable {
  metric stability
  norm l2
  degraded when h <= 0.75
  require min(radius) >= 0.01
}
property found {
  metric recall[bright]
  norm l2
  budget 0.5
  require mean(worst_case) >= 0.01
}
"""


class Coarse(torch.nn.Module):
    """Means over blocks of 4 pixels, brought back to full size: 1-Lipschitz before, and twice the norm after."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Brightness()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(
            2 * functional.avg_pool2d(self.inner(image), 2), scale_factor=2, mode="bilinear"
        )


class Cubic(Coarse):
    """The same, by cubic interpolation, whose weights are not all positive."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        few = 2 * functional.avg_pool2d(self.inner(image), 2)
        return functional.interpolate(few, scale_factor=2, mode="bicubic")


class Transposed(Coarse):
    """The same, by the transposed convolution in which fully convolutional networks end."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        self.register_buffer("taps", torch.outer(line, line).expand(2, 1, 4, 4).contiguous())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        few = 2 * functional.avg_pool2d(self.inner(image), 2)
        return functional.conv_transpose2d(few, self.taps, stride=2, padding=1, groups=2)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Cubic, "bicubic x2, 4 x 4 to 8 x 8, 1 cell"),
        (Transposed, "transposed convolution of 4 x 4 taps x2, 4 x 4 to 8 x 8, 9 cells"),
    ],
)
@pytest.mark.parametrize("arithmetic", ["exact", "real"])
def test_other_ends(
    project: Project, robspec: Run, tmp_path: Path, network: type[Coarse], said: str, arithmetic: str
) -> None:
    """Both backends certify the same, and more than full-size logits do somewhere."""
    model = export(network(), tmp_path / "other.pt2")
    project.write_spec(PROPERTIES, claim="100")
    found = []
    for options in (("--coarse",), ("--coarse", "--backend", "reference"), ()):
        path = tmp_path / "report.json"
        asked = ("--arithmetic", arithmetic, "--format", "json", "--output", path)
        result = robspec("check", model, project.spec, *options, *asked)
        assert path.exists(), result.err
        if options:
            assert any(said in note for note in json.loads(path.read_text())["notes"])
        found.append(certified(path))
        path.unlink()
    cells, reference, full = found
    assert cells == reference
    pairs = [(a, b) for p in cells for x, y in zip(cells[p], full[p], strict=True) for a, b in zip(x, y, strict=True)]
    # Full-size logits are in float32 without --coarse, and those of the definition with it.
    assert all(a >= b * (1 - 1e-6) for a, b in pairs)
    assert any(a > b * (1 + 1e-6) for a, b in pairs)


@pytest.fixture(scope="module")
def upsampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Coarse(), tmp_path_factory.mktemp("coarse") / "coarse.pt2")


def certified(path: Path) -> dict[str, list[list[float]]]:
    report = json.loads(path.read_text())
    return {
        p["name"]: [[float(Fraction(v["exact"])) for v in image["certified"]] for image in p["images"]]
        for p in report["properties"]
    }


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_cells_certify_more_and_never_less(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path, backend: str
) -> None:
    project.write_spec(PROPERTIES, claim="100")
    paths = tmp_path / "with.json", tmp_path / "without.json"
    chosen = ("--backend", backend, "--format", "json", "--output")
    with_cells = robspec("check", upsampled, project.spec, "--coarse", *chosen, paths[0])
    assert with_cells.status == 0, with_cells.err
    robspec("check", upsampled, project.spec, *chosen, paths[1])
    more, less = (certified(path) for path in paths)
    assert all(a >= b for p in more for x, y in zip(more[p], less[p], strict=True) for a, b in zip(x, y, strict=True))
    assert [sum(map(sum, more[p])) > sum(map(sum, less[p])) for p in more] == [True] * len(more)
    report = json.loads(paths[0].read_text())
    line = next(note for note in report["notes"] if note.startswith("coarse: cut at "))
    assert "bilinear x2, 4 x 4 to 8 x 8, 9 cells" in line
    gains = [remark for remark in report["remarks"] if remark["code"] == "coarse-gain"]
    assert [gain["where"] for gain in gains] == [f"property {name}" for name in more]
    assert gains[0]["figures"]["images"] == 4
    assert "at eps 1" in gains[0]["text"]


@pytest.mark.skipif(not TRITON, reason=f"triton: {backends()['triton'].unavailable()}")
def test_triton_reports_what_the_cpu_reports(project: Project, upsampled: Path, robspec: Run, tmp_path: Path) -> None:
    """Every number of every property, radii by cells among them, and what was gained; cells are its own."""
    project.write_spec(PROPERTIES, claim="100")
    found, made = [], []
    read = triton.TritonCoarse.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.TritonCoarse, "__init__", lambda self, batch: made.append(batch) or read(self, batch))
        for backend in ("cpu", "triton"):
            path = tmp_path / f"{backend}.json"
            given = ("--coarse", "--no-store", "--backend", backend, "--format", "json", "--output", path)
            assert robspec("check", upsampled, project.spec, *given).status == 0
            assert bool(made) == (backend == "triton")
            report = json.loads(path.read_text())
            assert report.pop("backend") == backend
            assert report.pop("seconds")
            found.append(report)
    assert found[0] == found[1]
    assert {remark["code"] for remark in found[0]["remarks"]} >= {"coarse-gain"}


def test_the_first_run_says_what_takes_seconds(
    project: Project, upsampled: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are compiled once: a run that finds them kept says nothing, nor does one that needs none."""
    project.write_spec(PROPERTIES, claim="100")
    asked = ("check", upsampled, project.spec, "--no-store")
    assert robspec(*asked, "--coarse").status == 0
    said, kept = "compiling the kernels of --coarse", coarse.to_compile("cpu")
    assert not kept, "the run before compiled them"
    monkeypatch.setattr(_jit, "to_compile", lambda *_: True)
    assert said in robspec(*asked, "--coarse").err
    for options in ((), ("--coarse", "--quiet"), ("--coarse", "--backend", "reference")):
        assert said not in robspec(*asked, *options).err


def full_size_logits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """List the shapes of what is enlarged, and of logits of more than 4 rows that a network gives, from here on."""
    made: list[tuple[int, ...]] = []
    enlarge, run = Ending.enlarge, LoadedModel.logits

    def large(self: Ending, logits: torch.Tensor) -> torch.Tensor:
        made.append(tuple(logits.shape))
        return enlarge(self, logits)

    def seen(self: LoadedModel, images: torch.Tensor) -> torch.Tensor:
        found = run(self, images)
        made.extend([tuple(found.shape)] if found.shape[2] > 4 else [])
        return found

    monkeypatch.setattr(Ending, "enlarge", large)
    monkeypatch.setattr(LoadedModel, "logits", seen)
    return made


def test_full_size_logits_are_never_made_where_nothing_else_needs_them(
    project: Project, upsampled: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for what is certified, compared and counted, nor for how far an unknown requirement could be proved."""
    made = full_size_logits(monkeypatch)
    asked = PROPERTIES.replace("mean(worst_case) >= 0.01", "mean(worst_case) >= 0.99")
    project.write_spec(asked, claim="100")
    result = robspec("check", upsampled, project.spec, "--coarse")
    assert "UNKNOWN" in result.out
    assert not made
    project.write_spec(PROPERTIES.replace("recall[bright]", "iou[bright]"), claim="100")
    assert robspec("check", upsampled, project.spec, "--coarse").status == 0
    assert made
    assert set(made) == {(4, 2, 4, 4)}


def test_workers_hand_over_coarse_logits(project: Project, upsampled: Path, robspec: Run, tmp_path: Path) -> None:
    project.write_spec(PROPERTIES.split("property found {")[0], claim="100")
    found = []
    for extra in ((), ("--workers", "1")):
        path = tmp_path / f"{len(extra)}.json"
        result = robspec("check", upsampled, project.spec, "--coarse", *extra, "--format", "json", "--output", path)
        assert result.status == 0, result.err
        found.append(certified(path))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--arithmetic", "deployed"), "what float32 rounds after the up-sampling moves full-size logits"),
    ],
)
def test_what_does_not_cover_cells_is_refused(
    project: Project, upsampled: Path, robspec: Run, options: tuple[str, ...], words: str
) -> None:
    project.write_spec(PROPERTIES, claim="100")
    result = robspec("check", upsampled, project.spec, "--coarse", *options)
    assert (result.status, "E0601" in result.err) == (2, True)
    assert words in " ".join(result.err.split())


def test_a_network_without_such_an_end_is_refused(project: Project, robspec: Run) -> None:
    result = robspec("check", project.model, project.spec, "--coarse")
    assert result.status == 2
    told = " ".join(result.err.split())
    assert "does not end in a fixed up-sampling (bilinear, bicubic, nearest," in told
    assert "1 x 1 convolutions after it: it ends in " in told


def test_a_specification_without_such_a_property_is_refused(project: Project, upsampled: Path, robspec: Run) -> None:
    only = "property found {" + PROPERTIES.split("property found {")[1]
    project.write_spec(only.replace("recall[bright]", "mean_iou"), claim="100")
    result = robspec("check", upsampled, project.spec, "--coarse")
    assert result.status == 2
    assert "pixel_accuracy, stability and ratios of counts of a class" in " ".join(result.err.split())


class Mixed(Coarse):
    """The same, and only then brought to two classes, pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor([[0.75, -0.25], [-0.25, 0.75]])[:, :, None, None])
            self.mix.bias.copy_(torch.tensor([0.01, -0.01]))  # type: ignore[union-attr]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.mix(super().forward(image))


@pytest.mark.parametrize("arithmetic", ["real", "exact"])
def test_a_convolution_of_single_pixels_after_the_end_is_moved_before_it(
    project: Project, robspec: Run, tmp_path: Path, arithmetic: str
) -> None:
    model = export(Mixed(), tmp_path / "mixed.pt2")
    project.write_spec(PROPERTIES, claim="100")
    reports = []
    for extra in (("--coarse", "--attack", "5"), ()):
        given = ("--arithmetic", arithmetic, "--no-store", "--format", "json")
        result = robspec("check", model, project.spec, *extra, *given)
        assert result.status in (0, 3), result.err
        reports.append(json.loads(result.out))
    line = next(note for note in reports[0]["notes"] if note.startswith("coarse: cut at "))
    assert "bilinear x2, the 1 x 1 convolution after it moved before it, 4 x 4 to 8 x 8, 9 cells" in line
    for more, less in zip(*(r["properties"] for r in reports), strict=True):
        pairs = list(zip(more["images"], less["images"], strict=True))
        assert all(a["clean"] == b["clean"] for a, b in pairs)
        # No less but for what the other order of sums may round.
        sums = [[image["certified"][0]["approx"] for image in side] for side in zip(*pairs, strict=True)]
        assert all(a >= b * (1 - 1e-9) for a, b in zip(*sums, strict=True))
        assert sum(sums[0]) > sum(sums[1])
        if arithmetic == "real":
            assert more["lipschitz"]["rounding"]["approx"] >= less["lipschitz"]["rounding"]["approx"]


@pytest.mark.parametrize("arithmetic", ["real", "exact"])
def test_an_integer_program_finds_nothing_that_cells_exclude(
    project: Project, upsampled: Path, robspec: Run, arithmetic: str
) -> None:
    project.write_spec(PROPERTIES + RATIOS, claim="100")
    given = ("--coarse", "--arithmetic", arithmetic, "--cross-check", "2", "--format", "json")
    result = robspec("check", upsampled, project.spec, *given)
    assert result.status in (0, 3), result.err
    found = json.loads(result.out)["cross_check"]["comparisons"]
    assert all(item["agreed"] is not False for item in found)
    by_cells = [item for item in found if item["what"].endswith("by cells")]
    assert {item["property"] for item in by_cells} >= {"accurate", "found", "overlap"}
    assert all(item["agreed"] and "integer program over energies of nodes" in item["method"] for item in by_cells)
    # What full-size logits certify is compared beside it, as ever.
    assert any("whole image: worst case" in item["what"] and not item["what"].endswith("by cells") for item in found)


def test_of_two_programs_the_larger_rounding_counts(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is run has its convolution elsewhere: whichever rounds more, its bound is the one that is used."""
    model, prove = export(Mixed(), tmp_path / "mixed.pt2"), constant.rounding_of
    project.write_spec(PROPERTIES, claim="100")
    for factor in (4, Fraction(1, 4)):

        def scaled(program: Program, graph: GraphProgram, *rest: Any, by: Any = factor, **named: Any) -> Statement:
            found = prove(program, graph, *rest, **named)
            moved = "then upsample" in (graph.identity or "")
            return replace(found, delta=found.delta * by) if moved else found

        monkeypatch.setattr(constant, "rounding_of", scaled)
        given = ("--no-store", "--format", "json", "--allow", "unknown")
        alone, found = (
            json.loads(robspec("check", model, project.spec, *extra, *given).out) for extra in ((), ("--coarse",))
        )
        before, after = (r["properties"][0]["lipschitz"]["rounding"]["approx"] for r in (alone, found))
        assert after > 2 * before if factor == 4 else after == before
        lines = [next(n for n in r["notes"] if n.startswith("arithmetic")) for r in (alone, found)]
        assert (lines[0] == lines[1]) == (factor != 4)


RATIOS = """
property overlap {
  metric iou[bright]
  norm l2
  budget 1
  require mean(worst_case) >= 0.01
}
property together {
  metric pooled iou[bright]
  norm l2
  budget 1
  require worst_case >= 0.01
}
property lost {
  metric fpr[bright]
  norm l2
  degraded when h >= 0.1
  require min(radius) >= 0.01
}
"""


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_ratios_are_bounded_by_cells_too(
    project: Project, upsampled: Path, robspec: Run, tmp_path: Path, backend: str
) -> None:
    project.write_spec(RATIOS, claim="100")
    found = []
    for extra in (("--coarse",), ()):
        path = tmp_path / f"{len(extra)}.json"
        given = ("--backend", backend, "--format", "json", "--output", path)
        result = robspec("check", upsampled, project.spec, *extra, *given)
        assert result.status == 0, result.err
        found.append(certified(path))
    more, less = found
    assert all(a >= b for p in more for x, y in zip(more[p], less[p], strict=True) for a, b in zip(x, y, strict=True))
    assert [sum(map(sum, more[p])) > sum(map(sum, less[p])) for p in more] == [True] * len(more)


def test_lipschitz_names_the_coarse_node(upsampled: Path, robspec: Run) -> None:
    result = robspec("lipschitz", upsampled, "--seconds", "0")
    assert "coarse logits at " in result.out
    assert "bilinear x2, 4 x 4 to 8 x 8, 9 cells; constant there at most 1.0" in " ".join(result.out.split())
    found = json.loads(robspec("lipschitz", upsampled, "--seconds", "0", "--format", "json").out)
    assert found["coarse"]["upper"] == pytest.approx(1, abs=1e-6)
