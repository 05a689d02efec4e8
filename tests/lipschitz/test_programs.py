"""Exports of other kinds than the usual one: decomposed, under no_grad, fixed batch, forged metadata."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.function.errors import UnsuitableProgram
from robspec.lipschitz.measure import measure
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF


class _Small(nn.Module):
    """A convolutional network with a branch, in-place activations and a pooled linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        self.norm.running_var.fill_(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm(self.first(x)), inplace=True)
        y = functional.max_pool2d(y, 2)
        z = functional.leaky_relu(self.second(y), 0.1)
        y = functional.hardtanh(y + z)
        return self.head(functional.dropout(y.mean((2, 3)), training=self.training))


@pytest.fixture(scope="module")
def small(export: Any) -> Any:
    torch.manual_seed(0)
    return export(_Small(), (3, 8, 8))


def test_a_decomposed_program_has_the_same_constant(small: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates a helper of its own
        decomposed = small.run_decompositions()
    for norm in (L1, L2, LINF):
        whole = prove(small, input_norm=norm, output_norm=norm)
        parts = prove(decomposed, input_norm=norm, output_norm=norm)
        assert parts.bound == pytest.approx(whole.bound, rel=1e-6)


def test_saving_and_loading_changes_nothing(small: Any) -> None:
    stream = io.BytesIO()
    torch.export.save(small, stream)
    stream.seek(0)
    loaded = torch.export.load(stream)
    assert prove(loaded, input_norm=L2, output_norm=L2).bound == prove(small, input_norm=L2, output_norm=L2).bound


def test_metadata_of_the_archive_is_not_trusted(small: Any) -> None:
    """Shapes written into the graph are ignored: lying about a feature map does not move the bound."""
    honest = prove(small, input_norm=L2, output_norm=L2).bound
    stream = io.BytesIO()
    torch.export.save(small, stream)
    stream.seek(0)
    forged = torch.export.load(stream)
    for node in forged.graph.nodes:
        if node.op == "call_function":
            node.meta = {"val": torch.empty(1, 1)}
    assert prove(forged, input_norm=L2, output_norm=L2).bound == honest


def test_a_fixed_batch_is_proved_and_measured_per_image(export: Any) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    fixed = torch.export.export(layer.eval(), (torch.randn(4, 2, 6, 6),))
    free = export(layer, (2, 6, 6))
    proved = prove(fixed, input_norm=L2, output_norm=L2).bound
    assert proved == prove(free, input_norm=L2, output_norm=L2).bound
    pair = measure(fixed, input_norm=L2, output_norm=L2, seconds=0.3)
    assert pair.first.shape == (1, 2, 6, 6)
    assert 0.9 * proved < pair.lower <= proved


def test_weights_computed_under_no_grad_are_folded(export: Any) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                norm = torch.linalg.matrix_norm(self.layer.weight, ord=2)
            return functional.linear(x, self.layer.weight / norm)

    torch.manual_seed(0)
    found = prove(export(Scaled(), (4,)), input_norm=L2, output_norm=L2)
    assert found.bound == pytest.approx(1.0, abs=1e-5)
    assert found.folded >= 2


def test_images_of_another_size_are_refused(small: Any) -> None:
    with pytest.raises(UnsuitableProgram, match="does not fit"):
        measure(small, input_norm=L2, output_norm=L2, images=[np.zeros((3, 9, 9))], seconds=0.1)


def test_a_graph_that_cannot_be_differentiated_is_still_measured(export: Any) -> None:
    program = export(lambda x: 3 * x.detach(), (4,))
    pair = measure(program, input_norm=L2, output_norm=L2, seconds=0.1)
    assert pair.lower == pytest.approx(3.0, rel=1e-6)


def test_a_number_taken_out_of_the_image_is_refused(export: Any) -> None:
    class Takes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum().item()

    program = torch.export.export(Takes(), (torch.randn(3),))
    with pytest.raises(UnsuitableProgram):
        prove(program, input_norm=L2, output_norm=L2)


def test_the_derivation_names_every_node(small: Any) -> None:
    found = prove(small, input_norm=L2, output_norm=L2)
    names = {row.name for row in found.rows}
    assert {"relu_", "max_pool2d", "leaky_relu", "hardtanh", "linear"} <= names
    grouped = next(row for row in found.rows if "batch_norm" in row.members)
    assert grouped.members == ("conv2d", "batch_norm")
    assert grouped.rule == "conv2d + batch_norm"
    assert grouped.module == "norm"
    assert "test_programs.py" in next(row for row in found.rows if row.name == "relu_").source
    assert found.rows[-1].running == found.bound
    assert found.loosest is not None
    assert all(row.bound <= found.loosest.bound for row in found.rows)
