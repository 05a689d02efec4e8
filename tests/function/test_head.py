"""A last sigmoid or softmax is taken off where that changes no decision, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from robspec.function.head import peel
from robspec.function.ranges import output_range
from robspec.function.running import Runner
from robspec.function.settle import settle

Function = Callable[[torch.Tensor], torch.Tensor]


def logits(x: torch.Tensor) -> torch.Tensor:
    """Two classes."""
    return (x - 0.5) * 3.0


def single(x: torch.Tensor) -> torch.Tensor:
    """One logit."""
    return (x[:, :1] - 0.5) * 3.0


PEELED: dict[str, tuple[Function, Function, tuple[str, ...]]] = {
    "sigmoid": (lambda x: torch.sigmoid(logits(x)), logits, ("sigmoid",)),
    "softmax": (lambda x: torch.softmax(logits(x), 1), logits, ("softmax",)),
    "softmax from behind": (lambda x: torch.softmax(logits(x), -3), logits, ("softmax",)),
    "log softmax": (lambda x: torch.log_softmax(logits(x), 1), logits, ("log_softmax",)),
    "twice": (lambda x: torch.softmax(torch.sigmoid(logits(x)), 1), logits, ("softmax", "sigmoid")),
    "under copies": (lambda x: torch.sigmoid(logits(x)).clone().contiguous(), logits, ("sigmoid",)),
    "in place": (lambda x: logits(x).sigmoid_(), logits, ("sigmoid",)),
    "single": (lambda x: torch.sigmoid(single(x)), single, ("sigmoid",)),
    "single twice": (
        lambda x: torch.sigmoid(torch.sigmoid(single(x))),
        lambda x: torch.sigmoid(single(x)),
        ("sigmoid",),
    ),
    "single without an axis": (
        lambda x: torch.sigmoid(single(x)[:, 0, 0, 0]),
        lambda x: single(x)[:, 0, 0, 0],
        ("sigmoid",),
    ),
    "single twice without an axis": (
        lambda x: torch.sigmoid(torch.sigmoid(single(x)[:, 0, 0, 0])),
        lambda x: torch.sigmoid(single(x)[:, 0, 0, 0]),
        ("sigmoid",),
    ),
}
KEPT: dict[str, Function] = {
    "logits": logits,
    "softmax over a line": lambda x: torch.softmax(logits(x), 3),
    "softmax of one channel": lambda x: torch.softmax(single(x), 1),
    "not the last": lambda x: torch.sigmoid(logits(x)) * 2.0,
    "cast": lambda x: torch.sigmoid(logits(x)).double(),
}


@pytest.mark.parametrize("name", PEELED)
def test_what_is_taken_off(export: Any, name: str) -> None:
    whole, under, names = PEELED[name]
    found = peel(settle(export(whole)))
    assert found.peeled == names
    images = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = Runner(found.program, torch.float32, torch.float32, torch.device("cpu")).images_to_logits(images)
        assert torch.equal(got, under(images))
        full = whole(images)
    if name.startswith("single"):
        assert torch.equal(got > 0, full > 0.5) or "twice" in name
    else:
        assert torch.equal(got.argmax(1), full.argmax(1))


def test_the_input_may_be_called_input(export: Any) -> None:
    """As that of every `nn.Sequential` is; torch.fx renames what is called as a builtin of Python."""
    under = torch.nn.Conv2d(2, 2, 1)
    found = peel(settle(export(torch.nn.Sequential(under, torch.nn.Sigmoid()))))
    assert found.peeled == ("sigmoid",)
    images = torch.rand(3, 2, 4, 4)
    with torch.no_grad():
        got = Runner(found.program, torch.float32, torch.float32, torch.device("cpu")).images_to_logits(images)
        assert torch.equal(got, under(images))


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(export: Any, name: str) -> None:
    assert peel(settle(export(KEPT[name]))).peeled == ()


INSIDE: dict[str, tuple[Function, float, float]] = {
    "sigmoid": (lambda x: torch.sigmoid(x), 0.0, 1.0),
    "softmax of one": (lambda x: torch.softmax(x[:, :1], 1), 0.0, 1.0),
    "tanh": (lambda x: (torch.tanh(x) + 1) / 2, 0.0, 1.0),
    "relu": (lambda x: torch.relu(x) * 3, 0.0, float("inf")),
    "negated": (lambda x: -torch.relu(x), -float("inf"), 0.0),
    "square": (lambda x: (x - 1) * (x - 1), -float("inf"), float("inf")),
    "distance": (lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True), 0.0, float("inf")),
    "clamped": (lambda x: torch.clamp(x, 0, 1), 0.0, 1.0),
    "pooled": (lambda x: torch.nn.functional.avg_pool2d(torch.sigmoid(x), 3, 1, 1), 0.0, 1.0),
    "up": (lambda x: torch.nn.functional.interpolate(torch.sigmoid(x), scale_factor=2, mode="bilinear"), 0.0, 1.0),
    "one minus": (lambda x: 1 - torch.sigmoid(x), 0.0, 1.0),
    "log": (lambda x: torch.nn.functional.logsigmoid(x), -float("inf"), 0.0),
    "logit": (lambda x: x - 0.5, -float("inf"), float("inf")),
    "shifted": (lambda x: torch.sigmoid(x) - 0.5, -0.5, 0.5),
}


@pytest.mark.parametrize("name", INSIDE)
def test_ranges(export: Any, name: str) -> None:
    function, low, high = INSIDE[name]
    found = output_range(settle(export(function)))
    assert found == (low, high)
    images = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 10
    values = function(images)
    assert found[0] <= float(values.min())
    assert float(values.max()) <= found[1]
