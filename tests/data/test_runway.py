"""Runway scenes and annotations: two ways from geometry to mask must agree, and no file may crash the reader."""

from __future__ import annotations

import csv
import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robspec.data import errors, lard, polygon
from robspec.data.dataset import open_dataset
from robspec.data.runway import draw
from robspec.data.runway.camera import AIMING_POINT, Approach
from robspec.data.runway.export import BOX
from robspec.data.runway.export import write as write_scenes
from robspec.errors import RobspecError
from robspec.ir.types import Data, Model
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec
from tests.examples import examples

F = Fraction
COLUMNS = "image;height;width;x_A;y_A;x_B;y_B;x_C;y_C;x_D;y_D"


class TestScenes:
    """A seed decides a scene; lines of sight and projected corners give one mask."""

    @pytest.mark.parametrize("seed", range(12))
    def test_the_rendered_mask_is_the_polygon_of_its_corners(self, seed: int) -> None:
        """One side casts a ray through each pixel, the other projects four points and fills between them."""
        scene = draw(seed, 96)
        filled = polygon.filled(scene.corners, 96, 96)
        assert scene.mask.sum() > 10
        for row, column in np.argwhere(filled != scene.mask):
            assert edge_distance(scene.corners, column + 0.5, row + 0.5) < 1e-6

    def test_a_seed_decides_everything(self) -> None:
        first, again, other = draw(3, 48), draw(3, 48), draw(4, 48)
        assert np.array_equal(first.image, again.image)
        assert first.corners == again.corners
        assert not np.array_equal(first.image, other.image)

    def test_the_geometry_is_that_of_an_approach(self) -> None:
        for seed in range(30):
            a = draw(seed, 16).approach
            x, y, z = a.position
            assert math.dist((x, y, z), (AIMING_POINT, 0, 0)) == pytest.approx(a.slant)
            assert x < 0 < z
            assert math.degrees(math.asin(z / a.slant)) == pytest.approx(a.vertical)
            assert math.degrees(math.atan2(y, AIMING_POINT - x)) == pytest.approx(a.lateral)

    def test_a_level_camera_sees_the_horizon_in_the_middle_and_right_to_the_right(self) -> None:
        level = Approach(1000, 0, 3, 0, 0, 0, 30)
        far = level.project(np.array([[1e9, 0, 0], [1e9, 1e8, 0], [1e3, 0, 0]]), 100)
        assert far is not None
        assert far[0] == pytest.approx([50, 50], abs=1e-3)
        assert far[1][0] > 50
        assert far[2][1] > 50  # the ground is below the horizon
        up, right, tilted = (Approach(1000, 0, 3, *turn, 30) for turn in ((0, 5, 0), (5, 0, 0), (0, 0, 5)))
        moved = [a.project(np.array([[1e9, 0, 0], [1e9, 1e8, 0]]), 100) for a in (up, right, tilted)]
        assert all(m is not None for m in moved)
        assert moved[0][0][1] > 50  # nose up: the horizon sinks
        assert moved[1][0][0] < 50  # nose right: the runway moves left
        assert moved[2][1][1] < 50  # right wing down: the horizon rises on the right

    def test_the_pictures_are_not_flat(self) -> None:
        """Paint is brighter than asphalt, and the sky differs from the ground."""
        scene = draw(16, 128)
        on = scene.image[scene.mask == 1].mean(axis=1)
        assert on.max() - np.median(on) > 40
        assert abs(scene.image[:10].mean() - scene.image[-10:].mean()) > 15


