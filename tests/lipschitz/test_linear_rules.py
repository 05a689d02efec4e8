"""Every linear rule against the dense matrix of the node: never below its norm, and equal to it where
exactness is claimed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from robspec.semantics.norm import L1, L2, LINF
from tests.examples import examples

NORMS = (L1, L2, LINF)
_SETTINGS = settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(program: Any, bound: Any, matrix: Any, dense_norm: Any, *, exact: bool = True) -> None:
    """Compare the proved constant with the dense norm in three norms."""
    full = matrix(program)
    for norm in NORMS:
        truth, proved = dense_norm(full, norm), bound(program, norm)
        assert proved >= truth * (1 - 1e-13), norm
        if exact:
            assert proved <= truth * (1 + 1e-6) + 1e-12, norm


class TestConvolution:
    """ "convolution in l2, zero padding of any amount, asymmetric too" and its transpose, in one to three
    dimensions.
    """

    @_SETTINGS
    @given(data=st.data())
    def test_convolution(self, data: st.DataObject, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        dims = data.draw(st.sampled_from([1, 1, 2, 2, 2, 3]))
        groups = data.draw(st.sampled_from([1, 1, 2]))
        size = data.draw(st.integers(3, 5 if dims < 3 else 4))
        kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(dims))
        stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
        padding = tuple(data.draw(st.integers(0, 3)) for _ in range(dims))
        if any(size + 2 * p < dilation * (k - 1) + 1 for k, p in zip(kernel, padding, strict=True)):
            return
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        torch.manual_seed(data.draw(st.integers(0, 99)))
        model = kind(2, 4, kernel, stride=stride, dilation=dilation, padding=padding, groups=groups)
        check(export(model, (2, *(size,) * dims)), bound, matrix, dense_norm)

    @_SETTINGS
    @given(data=st.data())
    def test_transposed_convolution(
        self, data: st.DataObject, export: Any, bound: Any, matrix: Any, dense_norm: Any
    ) -> None:
        dims = data.draw(st.integers(1, 2))
        kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
        dilation, padding = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2))
        extra = data.draw(st.integers(0, max(0, max(stride, dilation) - 1)))
        size = data.draw(st.integers(2, 4))
        if (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1 < 1:
            return
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[dims - 1]
        torch.manual_seed(data.draw(st.integers(0, 99)))
        model = kind(
            2,
            2,
            kernel,
            stride=stride,
            padding=padding,
            output_padding=extra,
            dilation=dilation,
            groups=data.draw(st.integers(1, 2)),
        )
        check(export(model, (2, *(size,) * dims)), bound, matrix, dense_norm)

    @_SETTINGS
    @given(data=st.data())
    def test_every_padding_mode(
        self, data: st.DataObject, export: Any, bound: Any, matrix: Any, dense_norm: Any
    ) -> None:
        mode = data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
        kernel, stride = data.draw(st.sampled_from([1, 3, 5])), data.draw(st.integers(1, 3))
        dilation = data.draw(st.integers(1, 2)) if kernel < 5 else 1
        padding = dilation * (kernel // 2)
        torch.manual_seed(data.draw(st.integers(0, 99)))
        size = data.draw(st.integers(max(4, padding + 1), 6))
        model = nn.Conv2d(2, 3, kernel, stride=stride, dilation=dilation, padding=padding, padding_mode=mode)
        exact = mode in ("zeros", "circular")
        check(export(model, (2, size, size)), bound, matrix, dense_norm, exact=exact)

    def test_same_padding_of_an_even_kernel(self, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns that it pads on its own
            check(export(nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 5, 6)), bound, matrix, dense_norm)

    def test_depthwise_and_empty_taps(self, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        model = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        model.weight.data[:, :, 0] = 0.0
        check(export(model, (4, 6, 6)), bound, matrix, dense_norm)
        model.weight.data.zero_()
        assert bound(export(model, (4, 6, 6)), L2) <= 1e-100

    def test_an_unbatched_program(self, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        check(export(nn.Conv2d(2, 3, 3, padding=1), (2, 5, 5), batch=False), bound, matrix, dense_norm)

    def test_large_maps_are_bounded_on_the_torus(self, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        """Zero padding on the torus is an upper bound, within the border effect of the truth."""
        torch.manual_seed(0)
        program = export(nn.Conv2d(4, 4, 3, padding=1), (4, 14, 14))
        truth, proved = dense_norm(matrix(program), L2), bound(program, L2)
        assert 1e-4 < proved / truth - 1 < 0.1


class TestPadding:
    """ "Reflect and replicate padding: the norm of their own duplication matrix"; constant and circular nodes
    by themselves.
    """

    @_SETTINGS
    @given(data=st.data())
    def test_pad_nodes(self, data: st.DataObject, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        mode = data.draw(st.sampled_from(["constant", "circular", "reflect", "replicate"]))
        low = -1 if mode == "constant" else 0
        high = 3
        pads = [data.draw(st.integers(low, high)) for _ in range(4)]
        check(export(lambda x: functional.pad(x, pads, mode=mode), (2, 4, 5)), bound, matrix, dense_norm)

    def test_padding_the_channels(self, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
        check(
            export(lambda x: functional.pad(x, (1, 1, 0, 0, 2, 0), value=3.0), (2, 4, 5)),
            bound,
            matrix,
            dense_norm,
        )

    def test_circular_padding_then_stride_and_dilation(
        self, export: Any, bound: Any, matrix: Any, dense_norm: Any
    ) -> None:
        torch.manual_seed(1)
        for stride, dilation, pads in [
            (2, 2, (2, 2)),
            (2, 2, (3, 4)),
            (3, 2, (2, 2)),
            (2, 1, (1, 2)),
            (4, 2, (4, 4)),
        ]:
            weight = torch.randn(3, 2, 3)

            def forward(x: torch.Tensor, w: Any = weight, s: int = stride, d: int = dilation, p: Any = pads) -> Any:
                return functional.conv1d(functional.pad(x, p, mode="circular"), w, stride=s, dilation=d)

            program = export(forward, (2, 8))
            full = matrix(program)
            for norm in NORMS:
                assert bound(program, norm) >= dense_norm(full, norm) * (1 - 1e-13)
            assert bound(program, L2) <= dense_norm(full, L2) * (1 + 1e-6)


_SHAPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "flip": lambda x: x.flip(2, 3),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "transpose": lambda x: x.transpose(1, 2),
    "flatten": lambda x: x.flatten(1),
    "view_merging_batch": lambda x: x.reshape(-1, x.shape[2], x.shape[3]).reshape(x.shape),
    "unsqueeze": lambda x: x.unsqueeze(1).squeeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(3, dim=2),
    "split": lambda x: torch.cat([x.split(2, 2)[1], x.split(2, 2)[0]], 1),
    "chunk": lambda x: torch.cat(x.chunk(2, 3)[::-1], 3),
    "unbind": lambda x: torch.stack(x.unbind(1), 2),
    "select": lambda x: x[:, 1],
    "strided_slices": lambda x: torch.cat(
        [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1
    ),
    "overlapping_slices": lambda x: torch.cat([x[:, :2], x[:, 1:]], 1),
    "repeated_index": lambda x: x[:, [0, 0, 1]],
    "index_select": lambda x: x.index_select(2, torch.tensor([3, 0, 0, 0])),
    "pixel_shuffle": lambda x: functional.pixel_shuffle(torch.cat([x, x, x, x], 1), 2),
    "pixel_unshuffle": lambda x: functional.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: functional.channel_shuffle(torch.cat([x, x], 1), 2),
    "unfold": lambda x: functional.unfold(x, 3, padding=1),
    "fold": lambda x: functional.fold(functional.unfold(x, 2), (4, 6), 2),
    "tensor_unfold": lambda x: x.unfold(3, 3, 1),
    "triangle": lambda x: x.tril(),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "masked": lambda x: x.masked_fill(torch.eye(4, 6, dtype=torch.bool), 0.0),
    "choice": lambda x: torch.where(torch.eye(4, 6, dtype=torch.bool), x, -x),
    "mean": lambda x: x.mean((2, 3)),
    "mean_everything_kept": lambda x: x.mean((1, 2, 3), keepdim=True),
    "sum": lambda x: x.sum(2),
    "centring": lambda x: x - x.mean((-2, -1), keepdim=True),
    "scaled": lambda x: x * torch.tensor([1.0, -3.0, 0.5]).reshape(1, 3, 1, 1),
    "scaled_over_positions": lambda x: x * torch.linspace(-1, 2, 24).reshape(4, 6),
    "divided": lambda x: x / torch.tensor([0.25, 2.0, 7.0]).reshape(3, 1, 1),
    "negated": lambda x: 1.0 - x,
    "alpha": lambda x: torch.add(x, x.flip(2), alpha=-2.5),
    "rsub": lambda x: torch.rsub(x, x.flip(3), alpha=0.5),
    "matmul_right": lambda x: x @ torch.linspace(-1, 1, 12).reshape(6, 2),
    "matmul_left": lambda x: torch.linspace(-1, 1, 8).reshape(2, 4) @ x,
    "matmul_vector": lambda x: x @ torch.linspace(-1, 1, 6),
    "avg_pool": lambda x: functional.avg_pool2d(x, 3, stride=2, padding=1),
    "avg_pool_uncounted": lambda x: functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "avg_pool_ceil": lambda x: functional.avg_pool2d(x, (3, 2), stride=(3, 2), padding=1, ceil_mode=True),
    "avg_pool_divisor": lambda x: functional.avg_pool2d(x, 2, divisor_override=3),
    "avg_pool1d": lambda x: functional.avg_pool1d(x[:, :, 0], 3, stride=2),
    "adaptive_avg_pool": lambda x: functional.adaptive_avg_pool2d(x, (3, 4)),
    "global_avg_pool": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "nearest": lambda x: functional.interpolate(x, scale_factor=2.5, mode="nearest"),
    "nearest_exact": lambda x: functional.interpolate(x, size=(7, 9), mode="nearest-exact"),
    "bilinear": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear_odd_scale": lambda x: functional.interpolate(x, scale_factor=(1.7, 2.3), mode="bilinear"),
    "bilinear_aligned": lambda x: functional.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
    "bilinear_down": lambda x: functional.interpolate(x, size=(3, 2), mode="bilinear"),
    "bicubic": lambda x: functional.interpolate(x, size=(7, 9), mode="bicubic"),
    "bicubic_aligned": lambda x: functional.interpolate(x, size=(2, 9), mode="bicubic", align_corners=True),
    "linear1d": lambda x: functional.interpolate(x[:, :, 0], size=9, mode="linear"),
    "broadcast": lambda x: x[:, :, :1] * torch.ones(1, 1, 4, 1),
    "movedim": lambda x: x.movedim(1, -1),
    "identity": lambda x: x.contiguous().clone().detach(),
    "unflatten": lambda x: x.unflatten(3, (2, 3)).transpose(3, 4).flatten(3),
    "rot90": lambda x: x.rot90(1, (2, 3)),
}
_LOOSE = {
    "split",
    "pixel_shuffle",
    "channel_shuffle",
    "choice",
    "alpha",
    "rsub",
    "broadcast",
    "fold",
    "overlapping_slices",
    "tensor_unfold",
}


@pytest.mark.parametrize("name", sorted(_SHAPES))
def test_shape_and_resampling_rules(name: str, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    check(export(_SHAPES[name], (3, 4, 6)), bound, matrix, dense_norm, exact=name not in _LOOSE)


def test_broadcasting_repeats_data(export: Any, bound: Any) -> None:
    """ "x[1] * [1,1] has norm sqrt 2"; so does adding a longer constant."""
    assert bound(export(lambda x: x * torch.ones(2), (1,)), L2) == pytest.approx(2**0.5, rel=1e-9)
    assert bound(export(lambda x: x + torch.zeros(2), (1,)), L2) == pytest.approx(2**0.5, rel=1e-9)
    assert bound(export(lambda x: x + torch.zeros(2), (2,)), L2) == 1.0


def test_linear_layers_compose(export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 4), nn.BatchNorm1d(4))
    model[2].running_var.fill_(0.3)
    model[2].weight.data = torch.randn(4)
    check(export(model, (6,)), bound, matrix, dense_norm)


def test_normalisation_is_folded_into_the_convolution(export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    mean, std = torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1), torch.tensor([0.1, 0.3, 0.9]).reshape(3, 1, 1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x - mean) / std) * 0.5

    program = export(Model(), (3, 6, 6))
    check(program, bound, matrix, dense_norm)
    apart = bound(export(conv, (3, 6, 6)), L2) / 0.1 * 0.5
    assert bound(program, L2) < 0.9 * apart


def test_dilated_branches_and_a_projection_are_one_operator(
    export: Any, bound: Any, matrix: Any, dense_norm: Any
) -> None:
    torch.manual_seed(0)

    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(
                nn.Conv2d(4, 4, 3 if d else 1, dilation=d or 1, padding=d, padding_mode="circular") for d in (0, 2, 4)
            )
            self.project = nn.Conv2d(12, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.project(torch.cat([branch(x) * 0.5 for branch in self.branches], 1))

    program = export(Pyramid(), (4, 8, 8))
    check(program, bound, matrix, dense_norm)


def test_linear_residual_is_one_operator(export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 3, padding=1)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - 0.5 * self.conv(x)

    check(export(Residual(), (3, 5, 5)), bound, matrix, dense_norm)
