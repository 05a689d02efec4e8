"""The shipped detector: scenes by seed, archives with their cards, and promises that are proved again."""

from __future__ import annotations

import hashlib
import json
import math
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


@pytest.mark.parametrize("name", results.MODELS)
def test_archive_card_and_configuration_belong_together(name: str) -> None:
    card = json.loads((FOLDER / f"{name}.json").read_text())
    assert card["model"]["sha256"] == hashlib.sha256((FOLDER / f"{name}.pt2").read_bytes()).hexdigest()
    assert card["configuration"]["sha256"] == hashlib.sha256((FOLDER / f"{name}.toml").read_bytes()).hexdigest()
    assert (card["lipschitz"]["bound"] <= 1.0001) == (name == "lipschitz")


def test_the_promises_are_proved(robspec: Run) -> None:
    done = robspec("check", str(FOLDER / "lipschitz.pt2"), str(FOLDER / "detector.rspec"))
    assert done.status == 0, done.out + done.err
    assert "frozen boxes" in done.out


def test_the_page_states_what_the_cards_certify() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = page.partition(results.BEGIN)[2].partition(results.END)[0]
    for name in results.MODELS:
        certified = results.from_card(name)
        for eps in results.BUDGETS:
            row = next(line for line in table.splitlines() if line.startswith(f"| {name} | {eps} |"))
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            wanted = [certified(metric, eps) for metric in (results.RECALL, results.PRECISION)]
            assert cells[2:4] == [f"{math.floor(v * 1000) / 1000:.3f}" for v in wanted]


def test_aims_are_the_scores_nearest_the_threshold() -> None:
    ways = torch.tensor([[[[-1.0, 0.0, -1.0, -1.0]]]])
    gaps = torch.tensor([[[[0.3, 0.01, 0.1, 0.2]]]])
    assert results._nearest(ways, gaps, 0.5).flatten().tolist() == [0.0, 0.0, -1.0, -1.0]
    assert results._nearest(torch.zeros_like(ways), gaps, 0.5).flatten().tolist() == [0.0] * 4
