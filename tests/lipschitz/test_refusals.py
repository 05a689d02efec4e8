"""Anything without a global constant is refused with node, module path, source line, and the mend."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.function.errors import MixedBatch, NotFinite, UnsuitableProgram
from robspec.lipschitz.errors import NoGlobalConstant, UnknownOperation
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L1, L2, LINF

_NO_CONSTANT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "product": lambda x: x * torch.sigmoid(x),
    "square": lambda x: x**2,
    "square_method": lambda x: x.square(),
    "quotient": lambda x: x / (1 + x.abs()),
    "constant_over_data": lambda x: 1.0 / (2 + x.abs()),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x, x),
    "gram": lambda x: x @ x.transpose(-1, -2),
    "layer_norm": lambda x: functional.layer_norm(x, (6,)),
    "group_norm": lambda x: functional.group_norm(x, 2),
    "instance_norm": lambda x: functional.instance_norm(x),
    "root": lambda x: x.abs().sqrt(),
    "exponential": lambda x: x.exp(),
    "logarithm": lambda x: (x.abs() + 1).log(),
    "step": lambda x: (x > 0).to(torch.float32) + x,
    "masked_by_data": lambda x: torch.where(x > 0, x, x - 1),
    "rounding": lambda x: x.round(),
    "jump": lambda x: functional.threshold(x, 0.0, -1.0),
    "hard_shrink": lambda x: functional.hardshrink(x),
    "early_softplus": lambda x: functional.softplus(x, threshold=1.0),
    "narrowing_cast": lambda x: x.to(torch.float16).to(torch.float32),
    "integer_cast": lambda x: x.to(torch.int32).to(torch.float32),
    "zero_divisor": lambda x: x / torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1),
    "rounded_division": lambda x: torch.div(x, 2.0, rounding_mode="floor"),
    "data_index": lambda x: x.gather(3, x.argsort(3)),
    "standard_deviation": lambda x: x.std((2, 3)),
    "positions_of_maxima": lambda x: (
        functional.max_pool2d(x, 3, return_indices=True)[1].to(torch.float32) + x[..., :2, :2]
    ),
    "bits_as_another_type": lambda x: x.view(torch.int32).to(torch.float32),
    "negative_offset_in_a_root": lambda x: torch.sqrt(torch.add(x**2, torch.ones(()), alpha=-1.0)),
    "clamped_by_data": lambda x: x.clamp(min=x.flip(1)),
}


@pytest.mark.parametrize("name", sorted(_NO_CONSTANT))
def test_operations_without_a_constant(name: str, export: Any) -> None:
    program = export(_NO_CONSTANT[name], (4, 6, 6))
    with pytest.raises(NoGlobalConstant) as caught:
        prove(program, input_norm=L2, output_norm=L2)
    assert "conftest.py:" in caught.value.where
    assert "node " in caught.value.where
    assert caught.value.mend


_HIDDEN_DATA: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bias": lambda x: functional.linear(x, torch.ones(6, 6), x[0]),
    "statistics": lambda x: functional.batch_norm(x, x[0] * 0, x[0].abs() + 1),
    "slopes": lambda x: functional.prelu(x, x[0]),
    "kernel": lambda x: functional.conv1d(x.unsqueeze(0), x[:3].reshape(1, 3, 6)[:, :, :2]),
    "offset": lambda x: torch.addmm(x, x, torch.ones(6, 6)),
}


@pytest.mark.parametrize("name", sorted(_HIDDEN_DATA))
def test_data_in_an_argument_meant_for_constants(name: str, export: Any) -> None:
    program = export(_HIDDEN_DATA[name], (3, 6), batch=False)
    with pytest.raises(NoGlobalConstant):
        prove(program, input_norm=L2, output_norm=L2)


def test_the_message_names_the_module_path(export: Any) -> None:
    class Gate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(x)

    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Sequential(nn.ReLU(), Gate()))
    with pytest.raises(NoGlobalConstant, match=r"module 1\.1") as caught:
        prove(export(model, (2, 4, 4)), input_norm=L2, output_norm=L2)
    assert "return x * torch.sigmoid(x)" in caught.value.where


def test_a_refused_branch_that_reaches_no_output_does_no_harm(export: Any) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        _ = x * x
        return functional.relu(x)

    assert prove(export(forward, (2, 4)), input_norm=L2, output_norm=L2).bound == 1.0


def test_unknown_operations_are_named(export: Any) -> None:
    with pytest.raises(UnknownOperation, match=r"aten\.cumsum"):
        prove(export(lambda x: x.cumsum(1), (4, 6)), input_norm=L2, output_norm=L2)


_MIXING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean_over_batch": lambda x: x - x.mean(0, keepdim=True),
    "mean_over_everything": lambda x: x - x.mean((0, 2, 3), keepdim=True),
    "total_mean": lambda x: x - x.mean(),
    "flip_over_batch": lambda x: x + x.flip(0),
    "roll_over_batch": lambda x: x + x.roll(1, 0),
    "sort_over_batch": lambda x: x.sort(0).values,
    "softmax_over_batch": lambda x: x.softmax(0),
    "max_over_batch": lambda x: x.amax(0, keepdim=True) + x,
    "roll_by_the_traced_batch": lambda x: x.roll(6, 0),
    "roll_everything": lambda x: x.roll(144 * 6),
    "indexed_batch": lambda x: x + x[torch.zeros(1, dtype=torch.int64)],
    "first_image": lambda x: x + x[:1],
    "doubled_batch": lambda x: torch.cat([x, x], 0),
    "moved_batch": lambda x: x.transpose(0, 1),
    "batch_norm_statistics": lambda x: functional.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("name", sorted(_MIXING))
def test_images_of_a_batch_must_not_mix(name: str, export: Any) -> None:
    program = export(_MIXING[name], (4, 6, 6))
    with pytest.raises((MixedBatch, UnsuitableProgram)):
        prove(program, input_norm=L2, output_norm=L2)


def test_a_batch_folded_into_windows_stays_apart(export: Any) -> None:
    """Windows of one image become rows of a larger batch and return: each image still only sees itself."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, 6, 6).softmax(1)
        return rows.reshape(x.shape)

    assert prove(export(forward, (4, 6, 6)), input_norm=L2, output_norm=L2).bound == 0.5


