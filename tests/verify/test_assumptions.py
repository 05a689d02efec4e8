"""The advice to stand on an assumption is given only where some constant could hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robspec.lower import compile_text
from robspec.verify.constant import establish
from robspec.verify.errors import NotProvableError
from tests.lipschitz.conftest import Function, _export

SPEC = """language 1
model {
  input image [2, 2, 2] in [0, 1]
  output logits [2, 2, 2]
  classes a, b
}
data d {
  images "i/*.png"
}
property p {
  metric stability
  norm l2
  budget 1
  require mean(worst_case) >= 0
}
"""
JUMP: dict[str, Callable[[Tensor], Tensor]] = {
    "round": torch.round,
    "sign": torch.sign,
    "remainder": lambda x: torch.remainder(x, 0.3),
    "threshold": lambda x: torch.nn.functional.threshold(x, 0.5, 20.0),
    "positions": lambda x: x.sort(1)[1].float(),
    "integers": lambda x: x.int().float(),
}
MAY_BE_BOUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "square": lambda x: x * x,
    "exp": torch.exp,
    "a choice written out": lambda x: torch.where(x > 0.5, x, 0.5),
}


@pytest.mark.parametrize("name", [*JUMP, *MAY_BE_BOUNDED])
def test_a_function_that_jumps_has_no_constant_to_assume(name: str) -> None:
    program, _ = compile_text(SPEC)
    assert program is not None
    graph = _export(Function({**JUMP, **MAY_BE_BOUNDED}[name]), (2, 2, 2))
    with pytest.raises(NotProvableError) as refused:
        establish(program, graph, assume=None)
    assert ("--assume-lipschitz" in refused.value.mend) == (name in MAY_BE_BOUNDED)
