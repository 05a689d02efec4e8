"""Python numbers and tensors of other types count as the file's own type makes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from robspec.function.literals import computed_in, rounded_number, rounded_tensor, with_rounded_numbers
from robspec.function.nodes import operation, plain

F = torch.nn.functional
TENTH = float(torch.tensor(0.1))
HALF_TENTH = float(torch.tensor(0.1, dtype=torch.float16))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (0.1, torch.float32, TENTH),
        (0.1, torch.float16, HALF_TENTH),
        (0.1, torch.float64, 0.1),
        (0.5, torch.float16, 0.5),
        (16_777_217, torch.float32, 16_777_216.0),
        (16_777_217, torch.float64, 16_777_217),
        (2**53 + 1, torch.float64, float(2**53)),
        (70_000, torch.float16, 70_000),
        (1e39, torch.float32, 1e39),
        (2**70, torch.float32, 2**70),
        (math.inf, torch.float32, math.inf),
        (True, torch.float32, True),
        ("mean", torch.float32, "mean"),
        (None, torch.float32, None),
    ],
)
def test_a_number(value: object, dtype: torch.dtype, expected: object) -> None:
    found = rounded_number(value, dtype)
    assert (found, type(found)) == (expected, type(expected))


def test_a_number_that_is_held_stays_the_very_number() -> None:
    for value in (3, 2**24, 1.5):
        assert rounded_number(value, torch.float32) is value
    assert math.isnan(rounded_number(math.nan, torch.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (torch.float64, torch.float32, torch.float32),
        (torch.float32, torch.float32, torch.float32),
        (torch.float16, torch.float32, torch.float16),
        (torch.float16, torch.bfloat16, torch.bfloat16),
        (torch.int64, torch.float32, torch.float32),
        (torch.bool, torch.float32, torch.bool),
        (torch.complex64, torch.float32, torch.complex64),
    ],
)
def test_a_tensor(source: torch.dtype, target: torch.dtype, expected: torch.dtype) -> None:
    tensor = torch.ones(3).to(source)
    found = rounded_tensor(tensor, target)
    assert found.dtype == expected
    assert (found is tensor) == (expected == source)


def last(export: Any, function: Callable[[Tensor], Tensor], name: str) -> fx.Node:
    """The only node of an operation."""
    (node,) = [n for n in export(function).graph.nodes if n.op == "call_function" and plain(operation(n)) == name]
    return node


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("add", lambda x: x + 1, torch.float32),
        ("gt", lambda x: torch.where(x > 0.1, x, x * 2.0), torch.float32),
        ("to", lambda x: x.to(torch.float64), torch.float64),
        ("sort", lambda x: x.sort(1)[0], torch.float32),
        ("argmax", lambda x: x + x.argmax(1, keepdim=True), torch.float32),
        ("logical_not", lambda x: torch.where(torch.logical_not(x > 0.1), x, x * 2.0), None),
    ],
)
def test_the_type_an_operation_computes_in(
    export: Any, name: str, function: Callable[[Tensor], Tensor], expected: torch.dtype | None
) -> None:
    assert computed_in(last(export, function, name)) == expected


WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], tuple[object, ...], dict[str, object]]] = {
    "add": (lambda x: x + 0.1, (TENTH,), {}),
    "mul": (lambda x: x * 0.1, (TENTH,), {}),
    "clamp": (lambda x: torch.clamp(x, 0.1, 0.5), (TENTH, 0.5), {}),
    "gt": (lambda x: torch.where(x > 0.1, x, x * 2.0), (TENTH,), {}),
    "softplus": (lambda x: F.softplus(x, 0.1, 20.0), (TENTH,), {"threshold": 40.0}),
    "sum": (lambda x: x.sum(1, keepdim=True), ([1], True), {}),
    "constant_pad_nd": (lambda x: torch.constant_pad_nd(x, [1, 1], 0.1), ([1, 1], TENTH), {}),
    "pad": (lambda x: F.pad(x, [1, 1], value=0.1), ([1, 1], "constant", TENTH), {}),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), ([2, 2], [], [0, 0], False, True, 3), {}),
    "full_like": (lambda x: torch.full_like(x, 0.1) + x, (TENTH,), {}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_arguments_as_the_graph_computes_with_them(export: Any, name: str) -> None:
    function, numbers, named = WRITTEN[name]
    node = last(export, function, name)
    args, kwargs = with_rounded_numbers(node)
    assert args[0] is node.args[0]
    assert args[1:] == numbers
    assert {key: kwargs[key] for key in named} == named
    assert set(kwargs) - set(named) <= set(node.kwargs)


def test_a_number_left_to_its_default_is_rounded_like_one_written_out(export: Any) -> None:
    """The slope of LeakyReLU is 0.01 where nothing is said, and float32 has another 0.01 than float64."""
    node = last(export, F.leaky_relu, "leaky_relu")
    args, kwargs = with_rounded_numbers(node)
    assert args == node.args
    assert kwargs == {"negative_slope": float(np.float32(0.01))}


def test_what_has_no_floating_type_is_left_as_it_is(export: Any) -> None:
    node = last(export, lambda x: x + torch.zeros([x.shape[0], 2, 4, 4], dtype=torch.int64).add(7), "zeros")
    assert with_rounded_numbers(node) == (node.args, dict(node.kwargs))
