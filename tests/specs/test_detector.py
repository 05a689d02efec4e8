"""The shipped detector: scenes by seed, and promises that are proved again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data.dataset import Dataset, open_dataset
from robspec.data.runway import crowded
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec
from tests.specs.test_one_class import ROOT, script

FOLDER = ROOT / "specs" / "detector"
results = script("detector", "results")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> Dataset:
    program = results.program_of([results.PRECISION])
    return open_dataset(program.data, program.model, FOLDER)


def test_the_shipped_scenes_are_what_the_generator_draws(data: Dataset) -> None:
    assert len(data) == results.SHOWN
    for k in (0, 7):
        found = crowded.draw(results.SHOWN_SEED + k, results.SIDE, results.MOST)
        assert np.array_equal(np.asarray(Image.open(FOLDER / "images" / f"{k:04d}.png")), found.image)
        assert data.objects[k].boxes.tolist() == [list(o.box) for o in found.objects]


def test_the_promises_are_proved(robspec: Run) -> None:
    done = robspec("check", str(FOLDER / "lipschitz.pt2"), str(FOLDER / "detector.rspec"))
    assert done.status == 0, done.out + done.err
    assert "frozen boxes" in done.out


def test_aims_are_the_scores_nearest_the_threshold() -> None:
    ways = torch.tensor([[[[-1.0, 0.0, -1.0, -1.0]]]])
    gaps = torch.tensor([[[[0.3, 0.01, 0.1, 0.2]]]])
    assert results._nearest(ways, gaps, 0.5).flatten().tolist() == [0.0, 0.0, -1.0, -1.0]
    assert results._nearest(torch.zeros_like(ways), gaps, 0.5).flatten().tolist() == [0.0] * 4