def edge_distance(corners: polygon.Corners, x: float, y: float) -> float:
    """Distance of a point to the outline of a polygon."""
    found = []
    for i in range(4):
        (x0, y0), (x1, y1) = corners[i - 1], corners[i]
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
        along = min(max(along, 0.0), 1.0)
        found.append(math.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    return min(found)


class TestDataSet:
    """What is written is what a specification reads."""

    def test_images_masks_and_annotation_belong_together(self, robspec: Run, tmp_path: Path) -> None:
        out = tmp_path / "scenes"
        assert robspec("runway", out, "--count", 3, "--seed", 11, "--size", 48).status == 0
        described = Model((3, 48, 48), F(0), F(1), (2, 48, 48), ("background", "runway"))
        data = open_dataset(Data("d", "images/*.png", "masks/*.png"), described, out)
        (batch,) = data.batches(8)
        annotations = lard.read(out / "annotations.csv")
        assert batch.labels is not None
        assert [a.stem for a in annotations] == [Path(n).stem for n in batch.names]
        for k, (annotation, labels) in enumerate(zip(annotations, batch.labels.numpy(), strict=True)):
            assert np.array_equal(labels, draw(11 + k, 48).mask)
            for row, column in np.argwhere(annotation.mask() != labels):
                assert edge_distance(annotation.corners, column + 0.5, row + 0.5) < 1e-4
            rows, columns = np.nonzero(labels)
            left, top, right, bottom = annotation.box()
            assert left <= columns.min() + 0.5
            assert columns.max() + 0.5 <= right
            assert top <= rows.min() + 0.5 <= rows.max() + 0.5 <= bottom

    def test_the_annotation_has_lards_columns_and_order(self, tmp_path: Path) -> None:
        write_scenes(tmp_path, 2, 0, 32)
        with (tmp_path / "annotations.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream, delimiter=";"))
        assert list(table[0]) == [*lard.COLUMNS, *BOX]
        for row in table:
            points = [(float(row[f"y_{c}"]), float(row[f"x_{c}"])) for c in "ABCD"]
            assert points == sorted(points)
            assert 0.28 <= float(row["slant_distance"]) <= 1.1

    def test_corners_become_masks_on_the_command_line(self, robspec: Run, tmp_path: Path) -> None:
        robspec("runway", tmp_path / "scenes", "--count", 2, "--size", 48)
        result = robspec("lard", tmp_path / "scenes" / "annotations.csv", tmp_path / "again")
        assert result.status == 0, result.err
        for path in sorted((tmp_path / "again").iterdir()):
            assert np.array_equal(pixels(path), pixels(tmp_path / "scenes" / "masks" / path.name))
        scaled = robspec("lard", tmp_path / "scenes" / "annotations.csv", tmp_path / "half", "--size", "24,32")
        assert scaled.status == 0
        assert pixels(tmp_path / "half" / "0000.png").shape == (24, 32)

    def test_a_folder_appears_whole_or_not_at_all(
        self, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").write_text("kept")
        result = robspec("runway", tmp_path / "full", "--count", 1, "--size", 16)
        assert result.status == 2
        assert "E0602" in result.err

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("robspec.data.runway.export.lard.write", fail)
        result = robspec("runway", tmp_path / "new", "--count", 1, "--size", 16)
        assert result.status == 2
        assert sorted(p.name for p in tmp_path.iterdir() if "new" in p.name) == []


def pixels(path: Path) -> np.ndarray:
    """The values of an image file."""
    with Image.open(path) as image:
        return np.asarray(image)


def write_lines(tmp_path: Path, *lines: str, header: str = COLUMNS) -> Path:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *lines]))
    return path


