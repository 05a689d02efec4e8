"""The scripts of the one-class examples: what they draw, attack and write, on runs of a moment."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def script(folder: str, name: str) -> ModuleType:
    """One of the examples' own scripts."""
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / "specs" / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


results = script("digits", "results")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as files."""
    folder = tmp_path_factory.mktemp("digits")
    results.draw(folder)
    return folder


def test_no_image_is_in_two_parts(drawn: Path) -> None:
    names = [path.name for path in drawn.glob("*/*/*.png")]
    assert len(names) == len(set(names)) == 1797
    counts = [len(list((drawn / part).glob("*/*.png"))) for part in results.PARTS]
    assert counts == [1078, 270, 449]
    path = next(drawn.glob("test/8/*.png"))
    k = int(path.stem)
    digits = results.load_digits()
    assert digits.target[k] == 8
    assert np.array_equal(np.asarray(Image.open(path)), np.round(digits.images[k] * 255 / 16))


def test_a_digit_is_trained_certified_and_attacked(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One epoch and two steps of attack: the table is written, and no attack goes below what is certified."""
    monkeypatch.setattr(results, "STEPS", 2)
    before = results.PAGE.read_bytes()
    results.main(["--digits", "0", "--epochs", "1", "--build", str(drawn)])
    assert results.PAGE.read_bytes() == before
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| 0 |"))
    clean, *cells = [float(v) for v in re.findall(r"\d\.\d+", row)]
    for certified, attacked in zip(cells[:6:2], cells[1:6:2], strict=True):
        assert certified <= attacked <= clean
    twin, *found = cells[6:]
    assert found == sorted(found, reverse=True)
    assert found[0] <= twin
    assert (drawn / "0-twin.toml").read_text().count("lipschitz = false") == 1


def test_the_attack_stays_in_the_ball_and_lowers_scores() -> None:
    class Sum:
        """Minus the sum of the pixels: the lowest scores are where every pixel has been raised alike."""

        def scores(self, images: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            assert float(((images - start).double().flatten(1).norm(dim=1)).max()) <= 0.25
            assert 0 <= float(images.min()) <= float(images.max()) <= 1
            return self.differentiable(images).detach().double().numpy()

        def differentiable(self, images: torch.Tensor) -> torch.Tensor:
            return -images.flatten(1).sum(dim=1)

    start = torch.full((3, 1, 8, 8), 0.5)
    found = results.attack(Sum(), start, 0.25)
    np.testing.assert_allclose(found, -32 - 0.25 * 8, atol=1e-4)


def test_the_page_states_a_whole_table() -> None:
    page = results.PAGE.read_text(encoding="utf-8")
    table = page.partition(results.BEGIN)[2].partition(results.END)[0]
    rows = [line for line in table.splitlines() if re.match(r"\| (\d|mean) \|", line)]
    assert [row.split("|")[1].strip() for row in rows] == [*map(str, range(10)), "mean"]
    figures = np.array([[float(v) for v in re.findall(r"\d\.\d{3}", row)] for row in rows])
    assert figures.shape == (11, 11)
    # Each figure is rounded to thousandths, down, up or to the nearest.
    np.testing.assert_allclose(figures[:10].mean(axis=0), figures[10], atol=1e-3)
    assert (figures[:, 1:7:2] <= figures[:, 2:7:2]).all()
    assert "minutes of processor time" in table


def test_level_sets_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    levels = script("plane", "levels")
    monkeypatch.setattr(levels, "TRAINED", 40)
    levels.main(["--sets", "blobs", "--epochs", "1", "--out", str(tmp_path / "a.png"), "--build", str(tmp_path)])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (550, 550)
    said = re.search(r"proved L <= (\d+\.\d+), (\d+\.\d)% of 200", capsys.readouterr().out)
    assert said is not None
    assert 9.9 < float(said[1]) <= 10.001
    points = np.load(tmp_path / "blobs" / "train" / "0000.npy")
    assert (points.shape, points.dtype) == ((2, 1, 1), np.float32)


@pytest.mark.parametrize("name", ["two moons", "two circles", "blobs"])
def test_toy_sets_fill_the_middle_of_the_square(name: str) -> None:
    levels = script("plane", "levels")
    points = levels.SETS[name](300, 0)
    inside = levels.scaled(points, points)
    extent = inside.max(axis=0) - inside.min(axis=0)
    assert extent.max() == pytest.approx(1 / 1.6)
    np.testing.assert_allclose((inside.max(axis=0) + inside.min(axis=0)) / 2, 0.5)
