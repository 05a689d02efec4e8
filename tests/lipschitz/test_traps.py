"""Models that could be given too small a constant, each decided by a dense operator or by a pair."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L2


def bound(module: nn.Module, shape: tuple[int, ...]) -> float:
    images = torch.rand(2, *shape)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(module.eval(), (images,), dynamic_shapes=dynamic)
    return prove(program, input_norm=L2, output_norm=L2).bound


def dense_norm(module: nn.Module, shape: tuple[int, ...]) -> float:
    basis = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    outputs = module.double()(basis).reshape(len(basis), -1).detach()
    return float(torch.linalg.matrix_norm(outputs, 2))


class TestStridesThatPaddingMisaligns:
    """A grid of side >= n + (k-1)*dilation, rounded up to a multiple of the stride."""

    def test_a_known_kernel(self) -> None:
        layer = nn.Conv2d(1, 2, (1, 4), stride=(1, 2), padding=(0, 3), bias=False)
        layer.weight.data = torch.tensor([[0.0, 1, 1, 0], [-1, 0, 0, 1]]).reshape(2, 1, 1, 4)
        assert bound(layer, (1, 1, 2)) >= dense_norm(layer, (1, 1, 2)) == pytest.approx(math.sqrt(3))

    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize(
        ("kernel", "stride", "side", "padding"),
        [(4, 2, 2, 3), (4, 2, 4, 3), (6, 2, 4, 5), (5, 3, 3, 4), (3, 2, 3, 2), (4, 3, 3, 3), (4, 2, 4, 1)],
    )
    def test_kernels_sought_to_exceed_a_shorter_grid(
        self, kernel: int, stride: int, side: int, padding: int, transposed: bool
    ) -> None:
        """Gradient ascent on the ratio of the dense norm to that on a grid one cell short of what is needed."""
        torch.manual_seed(0)
        weight = torch.randn(2, 1, kernel, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([weight], 0.05)
        short = -(-side // stride) + (kernel - 1) // stride
        for _ in range(60):
            excess = _dense(weight, side, stride, padding) / _folded(weight, short, stride)
            optimizer.zero_grad()
            (-excess).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        sought = weight.detach().float()[:, :, None]
        if transposed:
            outputs = (side + 2 * padding - kernel) // stride + 1
            layer: nn.Module = nn.ConvTranspose2d(
                2,
                1,
                (1, kernel),
                stride=(1, stride),
                padding=(0, padding),
                bias=False,
                output_padding=(0, side - ((outputs - 1) * stride - 2 * padding + kernel)),
            )
            layer.weight.data = sought
            shape = (2, 1, outputs)
        else:
            layer = nn.Conv2d(1, 2, (1, kernel), stride=(1, stride), padding=(0, padding), bias=False)
            layer.weight.data = sought
            shape = (1, 1, side)
        proved = bound(layer, shape)
        assert proved >= dense_norm(layer, shape) * (1 - 1e-12)


def _dense(weight: torch.Tensor, side: int, stride: int, padding: int) -> torch.Tensor:
    rows = []
    for o in range((side + 2 * padding - weight.shape[2]) // stride + 1):
        places = [o * stride + t - padding for t in range(weight.shape[2])]
        picked = torch.zeros(weight.shape[2], side, dtype=weight.dtype)
        for t, place in enumerate(places):
            if 0 <= place < side:
                picked[t, place] = 1
        rows.append(weight[:, 0] @ picked)
    return torch.linalg.matrix_norm(torch.cat(rows), 2)


def _folded(weight: torch.Tensor, cells: int, stride: int) -> torch.Tensor:
    rows = []
    for o in range(cells):
        picked = torch.zeros(weight.shape[2], cells * stride, dtype=weight.dtype)
        for t in range(weight.shape[2]):
            picked[t, (o * stride + t) % (cells * stride)] += 1
        rows.append(weight[:, 0] @ picked)
    return torch.linalg.matrix_norm(torch.cat(rows), 2)


def householder(x: torch.Tensor, y: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    half = angle * 0.5
    selector = x * torch.sin(half) - y * torch.cos(half)
    below, above = selector <= 0, selector > 0
    first = x * below + (x * torch.cos(angle) + y * torch.sin(angle)) * above
    second = y * below + (x * torch.sin(angle) - y * torch.cos(angle)) * above
    return torch.cat([first, second], 1)


class TestHouseholderLookalikes:
    """The formula is an isometry only for a constant angle of the pair's own shape."""

    def test_an_angle_that_is_data(self) -> None:
        class Turned(nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return householder(image[:, :1] + 100, image[:, 1:] + 100, image[:, :1])

        with pytest.raises(RobspecError):
            bound(Turned(), (2, 2, 2))

    def test_the_image_itself_as_the_angle(self) -> None:
        class Turned(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one, self.two = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return householder(self.one(image), self.two(image), image)

        with pytest.raises(RobspecError):
            bound(Turned(), (1, 2, 2))

    def test_an_angle_that_copies_the_pair(self) -> None:
        class Wide(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.angle = nn.Parameter(torch.linspace(0.1, 0.4, 8).reshape(1, 8, 1, 1))

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return householder(image[:, :1], image[:, 1:], self.angle)

        with pytest.raises(RobspecError):
            bound(Wide(), (2, 2, 2))

    def test_the_real_one_is_still_recognised(self) -> None:
        class Pair(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.angle = nn.Parameter(torch.tensor([0.3]).reshape(1, 1, 1, 1))

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return householder(image[:, :1], image[:, 1:], self.angle)

        assert bound(Pair(), (2, 2, 2)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("width", [164, 166, 188, 194, 214])
def test_nearest_upsampling_is_counted_as_float32_does_it(width: int) -> None:
    class Up(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return functional.interpolate(image, size=(1, width), mode="nearest")

    for column in range(2):
        one = torch.zeros(1, 1, 1, 2)
        one[..., column] = 1
        assert bound(Up(), (1, 1, 2)) >= float(Up()(one).double().norm()) * (1 - 1e-12)


def test_a_view_that_its_schema_does_not_declare() -> None:
    class Hidden(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            copy = image * 1
            view = torch.ops.aten._unsafe_view(copy, list(copy.shape))
            view.mul_(100)
            return copy

    images = torch.rand(1, 1, 2, 2)
    program = torch.export.export(Hidden(), (images,))
    with pytest.raises(RobspecError):
        prove(program, input_norm=L2, output_norm=L2)


class Pieces(nn.Module):
    """Joins two pieces of a tensor_split, each through a function of slope 1 at 0."""

    def __init__(self, indices: list[int], first: int, second: int) -> None:
        super().__init__()
        self.indices = indices
        self.first, self.second = first, second

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pieces = torch.tensor_split(image, self.indices, 1)
        return torch.cat([pieces[self.first].tanh(), pieces[self.second].sin()], 1)


@pytest.mark.parametrize(
    ("indices", "first", "second", "overlap"),
    [
        ([2, 1], 0, 2, True),
        ([3, 1, 2], 0, 3, True),
        ([-1, -3], 0, 2, True),
        ([1, 3], 0, 2, False),
        ([1, -1], 1, 2, False),
        ([9, 2], 1, 2, False),
    ],
)
def test_pieces_of_a_tensor_split_may_overlap(indices: list[int], first: int, second: int, overlap: bool) -> None:
    """Indices need not ascend: [2, 1] gives x[:2], nothing, and x[1:], which share an entry."""
    found = bound(Pieces(indices, first, second), (4,))
    assert found == pytest.approx(math.sqrt(2) if overlap else 1.0, rel=1e-12)
    assert not overlap or Fraction(found) ** 2 >= 2