_FIXED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "flip": lambda x: x.flip(0),
    "reshape_across": lambda x: x.reshape(3, 4, 5, 5).sum(1).unsqueeze(0) + x,
    "permuted_reshape": lambda x: x.permute(1, 0, 2, 3).reshape(x.shape),
    "batch_as_channels": lambda x: functional.conv2d(x.transpose(0, 1), torch.ones(1, 4, 1, 1)).transpose(0, 1) + x,
}


@pytest.mark.parametrize("name", sorted(_FIXED))
def test_a_fixed_batch_of_several_images(name: str) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return _FIXED[name](x)

    program = torch.export.export(Model(), (torch.randn(4, 3, 5, 5),))
    with pytest.raises(MixedBatch):
        prove(program, input_norm=L2, output_norm=L2)


class TestPrograms:
    """ "exactly one image input, exactly one output tensor, a fixed image size, evaluation mode" """

    def test_training_mode(self, export: Any) -> None:
        for layer in (nn.Dropout(0.5), nn.RReLU()):
            with pytest.raises(UnsuitableProgram):
                prove(export(layer, (4,), train=True), input_norm=L2, output_norm=L2)
        with pytest.raises(UnsuitableProgram, match=r"own statistics|changes"):
            prove(export(nn.BatchNorm2d(3), (3, 4, 4), train=True), input_norm=L2, output_norm=L2)

    def test_two_inputs_or_outputs(self) -> None:
        class Two(nn.Module):
            def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                return x + y

        class Both(nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return x, x + 1

        sample = torch.randn(2, 3)
        with pytest.raises(UnsuitableProgram, match="exactly one image"):
            prove(torch.export.export(Two(), (sample, sample)), input_norm=L2, output_norm=L2)
        with pytest.raises(UnsuitableProgram, match="2 values"):
            prove(torch.export.export(Both(), (sample,)), input_norm=L2, output_norm=L2)

    def test_dynamic_image_size(self) -> None:
        program = torch.export.export(
            nn.Conv2d(3, 3, 3),
            (torch.randn(2, 3, 8, 8),),
            dynamic_shapes=({2: torch.export.Dim("h", min=4)},),
        )
        with pytest.raises(UnsuitableProgram, match="dynamic"):
            prove(program, input_norm=L2, output_norm=L2)

    def test_integer_images(self) -> None:
        class Scale(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.to(torch.float32) / 255

        program = torch.export.export(Scale(), (torch.zeros(2, 3, dtype=torch.uint8),))
        with pytest.raises(UnsuitableProgram, match="uint8"):
            prove(program, input_norm=L2, output_norm=L2)

    def test_weights_that_are_not_finite(self, export: Any) -> None:
        model = nn.Linear(3, 3)
        model.weight.data[0, 0] = float("nan")
        with pytest.raises(NotFinite, match="weight"):
            prove(export(model, (3,)), input_norm=L2, output_norm=L2)

    def test_a_constant_that_overflows(self, export: Any) -> None:
        program = export(lambda x: x * torch.full((), 3e38).mul(10.0), (3,))
        with pytest.raises(RobspecError):
            prove(program, input_norm=L2, output_norm=L2)

    def test_a_constant_that_depends_on_the_batch(self, export: Any) -> None:
        with pytest.raises(UnsuitableProgram, match="batch size"):
            prove(export(lambda x: x * x.shape[0], (3,)), input_norm=L2, output_norm=L2)

    def test_random_constants(self, export: Any) -> None:
        with pytest.raises(UnsuitableProgram, match="random"):
            prove(export(lambda x: x * torch.rand(3), (3,)), input_norm=L2, output_norm=L2)


class TestInPlace:
    """In-place operations are read as out of place exactly when nobody reads the memory later."""

    def test_harmless_ones(self, export: Any) -> None:
        def forward(x: torch.Tensor) -> torch.Tensor:
            y = x * 2.0
            y.add_(1.0)
            y.relu_()
            return y

        assert prove(export(forward, (3,)), input_norm=L2, output_norm=L2).bound == 2.0

    def test_constants_are_folded_in_order(self, export: Any) -> None:
        def forward(x: torch.Tensor) -> torch.Tensor:
            scale = torch.ones(3)
            scale.mul_(3.0)
            return x * scale

        assert prove(export(forward, (3,)), input_norm=L2, output_norm=L2).bound == 3.0

    def test_state_that_changes_from_call_to_call(self) -> None:
        class Counter(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("count", torch.ones(1))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                self.count.add_(1.0)
                return x * self.count

        program = torch.export.export(Counter(), (torch.randn(3),))
        with pytest.raises(UnsuitableProgram, match=r"stored tensor|changes state"):
            prove(program, input_norm=L2, output_norm=L2)

    def test_an_image_that_is_overwritten(self, export: Any) -> None:
        with pytest.raises(UnsuitableProgram, match=r"(?s)changes its input.*clone\(\)"):
            prove(export(lambda x: x.mul_(2.0) + 0, (3,)), input_norm=L2, output_norm=L2)

    def test_an_overwritten_view_is_never_misread(self, export: Any) -> None:
        """x doubles through a view; whatever the export makes of it, the bound may not miss the doubling."""

        def forward(x: torch.Tensor) -> torch.Tensor:
            y = x * 1.0
            y.view(-1, 2, 2).mul_(8.0)
            return y

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = export(forward, (4,))
        try:
            found = prove(program, input_norm=L2, output_norm=L2).bound
        except UnsuitableProgram:
            return
        assert found >= 8.0


@pytest.mark.parametrize("norm", [L1, L2, LINF])
def test_errors_are_the_same_in_every_norm(norm: Any, export: Any) -> None:
    with pytest.raises(NoGlobalConstant):
        prove(export(lambda x: x * x, (3,)), input_norm=norm, output_norm=norm)
