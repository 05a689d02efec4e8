"""What a rule reads of its node: nothing that is absent is guessed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import fx

from robspec.errors import RobspecError
from robspec.function.errors import UnsuitableProgram
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.semantics.norm import L2


def call(**arguments: object) -> Call:
    node = fx.Graph().placeholder("x")
    return Call(node, "leaky_relu", arguments, ((1, 3),), 2, L2, "here", (torch.float32,), lambda _: None)


@pytest.mark.parametrize(
    "ask", [Call.number, Call.size, Call.integer, lambda c, name: c.integers(name, 2)], ids="nsil"
)
def test_what_is_absent_has_no_default(ask: Callable[[Call, str], object]) -> None:
    """The walk fills in what torch's schema says; a rule that asks for another name must not go on with a guess."""
    with pytest.raises(NoGlobalConstant, match="argument slope is not a"):
        ask(call(negative_slope=0.5), "slope")
    with pytest.raises(NoGlobalConstant, match="argument slope is not a"):
        ask(call(slope=None), "slope")


@pytest.mark.parametrize("value", [Constant(3, sized=True), [1, Constant(3, sized=True)]], ids=["one", "list"])
def test_what_depends_on_the_batch_size_is_no_number(value: object) -> None:
    for ask in (Call.get, Call.number, Call.integer, lambda c, name: c.integers(name, 2)):
        with pytest.raises(UnsuitableProgram, match="depends on the batch size"):
            ask(call(slope=value), "slope")


def test_numbers_are_read_as_given() -> None:
    given = call(whole=3, half=Constant(torch.tensor(0.5)), pair=[2, Constant(5)], one=7, empty=[])
    assert (given.integer("whole"), given.number("whole"), given.number("half")) == (3, 3.0, 0.5)
    assert (given.integers("pair", 2), given.integers("one", 3), given.integers("empty", 0)) == ((2, 5), (7,) * 3, ())
    assert given.get("nowhere") is None
    # A third is rounded to float32: its size covers both.
    third = call(x=1 / 3).size("x")
    assert float(torch.tensor(1 / 3, dtype=torch.float32)) <= third <= 1 / 3 * (1 + 2**-24)


@pytest.mark.parametrize(
    ("ask", "value"),
    [
        (Call.number, math.inf),
        (Call.number, math.nan),
        (Call.number, torch.ones(2)),
        (Call.integer, True),
        (Call.integer, 2.0),
        (lambda c, name: c.integers(name, 2), []),
        (lambda c, name: c.integers(name, 2), [1, 2.0]),
    ],
)
def test_numbers_that_are_none_are_refused(ask: Callable[[Call, str], object], value: object) -> None:
    with pytest.raises(RobspecError, match="argument x is not a"):
        ask(call(x=value), "x")
