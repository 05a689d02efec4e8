"""Operations on sizes against themselves at many batch sizes: what is followed is right, the rest is not followed."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
import torch
from torch import fx

from robspec.lipschitz.batch import Count, Opaque, Spread, follow, parts, same_for_all, traced

ATEN = torch.ops.aten
SIZES = (1, 2, 3, 5, 8)
B, TWO_B, THREE_B = Count(1), Count(2), Count(3)
RAMP = torch.arange(6.0).reshape(1, 2, 3)
ROWS = Spread(RAMP, 0, 1)
"""[B, 2, 3]"""
DOUBLE = Spread(RAMP.reshape(2, 1, 3), 1, 2)
"""[2, 2 B, 3]"""
LAST = Spread(torch.tensor([[1.0], [2.0]]), 1, 1)
"""[2, B]"""


def asked(target: Any, *args: Any, **keywords: Any) -> object:
    """Follow one call; every Count and Spread, and every tensor, is a node of its own, as in a graph."""
    graph = fx.Graph()
    known: dict[fx.Node, object] = {}

    def put(value: Any) -> Any:
        if isinstance(value, Count | Spread | torch.Tensor | Opaque):
            node = graph.placeholder(f"value_{len(known)}")
            known[node] = value
            return node
        if isinstance(value, list | tuple):
            return type(value)(put(item) for item in value)
        return value

    given = tuple(put(a) for a in args)
    node = graph.call_function(target, given, {name: put(item) for name, item in keywords.items()})
    return follow(node, known.__getitem__)


def at(value: Any, batch: int) -> Any:
    """A value written out for one batch size."""
    if isinstance(value, list | tuple):
        return type(value)(at(item, batch) for item in value)
    return traced(value, batch)


FOLLOWED: dict[str, tuple[Any, ...]] = {
    "index": (operator.index, B),
    "pos": (operator.pos, TWO_B),
    "sym_int": (torch.sym_int, B),
    "times a number": (operator.mul, B, 3),
    "a number times": (operator.mul, 4, TWO_B),
    "times 1": (operator.mul, B, 1),
    "times 0": (operator.mul, B, 0),
    "plus 0": (operator.add, B, 0),
    "0 plus": (operator.add, 0, TWO_B),
    "minus 0": (operator.sub, THREE_B, 0),
    "sum": (operator.add, B, TWO_B),
    "difference": (operator.sub, THREE_B, B),
    "nothing left": (operator.sub, TWO_B, TWO_B),
    "quotient of two": (operator.floordiv, THREE_B, B),
    "rounded quotient of two": (operator.floordiv, THREE_B, TWO_B),
    "exact quotient of two": (operator.truediv, B, TWO_B),
    "remainder of two": (operator.mod, TWO_B, B),
    "quotient": (operator.floordiv, Count(6), 3),
    "quotient by 1": (operator.floordiv, B, 1),
    "remainder": (operator.mod, Count(6), 2),
    "larger": (torch.sym_max, B, TWO_B),
    "smaller": (torch.sym_min, B, TWO_B),
    "fixed numbers": (operator.add, 2, 3),
    "side of images": (ATEN.sym_size.int, DOUBLE, 1),
    "side of images from behind": (ATEN.sym_size.int, DOUBLE, -2),
    "another side": (ATEN.sym_size.int, DOUBLE, 2),
    "number of entries": (ATEN.sym_numel.default, DOUBLE),
    "number of no entries": (ATEN.sym_numel.default, Spread(torch.empty(1, 0), 0, 2)),
    "zeros": (ATEN.zeros.default, [B, 2]),
    "ones": (ATEN.ones.default, [3, TWO_B]),
    "full": (ATEN.full.default, [B, 2], 7.0),
    "new zeros": (ATEN.new_zeros.default, RAMP, [2, B]),
    "new ones": (ATEN.new_ones.default, RAMP, [THREE_B]),
    "new full": (ATEN.new_full.default, RAMP, [B], 2.0),
    "expand": (ATEN.expand.default, torch.ones(1, 3), [B, 3]),
    "expand by an axis": (ATEN.expand.default, torch.arange(3.0), [TWO_B, 3]),
    "expand further": (ATEN.expand.default, Spread(torch.ones(1, 1), 0, 1), [B, 4]),
    "expand by an axis further": (ATEN.expand.default, LAST, [3, 2, -1]),
    "expand to the same": (ATEN.expand.default, DOUBLE, [2, TWO_B, 3]),
    "broadcast": (ATEN.broadcast_to.default, torch.ones(1, 3), [B, 3]),
    "repeat": (ATEN.repeat.default, torch.arange(3.0).reshape(1, 3), [B, 2]),
    "repeat by an axis": (ATEN.repeat.default, torch.arange(3.0), [TWO_B, 1]),
    "repeat further": (ATEN.repeat.default, ROWS, [1, 2, 1]),
    "repeat by an axis further": (ATEN.repeat.default, LAST, [3, 1, 1]),
    "entry by entry": (ATEN.add.Tensor, ROWS, 1.5),
    "two of them": (ATEN.mul.Tensor, ROWS, Spread(torch.ones(1, 2, 3) * 2, 0, 1)),
    "of other ranks": (ATEN.mul.Tensor, Spread(torch.ones(4, 1, 2, 3), 1, 1), ROWS),
    "with a fixed one": (ATEN.mul.Tensor, ROWS, torch.arange(3.0)),
    "with a fixed one of one slice": (ATEN.mul.Tensor, ROWS, torch.arange(6.0).reshape(1, 2, 3)),
    "in place": (ATEN.add_.Tensor, ROWS, 1.0),
    "like": (ATEN.zeros_like.default, DOUBLE),
    "clone": (ATEN.clone.default, DOUBLE),
    "alias": (ATEN.alias.default, DOUBLE),
    "detach": (ATEN.detach.default, DOUBLE),
    "contiguous": (ATEN.contiguous.default, DOUBLE),
    "cast": (ATEN._to_copy.default, DOUBLE),
    "cat": (ATEN.cat.default, [ROWS, ROWS], 1),
    "cat from behind": (ATEN.cat.default, [ROWS, ROWS], -1),
    "cat before images": (ATEN.cat.default, [DOUBLE, DOUBLE]),
    "stack before": (ATEN.stack.default, [ROWS, ROWS], 0),
    "stack behind": (ATEN.stack.default, [ROWS, ROWS], 1),
    "stack last": (ATEN.stack.default, [DOUBLE, DOUBLE], -1),
    "stack first": (ATEN.stack.default, [ROWS, ROWS]),
    "unsqueeze before": (ATEN.unsqueeze.default, ROWS, 0),
    "unsqueeze behind": (ATEN.unsqueeze.default, ROWS, 1),
    "unsqueeze last": (ATEN.unsqueeze.default, ROWS, -1),
    "permute": (ATEN.permute.default, DOUBLE, [2, 0, -2]),
    "transpose images": (ATEN.transpose.int, DOUBLE, 0, -2),
    "transpose others": (ATEN.transpose.int, DOUBLE, 0, 2),
    "slice": (ATEN.slice.Tensor, ROWS, 2, 1, 3),
    "narrow": (ATEN.narrow.default, ROWS, -1, 1, 2),
    "select before": (ATEN.select.int, DOUBLE, 0, 1),
    "select behind": (ATEN.select.int, DOUBLE, 2, -1),
    "flip others": (ATEN.flip.default, ROWS, [1, -1]),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_followed_is_right_at_every_size(name: str) -> None:
    target, *args = FOLLOWED[name]
    found = asked(target, *args)
    assert not isinstance(found, Opaque)
    for batch in SIZES:
        copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in at(args, batch)]
        expected, said = target(*copies), traced(found, batch)
        if isinstance(expected, torch.Tensor):
            assert isinstance(said, torch.Tensor)
            assert said.dtype == expected.dtype
            assert torch.equal(said, expected)
        else:
            assert said == expected
            assert type(said) is type(expected)


NOT_FOLLOWED: dict[str, tuple[Any, ...]] = {
    "plus 1": (operator.add, B, 1),
    "minus 2": (operator.sub, B, 2),
    "0 minus": (operator.sub, 0, B),
    "negative factor": (operator.mul, B, -1),
    "factor that is no whole number": (operator.mul, B, 0.5),
    "factor that is a truth": (operator.mul, B, True),
    "square": (operator.mul, B, B),
    "more than there is": (operator.sub, B, TWO_B),
    "rounded quotient": (operator.floordiv, B, 2),
    "quotient by less than 0": (operator.floordiv, B, -1),
    "a number divided": (operator.floordiv, 6, B),
    "exact quotient": (operator.truediv, B, 2),
    "odd remainder": (operator.mod, B, 2),
    "remainder of two that is left": (operator.mod, THREE_B, TWO_B),
    "comparison": (operator.gt, B, 3),
    "comparison of two": (operator.gt, B, TWO_B),
    "negation": (operator.neg, B),
    "root": (math.sqrt, B),
    "larger than a number": (torch.sym_max, B, 3),
    "index of three": (operator.index, B, B, B),
    "places": (ATEN.arange.default, B),
    "the size of a fixed tensor at a counted place": (ATEN.sym_size.int, RAMP, B),
    "filled with the size": (ATEN.full.default, [B, 2], B),
    "two counted sides": (ATEN.zeros.default, [B, B]),
    "new, filled with the size": (ATEN.new_full.default, RAMP, [B], TWO_B),
    "expand a ramp": (ATEN.expand.default, Spread(torch.ones(1, 1), 0, 1), [TWO_B, 4]),
    "expand to another side": (ATEN.expand.default, Spread(torch.ones(1, 1), 0, 1), [B, THREE_B]),
    "expand a fixed side": (ATEN.expand.default, torch.ones(3, 1), [B, 3]),
    "expand twice": (ATEN.expand.default, torch.ones(1, 1), [B, B]),
    "repeat images": (ATEN.repeat.default, ROWS, [2, 1, 1]),
    "repeat by images": (ATEN.repeat.default, ROWS, [B, 1, 1]),
    "repeat a ramp": (ATEN.repeat.default, torch.arange(3.0), [B]),
    "repeat twice": (ATEN.repeat.default, torch.ones(1, 1), [B, B]),
    "times the size": (ATEN.mul.Scalar, ROWS, B),
    "of other places": (ATEN.add.Tensor, ROWS, Spread(torch.ones(1, 1, 3), 1, 2)),
    "of other counts": (ATEN.add.Tensor, Spread(torch.ones(1), 0, 1), Spread(torch.ones(1), 0, 2)),
    "with a fixed one of as many": (ATEN.mul.Tensor, ROWS, torch.ones(5, 1, 1)),
    "cat of images": (ATEN.cat.default, [ROWS, ROWS]),
    "cat with a fixed one": (ATEN.cat.default, [ROWS, torch.ones(5, 2, 3)], 1),
    "cat of other places": (ATEN.cat.default, [ROWS, DOUBLE], 2),
    "stack with a fixed one": (ATEN.stack.default, [ROWS, torch.ones(5, 2, 3)], 0),
    "slice of images": (ATEN.slice.Tensor, ROWS, 0, 0, 1),
    "slice from the size": (ATEN.slice.Tensor, ROWS, 1, 0, B),
    "one image": (ATEN.select.int, DOUBLE, 1, 0),
    "narrow images": (ATEN.narrow.default, ROWS, 0, 0, 1),
    "images turned around": (ATEN.flip.default, ROWS, [1, 0]),
    "summed": (ATEN.sum.dim_IntList, ROWS, [0]),
    "running sum": (ATEN.cumsum.default, ROWS, 0),
    "reshaped": (ATEN.reshape.default, ROWS, [B, 6]),
}


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_says_so(name: str) -> None:
    target, *args = NOT_FOLLOWED[name]
    found = asked(target, *args)
    assert isinstance(found, Opaque)
    spread = any(isinstance(item, Spread) for item in parts(args))
    assert (
        "need not say the same of every image" if spread else "is no plain multiple of the batch size"
    ) in found.why


def test_named_arguments() -> None:
    found = asked(ATEN.cat.default, [ROWS, ROWS], dim=2)
    assert isinstance(found, Spread)
    assert torch.equal(found.at(2), torch.cat([ROWS.at(2)] * 2, 2))
    filled = asked(ATEN.zeros.default, [B], dtype=torch.int64)
    assert isinstance(filled, Spread)
    assert filled.template.dtype == torch.int64
    cast = asked(ATEN._to_copy.default, ROWS, dtype=torch.float64)
    assert isinstance(cast, Spread)
    assert cast.template.dtype == torch.float64
    assert isinstance(asked(ATEN.expand.default, ROWS, [-1, 2, 3], implicit=True), Opaque)
    assert isinstance(asked(ATEN.slice.Tensor, ROWS, dim=1, start=0, end=1), Opaque)
    scaled = asked(ATEN.add.Tensor, ROWS, ROWS, alpha=B)
    assert isinstance(scaled, Opaque)


def test_what_cannot_be_known_is_not_known() -> None:
    before = Opaque("for a reason")
    assert asked(operator.add, before, 1) is before
    assert asked(ATEN.add.Tensor, ROWS, before) is before
    drawn = asked(ATEN.rand.default, [2, 3])
    assert isinstance(drawn, Opaque)
    assert "at random" in drawn.why
    assert isinstance(asked(ATEN.bernoulli.default, ROWS), Opaque)
    for empty in (asked(ATEN.empty.memory_format, [2]), asked(ATEN.new_empty.default, RAMP, [B])):
        assert isinstance(empty, Opaque)
        assert "nobody filled" in empty.why


def test_fixed_tensors_are_computed_on_copies() -> None:
    fixed = torch.zeros(2)
    found = asked(ATEN.add_.Tensor, fixed, 1.0)
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [1.0, 1.0]
    assert fixed.tolist() == [0.0, 0.0]
    beside = torch.zeros(1)
    asked(ATEN.add_.Tensor, ROWS, beside)
    assert ROWS.template is RAMP
    assert RAMP.flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_same_for_every_place() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    assert same_for_all(rows, 0)
    assert not same_for_all(rows, 1)
    assert same_for_all(torch.ones(1, 3), 0)
    assert same_for_all(torch.ones(0, 3), 0)
    assert not same_for_all(torch.tensor([[1.0], [math.nan]]), 0)


def test_axes_are_counted_from_the_right() -> None:
    assert [ROWS.from_right, DOUBLE.from_right, LAST.from_right] == [3, 2, 1]
    assert list(DOUBLE.at(4).shape) == [2, 8, 3]
