"""MATH.md section 5: the constant is proved, not trusted; of random exported networks, at several batch sizes."""

from __future__ import annotations

import pytest

from tests.examples import examples
from tests.property.random_graphs import examine

SEEDS = range(examples(24))


def test_what_is_proved_holds_of_the_network_that_runs() -> None:
    """The graph that runs is the file's bit by bit, no slope exceeds the bound, and company changes nothing."""
    outcomes = [examine(seed) for seed in SEEDS]
    false = [f"seed {o.seed}: {o.detail}" for o in outcomes if o.kind == "false"]
    assert not false, "\n".join(false)
    # Enough of them are proved, and some of these bounds are reached, for the test to mean something.
    assert sum(o.kind == "proved" for o in outcomes) >= len(SEEDS) // 3
    assert max(o.tight for o in outcomes) > 0.9


@pytest.mark.parametrize("seed", [1011, 1015])
def test_what_must_be_refused_is(seed: int) -> None:
    """These two use the batch size as a number."""
    assert examine(seed).kind == "refused E0503"
