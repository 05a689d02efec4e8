"""DETECTION.md D2, D3 and D5: the certificate against everything that an attack can bring about, on small scenes."""

from __future__ import annotations

from fractions import Fraction

from tests.examples import examples
from tests.property.exhausted_scenes import examine, least


def test_nothing_within_reach_is_worse_than_certified_and_mostly_something_attains_it() -> None:
    found = [examine(seed, 4) for seed in range(examples(90))]
    wrong = [f"seed {seed}: {one.detail}" for seed, one in enumerate(found) if one.detail]
    assert not wrong, "\n".join(wrong)
    for name, share in (("fewest right", 0.8), ("most wrong", 0.7), ("most mislabelled", 0.8)):
        asked = [one.equal[name] for one in found if name in one.equal]
        assert len(asked) >= 20
        assert sum(asked) >= share * len(asked), name


def test_the_least_attack_for_an_order_is_a_projection() -> None:
    scores = [Fraction(7), Fraction(5), Fraction(3)]
    two = Fraction(2)
    assert least(scores, (0, 1), two) == 0
    assert least(scores, (1, 0), two) == 2  # both to 6
    assert least(scores, (0, 1, 2), two) == 1  # the last one up to 4
    assert least(scores, (), two) == 9 + 1
    assert least(scores, (1, 0), None) == 1
    assert least(scores, (), None) == 3
