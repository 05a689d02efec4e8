"""What one rule takes for granted about another: axes, signs, constants of a value, and places in a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.function.errors import MixedBatch
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.semantics.norm import L1, L2, LINF


class _Holding(nn.Module):
    """A function of the image and of one stored tensor."""

    def __init__(self, function: Any, stored: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("stored", stored)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.stored)


def _six(x: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    six = x * 2.0 + zero
    return (six - six.permute(0, 1, 2, 3, 5, 4)).reshape(x.shape)


def _six_limits(x: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    six = torch.clamp(x * 2.0, min=zero)
    return (six - six.permute(0, 1, 2, 3, 5, 4)).reshape(x.shape)


def _overlapping(x: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    four = x[:, :, :3]
    return torch.cat([four[:, :, 0:1].reshape(-1), (four + zero)[:, :, 1:2].reshape(-1)])


@pytest.mark.parametrize(
    ("function", "rank"), [(_six, 6), (_six_limits, 6), (_overlapping, 5)], ids=["sum", "limit", "pieces"]
)
def test_a_constant_with_more_dimensions_keeps_the_axes_apart(
    bound: Any, export: Any, function: Any, rank: int
) -> None:
    """The axes of what was known about the data are not those of the sum, whose dimensions are counted anew."""
    model = _Holding(function, torch.zeros((1,) * rank))
    program = export(model, (1, 2, 4, 4), batch=False)
    start = torch.ones(1, 2, 4, 4, dtype=torch.float64) + torch.arange(32).reshape(1, 2, 4, 4)
    jacobian = torch.autograd.functional.jacobian(model.double(), start).reshape(-1, 32)
    truth = float(torch.linalg.matrix_norm(jacobian, 2))
    try:
        proved = bound(program, L2)
    except RobspecError:
        return
    assert proved >= truth * (1 - 1e-12)


_NOT_ROOTS = {
    "a divisor below 0": lambda x: (functional.avg_pool2d(x**2, 1, divisor_override=-1) + 1.0).sqrt(),
    "a sign beside a sum": lambda x: (torch.sign(x**2) * (x**2 + 1.0)).sqrt(),
    "a sign of a sum": lambda x: (torch.sign(x**2 + 0.0) * torch.relu(x**2 + 1.0)).sqrt(),
}


@pytest.mark.parametrize("function", _NOT_ROOTS.values(), ids=_NOT_ROOTS)
@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
def test_the_root_of_what_is_no_sum_of_squares_is_refused(bound: Any, export: Any, function: Any, norm: Any) -> None:
    """sqrt(1 - x^2) is as steep as one likes, and sqrt(sign(q) (q + 1)) jumps at 0."""
    with pytest.raises(NoGlobalConstant):
        bound(export(function, (1, 2, 2)), norm)


def test_norm_pooling_is_still_recognised(bound: Any, export: Any) -> None:
    assert bound(export(nn.LPPool2d(2, 2), (1, 4, 4)), L2) <= 1.0 + 1e-9


@pytest.mark.parametrize("dims", [([1], [0]), ([-3], [-2]), ([1, 2], [0, 1])], ids=str)
def test_tensordot_sums_over_every_pair_it_names(bound: Any, export: Any, dims: Any) -> None:
    """Also where it names one pair only: rows of four halves have size 2 in l_infinity."""
    weight = torch.full((4, 3 if len(dims[0]) == 2 else 2), 0.5)
    model = _Holding(lambda x, w: torch.tensordot(x, w, dims=dims), weight)
    proved = bound(export(model, (4, 3, 3)), LINF)
    assert proved == pytest.approx(6.0 if len(dims[0]) == 2 else 2.0)


def _numbered(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) + 1.0


_BY_PLACE = {
    "expand_as": (lambda x, k: x + k.expand_as(x), _numbered(2, 1, 1, 1)),
    "view_as": (lambda x, k: x + k.view_as(x), _numbered(36)),
    "reshape_as": (lambda x, k: x + k.reshape_as(x), _numbered(36)),
    "multiply": (torch.multiply, _numbered(2, 1, 1, 1)),
    "divide": (torch.divide, _numbered(2, 1, 1, 1)),
    "subtract": (torch.subtract, _numbered(2, 1, 1, 1)),
    "rsub": (torch.rsub, _numbered(2, 1, 1, 1)),
    "true_divide": (torch.true_divide, _numbered(2, 1, 1, 1)),
    "prelu": (lambda x, k: functional.prelu(x.transpose(0, 1), k).transpose(0, 1), _numbered(2)),
    "masked_fill": (lambda x, k: x.masked_fill(k > 1.5, k.sum()), _numbered(2, 1, 1, 1)),
}


@pytest.mark.parametrize(("function", "stored"), _BY_PLACE.values(), ids=_BY_PLACE)
def test_places_of_a_fixed_batch_are_treated_alike(bound: Any, function: Any, stored: torch.Tensor) -> None:
    program = torch.export.export(_Holding(function, stored), (torch.randn(2, 2, 3, 3),))
    with pytest.raises(MixedBatch):
        bound(program, L2)


def test_a_filling_that_is_a_tensor(bound: Any, export: Any) -> None:
    mask = torch.tensor([True, False]).reshape(2, 1, 1)
    model = _Holding(lambda x, k: x.masked_fill(mask, k), torch.tensor(3.0))
    assert bound(export(model, (2, 3, 3)), L2) == 1.0


def test_the_switch_of_softplus_is_no_rounding_in_float64(bound: Any, export: Any) -> None:
    """At 20 it jumps by 2e-9, half a million units in the last place."""
    with pytest.raises(NoGlobalConstant, match="jumps at its threshold"):
        bound(export(functional.softplus, (1, 2, 2), dtype=torch.float64), L2)
    late = export(lambda x: functional.softplus(x, threshold=40.0), (1, 2, 2), dtype=torch.float64)
    assert bound(late, L2) == 1.0


class _Turning(nn.Module):
    """A Householder activation of order one, its sine and cosine computed from a stored angle."""

    def __init__(self, angle: torch.Tensor, *, overwritten: bool = False) -> None:
        super().__init__()
        self.register_buffer("angle", angle)
        self.overwritten = overwritten

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, y = image[:, :1], image[:, 1:]
        half = self.angle * 0.5
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        if self.overwritten:
            cos.view(-1).mul_(3.0)
            sin.view(-1).mul_(3.0)
        selector = x * torch.sin(half) - y * torch.cos(half)
        below, above = selector <= 0, selector > 0
        return torch.cat([x * below + (x * cos + y * sin) * above, y * below + (x * sin - y * cos) * above], dim=1)


def test_householder_holds_for_what_the_constants_are(export: Any, bound: Any) -> None:
    """Not only for the formula: overwritten, rounded to half, or rounded below the type of the data."""
    angle = torch.full((1, 1, 1), 0.7)
    assert bound(export(_Turning(angle), (2, 2, 2)), L2) == 1.0
    others = [
        export(_Turning(angle, overwritten=True), (2, 2, 2)),
        export(_Turning(angle.to(torch.bfloat16)), (2, 2, 2)),
        export(_Turning(angle.to(torch.float16)), (2, 2, 2)),
        export(_Turning(angle), (2, 2, 2), dtype=torch.float64),
        torch.export.export(_Turning(_numbered(2, 1, 1, 1)), (torch.randn(2, 2, 2, 2),)),
    ]
    for program in others:
        with pytest.raises(RobspecError):
            bound(program, L2)


def test_a_sum_of_squares_keeps_the_images_apart(export: Any, bound: Any) -> None:
    """With a dimension in front, the images lie in the second, over which a sum must not run."""

    def mixed(x: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(x**2 + (x**2 + zero).sum(1))

    with pytest.raises(RobspecError):
        bound(export(_Holding(mixed, torch.zeros((1,) * 5)), (2, 3, 3)), L2)


def test_a_constant_may_lend_its_shape(bound: Any) -> None:
    def shaped(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).reshape_as(like)

    assert bound(torch.export.export(_Holding(shaped, _numbered(2, 2, 3, 3)), (torch.randn(2, 2, 3, 3),)), L2) == 1.0
