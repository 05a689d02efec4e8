"""No property here may be PROVED: each has an input inside the ball that breaks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Result, Run, export
from tests.planted import bounds, prover
from tests.planted.planting import Plant

PLANTS = [*prover.PLANTS, *bounds.PLANTS]
every_plant = pytest.mark.parametrize("plant", PLANTS, ids=[p.name for p in PLANTS])


def checked(plant: Plant, module: torch.nn.Module, body: str, robspec: Run, folder: Path) -> Result:
    """Export, write and check: bounds lie as near as float32 logits, taken as exact, allow."""
    model = export(module, folder / "model.pt2", plant.side, plant.channels)
    return robspec(
        "check",
        model,
        plant.write(folder, body),
        "--arithmetic",
        "exact",
        "--format",
        "json",
        "--witness-dir",
        folder / "w",
    )


@every_plant
def test_the_perturbation_breaks_the_property(plant: Plant) -> None:
    """Inside the ball and the input range, and what the model itself then answers violates what is claimed."""
    assert all(plant.distances())
    assert all(m.min() >= 0 and m.max() <= 255 for m in plant.moved)
    assert plant.breaks(plant.attained(torch.float64))
    wide = any(p.dtype == torch.float64 for p in plant.module.parameters())
    if plant.status != (2,) and not wide:
        assert plant.breaks(plant.attained(torch.float32))


@every_plant
def test_the_trap_is_not_proved(plant: Plant, robspec: Run, tmp_path: Path) -> None:
    result = checked(plant, plant.module, plant.trap, robspec, tmp_path)
    assert result.status in plant.status, result.out + result.err
    if result.status != 2:
        (answer,) = json.loads(result.out)["properties"]
        assert answer["verdict"] == "UNKNOWN"
        assert "PROVED" not in [r["verdict"] for r in answer["requirements"]]


@every_plant
def test_the_control_is_proved(plant: Plant, robspec: Run, tmp_path: Path) -> None:
    result = checked(plant, plant.control_module or plant.module, plant.control, robspec, tmp_path)
    assert result.status == 0, result.out + result.err
    (answer,) = json.loads(result.out)["properties"]
    assert answer["verdict"] == "PROVED"
    assert answer["lipschitz"]["status"] == "proved"
