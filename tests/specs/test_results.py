"""The table of standard, slightly and strongly robust models: what the page says is what the archives give."""

from __future__ import annotations

import json
import re

import pytest
import torch

from robspec.models.loading import load
from tests.examples import examples
from tests.specs.test_runway import FOLDER, script

results = script("results")


MEASURED = results.MODELS if examples(1) > 1 else results.MODELS[1:2]
"""Each takes half a minute: one of them here, all of them in `make test-deep`."""


@pytest.fixture(scope="module")
def rows() -> dict[str, object]:
    """The figures, measured now."""
    return {name: results.measure(name) for name in MEASURED}


def test_the_archives_are_small() -> None:
    assert sum(p.stat().st_size for p in FOLDER.parent.rglob("*.pt2")) <= 4_500_000


@pytest.mark.parametrize("name", results.MODELS)
def test_archive_card_and_configuration_belong_together(name: str) -> None:
    import hashlib

    card = json.loads((FOLDER / f"{name}.json").read_text())
    assert card["model"]["sha256"] == load(FOLDER / f"{name}.pt2").sha256
    assert card["configuration"]["sha256"] == hashlib.sha256((FOLDER / f"{name}.toml").read_bytes()).hexdigest()
    assert (card["model"]["design_lipschitz"] is None) == (name == "standard")
    if name != "standard":
        assert card["lipschitz"]["bound"] <= 1.0001


def test_the_page_states_what_is_measured(rows: dict[str, object]) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = page.partition(results.BEGIN)[2].partition(results.END)[0]
    for row in rows.values():
        line = row.line()  # type: ignore[attr-defined]
        label = line.split("|")[1]
        shown = next(text for text in table.splitlines() if label in text)
        assert numbers(shown) == pytest.approx(numbers(line), rel=1e-3, abs=4e-3)


def numbers(line: str) -> list[float]:
    """The figures of a row, its name left out."""
    return [float(v) for v in re.findall(r"\d+\.?\d*(?:e[+-]?\d+)?", line.split("|", 2)[2])]


@pytest.mark.skipif(MEASURED != results.MODELS, reason="`make test-deep` measures all three")
def test_robustness_has_its_order(rows: dict[str, object]) -> None:
    standard, slight, strong = (rows[name] for name in results.MODELS)
    assert standard.clean >= slight.clean - 0.01  # type: ignore[attr-defined]
    assert max(standard.certified) < 0.05  # type: ignore[attr-defined]
    assert strong.certified[-1] > slight.certified[-1]  # type: ignore[attr-defined]
    for row in (standard, slight, strong):
        assert all(c <= a <= row.clean for c, a in zip(row.certified, row.attacked, strict=True))  # type: ignore[attr-defined]


def test_attacks_stay_in_the_ball() -> None:
    change = results._inside(torch.randn(5, 3, 64, 64) * 10, 0.25)
    assert bool((change.double().flatten(1).norm(dim=1) <= 0.25).all())
