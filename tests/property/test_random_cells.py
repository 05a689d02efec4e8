"""A few of the problems that `python -m tests.property.random_cells` draws by the thousand."""

from __future__ import annotations

import os

from tests.property.random_cells import one


def test_no_attack_on_coarse_logits_flips_more_than_is_certified() -> None:
    count = 2000 if os.environ.get("ROBSPEC_HYPOTHESIS") == "deep" else 60
    found = [one(seed) for seed in range(count)]
    assert not [outcome for outcome in found if outcome.wrong]
    # The attack is worth its name: it flips something in most problems where anything may flip, and somewhere all.
    within_reach = [outcome for outcome in found if outcome.certified > 0]
    assert len(within_reach) > count // 6
    assert sum(outcome.flipped > 0 for outcome in within_reach) > 2 * len(within_reach) // 3
    assert any(outcome.flipped == outcome.certified for outcome in within_reach)
