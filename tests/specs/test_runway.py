"""The shipped example: reproducible scenes, a safe archive, and a README that says what is measured."""

from __future__ import annotations

import importlib.util
import re
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data.dataset import open_dataset
from robspec.ir.types import Data, Model
from robspec.models.loading import LoadedModel, load

FOLDER = Path(__file__).resolve().parents[2] / "specs" / "runway"
MODEL = Model((3, 64, 64), Fraction(0), Fraction(1), (2, 64, 64), ("background", "runway"))


def script(name: str) -> ModuleType:
    """One of the example's own scripts."""
    spec = importlib.util.spec_from_file_location(f"runway_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """The shipped archive."""
    return load(FOLDER / "runway.pt2")


def test_sizes() -> None:
    assert (FOLDER / "runway.pt2").stat().st_size < 1_000_000
    assert len(list((FOLDER / "images").glob("*.png"))) == len(list((FOLDER / "masks").glob("*.png"))) == 24


def test_the_shipped_scenes_are_what_the_generator_draws() -> None:
    generate = script("generate")
    for k in (0, 7, 23):
        image, mask = generate.scene(1000 + k)
        assert np.array_equal(np.asarray(Image.open(FOLDER / "images" / f"{k:03d}.png")), image)
        assert np.array_equal(np.asarray(Image.open(FOLDER / "masks" / f"{k:03d}.png")), mask)
        assert 0.03 < mask.mean() < 0.5


@pytest.mark.parametrize("size", [32, 64, 96])
def test_scenes_of_any_size(size: int) -> None:
    image, mask = script("generate").scene(5, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_the_archive_is_the_network(model: LoadedModel) -> None:
    assert (model.input_shape, model.output_shape) == ((3, 64, 64), (2, 64, 64))
    assert (model.batch.low, model.batch.high) == (1, 64)


def test_no_layer_expands(model: LoadedModel) -> None:
    """Every convolution's kernel, as an operator on a grid, has norm at most 1 up to rounding."""
    product = 1.0
    for node in model.program.graph.nodes:
        if "conv" not in str(node.target):
            continue
        weight = model.program.state_dict[_parameter(model, str(node.args[1]))].double()
        if weight.shape[-1] == 2:
            norm = torch.linalg.matrix_norm(weight.reshape(weight.shape[0], -1), 2)
        else:
            spectrum = torch.fft.fft2(weight, s=(34, 34)).permute(2, 3, 0, 1)
            norm = torch.linalg.matrix_norm(spectrum, 2).max()
        product *= float(norm)
    assert 0.5 < product < 1.0001


def _parameter(model: LoadedModel, name: str) -> str:
    found = {s.arg.name: s.target for s in model.program.graph_signature.input_specs}
    return str(found[name])


def test_the_readme_states_the_measured_accuracy(model: LoadedModel) -> None:
    measured = script("certify").measure(FOLDER)
    text = (FOLDER / "README.md").read_text()
    for label, value in measured.items():
        found = re.search(rf"\| {re.escape(label)} \| ([0-9.]+) \|", text)
        assert found, label
        assert abs(float(found[1]) - value) < 1e-3, label


def test_the_data_set_opens() -> None:
    dataset = open_dataset(Data("scenes", "images/*.png", "masks/*.png"), MODEL, FOLDER)
    assert len(dataset) == 24
