"""Products of data with one constant tensor, against the dense matrix of the node: einsum, bmm, matmul, tensordot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robspec.function.errors import MixedBatch, NotFinite, UnsuitableProgram
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.semantics.norm import L1, L2, LINF
from tests.examples import examples

NORMS = (L1, L2, LINF)
_SETTINGS = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(program: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    """The proved constant is the dense norm, up to rounding upwards, in three norms."""
    full = matrix(program)
    for norm in NORMS:
        truth, proved = dense_norm(full, norm), bound(program, norm)
        assert proved >= truth * (1 - 1e-13), norm
        assert proved <= truth * (1 + 1e-6) + 1e-12, norm


def constant(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers without a pattern, and without a generator, which a graph would draw from at every call."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float32) * (1.7 + seed)).reshape(shape)


EQUATIONS = {
    "bchw,kc->bkhw": (2, 3),
    "kc,bchw->bkhw": (2, 3),
    "bchw,ck->bhwk": (3, 2),
    "bchw,chw->bchw": (3, 4, 2),
    "bchw,chw->b": (3, 4, 2),
    "bchw,chw->bc": (3, 4, 2),
    "bchw,c->bhw": (3,),
    "bchw,k->bkchw": (2,),
    "bchw,->bchw": (),
    "bchw,hk->bckw": (4, 3),
    "bchw,whk->bck": (2, 4, 3),
    "bchw,ckl->bklh": (3, 2, 2),
    "bchw,kc->bk": (2, 3),
    "bchw,kcm->bkhw": (2, 3, 4),
    "bchw,m->bchw": (5,),
    "bchw,kcc->bkhw": (2, 3, 3),
    "...chw,kc->...khw": (2, 3),
    "bc...,kc->bk...": (2, 3),
    "b...,...->b...": (3, 4, 2),
    "b...,k...->bk": (2, 3, 4, 2),
    "b...,...->b": (4, 2),
    "bchw,kc": (2, 3),
    "bchw , k c -> b k h w": (2, 3),
    "bchw,bkc->bkhw": (1, 2, 3),
    "bchw,Kc->bKhw": (1, 3),
    "bchw,kchw->bkchw": (2, 3, 1, 2),
    "bchw,kchw->bkc": (2, 1, 4, 1),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    factor = constant(*EQUATIONS[equation])
    first = equation.startswith("kc,")

    def function(x: torch.Tensor) -> torch.Tensor:
        made = torch.einsum(equation, factor, x) if first else torch.einsum(equation, x, factor)
        return made if made.shape[0] == x.shape[0] else made.movedim(equation.replace(" ", "").find("b"), 0)

    if equation == "bchw,kc":  # the output is bhwk
        check(export(lambda x: torch.einsum(equation, x, factor), (3, 4, 2)), bound, matrix, dense_norm)
    else:
        check(export(function, (3, 4, 2)), bound, matrix, dense_norm)


@pytest.mark.parametrize("equation", ["bchw->bwch", "bchw->bc", "bchw->b", "b...->b", "...hw->...h"])
def test_einsum_of_data_alone(equation: str, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    check(export(lambda x: torch.einsum(equation, x), (3, 4, 2)), bound, matrix, dense_norm)


@_SETTINGS
@given(data=st.data())
def test_any_equation(data: st.DataObject, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    letters = "chwkm"
    sides = {letter: data.draw(st.integers(1, 3)) for letter in letters}
    labels = data.draw(st.permutations("chw"))[: data.draw(st.integers(1, 3))]
    others = data.draw(st.permutations(letters))[: data.draw(st.integers(0, 4))]
    kept = [n for n in letters if (n in labels or n in others) and data.draw(st.booleans())]
    output = data.draw(st.permutations(kept))
    thin = {n for n in others if n in labels and data.draw(st.booleans())}  # side 1, which repeats
    short = {n for n in labels if n in others and n not in thin and data.draw(st.booleans())}
    factor = constant(*(1 if n in thin else sides[n] for n in others), seed=data.draw(st.integers(0, 9)))
    equation = f"b{''.join(labels)},{''.join(others)}->b{''.join(output)}"
    shape = tuple(1 if n in short else sides[n] for n in labels)
    check(export(lambda x: torch.einsum(equation, x, factor), shape), bound, matrix, dense_norm)


def test_einsum_is_grouped_with_its_neighbours(export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    torch.manual_seed(0)
    conv, mix = torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), constant(2, 4)
    program = export(lambda x: torch.einsum("bchw,kc->bkhw", conv(x), mix), (3, 4, 4))
    check(program, bound, matrix, dense_norm)
    apart = bound(export(conv, (3, 4, 4)), L2) * float(torch.linalg.matrix_norm(mix, 2))
    assert bound(program, L2) < 0.99 * apart


STACKS: dict[str, Any] = {
    "matmul, stack at the right": lambda x: x @ constant(3, 2, 5),
    "matmul, stack at the left": lambda x: constant(3, 5, 4) @ x,
    "matmul, one stack for every image": lambda x: x @ constant(1, 3, 2, 5),
    "matmul, one channel meets a stack": lambda x: x[:, :1] @ constant(3, 2, 5),
    "matmul, more stacks than data": lambda x: x.unsqueeze(1) @ constant(2, 1, 2, 5),
    "matmul, vector of data": lambda x: constant(5, 2, 24) @ x.flatten(1).unsqueeze(-1).unsqueeze(1),
    "bmm, expanded at the left": lambda x: torch.bmm(constant(5, 3).expand(x.shape[0], 5, 3), x.flatten(2)),
    "bmm, expanded at the right": lambda x: torch.bmm(x.flatten(2), constant(8, 2).expand(x.shape[0], -1, -1)),
    "bmm, repeated": lambda x: torch.bmm(constant(1, 5, 3).repeat(x.shape[0], 1, 1), x.flatten(2)),
    "bmm, unsqueezed": lambda x: torch.bmm(
        constant(5, 3).unsqueeze(0).expand(x.shape[0], -1, -1).contiguous(), x.flatten(2)
    ),
    "baddbmm": lambda x: torch.baddbmm(
        constant(1, 5, 8), constant(5, 3).expand(x.shape[0], 5, 3), x.flatten(2), alpha=-1.5
    ),
    "inner": lambda x: torch.inner(x, constant(5, 2)),
    "inner of a stack": lambda x: torch.inner(x, constant(2, 3, 2)),
    "tensordot": lambda x: torch.tensordot(x, constant(4, 3, 5), dims=([1, 2], [1, 0])),
    "outer": lambda x: torch.outer(x.flatten(1)[:, 0], constant(4)),
}


@pytest.mark.parametrize("name", STACKS)
def test_stacks_of_matrices(name: str, export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    check(export(STACKS[name], (3, 4, 2)), bound, matrix, dense_norm)


def test_a_fixed_batch_meets_one_matrix_or_is_refused(export: Any, bound: Any, matrix: Any, dense_norm: Any) -> None:
    same, different = constant(1, 5, 3).repeat(2, 1, 1), constant(2, 5, 3)

    class Fixed(torch.nn.Module):
        def __init__(self, factor: torch.Tensor) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.bmm(self.factor, x.flatten(2))

    programs = [torch.export.export(Fixed(f), (torch.randn(2, 3, 4, 1),)) for f in (same, different)]
    assert bound(programs[0], LINF) == pytest.approx(float(same[0].abs().sum(1).max()))
    with pytest.raises(MixedBatch, match="different constants"):
        bound(programs[1], L2)


REFUSED: dict[str, tuple[Any, type, str]] = {
    "two factors of data": (lambda x: torch.einsum("bchw,bkhw->bck", x, x), NoGlobalConstant, "both depend"),
    "attention": (lambda x: torch.bmm(x.flatten(2), x.flatten(2).mT), NoGlobalConstant, "both depend"),
    "three factors": (
        lambda x: torch.einsum("bchw,kc,lk->blhw", x, constant(2, 3), constant(2, 2)),
        NoGlobalConstant,
        "einsum of 3 tensors",
    ),
    "a diagonal": (lambda x: torch.einsum("bcii,kc->bki", x, constant(2, 3)), NoGlobalConstant, "diagonal"),
    "images are summed": (lambda x: torch.einsum("bchw,kc->khw", x, constant(2, 3)), MixedBatch, "over the images"),
    "a factor that counts the images": (
        lambda x: torch.bmm((constant(5, 3) * x.shape[0]).expand(x.shape[0], 5, 3), x.flatten(2)),
        UnsuitableProgram,
        "changes with the batch size",
    ),
    "a factor for each place in the batch": (
        lambda x: torch.bmm(
            torch.arange(x.shape[0], dtype=torch.float32)[:, None, None].expand(-1, 5, 3), x.flatten(2)
        ),
        UnsuitableProgram,
        "changes with the batch size",
    ),
    "a sum that counts the images": (
        lambda x: torch.baddbmm(
            torch.full((1, 5, 16), float(1) * x.shape[0]), constant(5, 3).expand(x.shape[0], 5, 3), x.flatten(2)
        ),
        UnsuitableProgram,
        "changes with the batch size",
    ),
    "no number": (lambda x: x @ torch.full((3, 4, 4), float("inf")), NotFinite, "not finite"),
    "addcmul": (lambda x: torch.addcmul(constant(4), x, constant(4)), NoGlobalConstant, "no rule"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str, export: Any, bound: Any) -> None:
    function, kind, reason = REFUSED[name]
    with pytest.raises(kind, match=reason):
        bound(export(function, (3, 4, 4)), L2)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160])
def test_extreme_factors_stay_above(scale: float, export: Any, bound: Any) -> None:
    factor = constant(3, 4, 2).double() * scale
    program = export(lambda x: x @ factor, (3, 2, 4), dtype=torch.float64)
    truths = {
        L1: factor.abs().sum(2).max(),
        LINF: factor.abs().sum(1).max(),
        L2: torch.linalg.matrix_norm(factor / scale, 2).max() * scale,
    }
    for norm, truth in truths.items():
        assert bound(program, norm) >= float(truth) * (1 - 1e-12), norm


ALIKE: dict[str, tuple[Any, float]] = {
    "mean spread over the map": (lambda x: x - x.mean((2, 3), keepdim=True).expand_as(x), 2.0),
    "bias of the shape of data": (lambda x: x + constant(3, 1, 1).expand_as(x), 1.0),
    "ones": (lambda x: x + torch.ones_like(x), 1.0),
    "full": (lambda x: x * 2.0 - torch.full_like(x, 3.0), 2.0),
    "view_as": (lambda x: x + x.flatten(1).view_as(x), 2.0),
    "reshape_as": (lambda x: x + x.flatten(1).reshape_as(x), 2.0),
    "type_as": (lambda x: x + (x * 2.0).type_as(x), 3.0),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_tensor_of_which_the_shape_alone_is_read(name: str, export: Any, bound: Any) -> None:
    function, truth = ALIKE[name]
    assert truth <= bound(export(function, (3, 4, 2)), LINF) <= truth * (1 + 1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + (torch.ones(1) * x.shape[0]).expand_as(x),
        lambda x: x * 1.0 + (torch.ones(24) * x.shape[0]).view_as(x[:1]),
        lambda x: x + torch.full_like(x, x.shape[0]),
    ],
)
def test_the_size_of_the_batch_is_no_number(function: Any, export: Any, bound: Any) -> None:
    with pytest.raises((UnsuitableProgram, MixedBatch)):
        bound(export(function, (3, 4, 2)), L2)