class TestReader:
    """Corners come in reading order, perhaps outside the image; what makes no runway is refused by its line."""

    def test_four_corners_in_any_order(self, tmp_path: Path) -> None:
        corners = [(4.0, 2.0), (6.0, 2.0), (8.1, 8.0), (1.0, 8.0)]
        masks = []
        for k, order in enumerate(itertools.permutations(corners)):
            text = ";".join(f"{x};{y}" for x, y in order)
            (annotation,) = lard.read(write_lines(tmp_path, f"images/{k}.png;10;12;{text}"))
            masks.append(annotation.mask())
        assert all(np.array_equal(m, masks[0]) for m in masks)
        assert masks[0].shape == (10, 12)
        assert masks[0].sum() == brute(corners, 10, 12)

    def test_corners_outside_are_clipped(self, tmp_path: Path) -> None:
        (annotation,) = lard.read(write_lines(tmp_path, "a.png;4;4;-10;-10;90;-10;-10;90;90;90"))
        assert annotation.mask().all()
        assert annotation.box() == (0, 0, 4, 4)
        (away,) = lard.read(write_lines(tmp_path, "a.png;4;4;10;10;20;10;10;20;20;20"))
        assert not away.mask().any()

    def test_other_columns_orders_and_separators(self, tmp_path: Path) -> None:
        header = "width,x_A,y_A,x_B,y_B,extra,x_C,y_C,x_D,y_D,height,image"
        path = write_lines(tmp_path, "8,1,1,6,1,?,1,5,6,5,6,d\\b.jpeg", header=header)
        (annotation,) = lard.read(path)
        assert (annotation.stem, annotation.height, annotation.width) == ("b", 6, 8)
        assert annotation.mask().sum() == 20

    @pytest.mark.parametrize(
        "line",
        [
            "a.png;4;4;0;0;1;1;2;2;3;3",  # on one line
            "a.png;4;4;0;0;9;0;0;9;2;2",  # one within the others
            "a.png;4;4;1;1;1;1;1;1;1;1",
            "a.png;4;4;0;0;9;0;0;9;nan;9",
            "a.png;4;4;0;0;9;0;0;9;1e400;9",
            "a.png;4;4;0;0;9;0;0;9;;9",
            "a.png;0;4;0;0;9;0;0;9;9;9",
            "a.png;4.5;4;0;0;9;0;0;9;9;9",
            "a.png;4;99999;0;0;9;0;0;9;9;9",
            "a.png;4;4;0;0;9;0;0;9;9",
            ";4;4;0;0;9;0;0;9;9;9",
            f"{'a' * 5000}.png;4;4;0;0;9;0;0;9;9;9",
            '"a.png;4;4',
        ],
    )
    def test_what_makes_no_runway_is_refused(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(errors.BadAnnotation) as caught:
            lard.read(write_lines(tmp_path, line))
        assert "line 2" in caught.value.where
        assert caught.value.mend

    def test_the_file_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(errors.BadAnnotation, match="'x_A'"):
            lard.read(write_lines(tmp_path, header="image;height;width"))
        with pytest.raises(errors.BadAnnotation):
            lard.read(write_lines(tmp_path, header=""))
        with pytest.raises(errors.UnreadableFile):
            lard.read(tmp_path / "none.csv")
        (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(errors.UnreadableFile):
            lard.read(tmp_path / "b.csv")
        twice = write_lines(tmp_path, "x/a.png;4;4;0;0;9;0;0;9;9;9", "y/a.jpg;4;4;0;0;9;0;0;9;9;9")
        with pytest.raises(errors.DuplicateStem, match="line 2"):
            lard.read(twice)
        for second in ("a.png;4;4;0;0;9;0;0;9;9;9", "a.png;5;4;0;0;9;0;0;9;9;8"):
            with pytest.raises(errors.BadAnnotation, match="line 2"):
                lard.read(write_lines(tmp_path, "a.png;4;4;0;0;9;0;0;9;9;9", second))
        monkeypatch.setattr(lard, "_MOST_ROWS", 1)
        many = write_lines(tmp_path, *(f"{k}.png;4;4;0;0;9;0;0;9;9;9" for k in range(2)))
        with pytest.raises(errors.FileTooLarge):
            lard.read(many)

    @settings(max_examples=examples(60))
    @given(
        text=st.one_of(
            st.text(), st.lists(st.sampled_from(["1", ";", "a.png", "\n", '"', ",", "nan", "-5"])).map("".join)
        )
    )
    def test_random_text(self, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.getbasetemp() / "random.csv"
        path.write_text(f"{COLUMNS}\n{text}", encoding="utf-8", errors="surrogatepass")
        refusal = None
        try:
            lard.read(path)
        except RobspecError as error:
            refusal = error
        assert refusal is None or refusal.mend


WHOLE = st.tuples(st.integers(-4, 14), st.integers(-4, 14))


@settings(max_examples=examples(80))
@given(points=st.lists(WHOLE, min_size=4, max_size=4))
def test_filling_is_decided_by_the_centre_of_each_pixel(points: list[tuple[int, int]]) -> None:
    """Against exact arithmetic: a centre is inside where it is on the left of every side, in rationals."""
    corners = polygon.in_order([(float(x), float(y)) for x, y in points])
    if corners is None:
        return
    mask = polygon.filled(corners, 10, 11)
    for row, column in itertools.product(range(10), range(11)):
        x, y = F(2 * column + 1, 2), F(2 * row + 1, 2)
        sides = [(corners[i - 1], corners[i]) for i in range(4)]
        left = [(F(b[0]) - F(a[0])) * (y - F(a[1])) - (F(b[1]) - F(a[1])) * (x - F(a[0])) >= 0 for a, b in sides]
        assert mask[row, column] == all(left)


def brute(corners: list[tuple[float, float]], height: int, width: int) -> int:
    """Count centres inside a polygon given in order, by the crossing rule."""
    count = 0
    for row, column in itertools.product(range(height), range(width)):
        x, y = column + 0.5, row + 0.5
        crossings = 0
        for i in range(4):
            (x0, y0), (x1, y1) = corners[i - 1], corners[i]
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                crossings += 1
        count += crossings % 2
    return count
