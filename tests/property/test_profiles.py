"""`make test-deep` multiplies the examples of every property test, and every built-in metric is among them."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import settings

from tests.examples import DEFAULT, WRITTEN, examples
from tests.property.questions import OF_LABELS, TEXTS

TESTS = Path(__file__).parents[1]


def test_the_deep_profile_runs_at_least_20_times_the_examples() -> None:
    assert settings.get_profile("deep").max_examples >= 20 * settings.get_profile("default").max_examples
    assert settings.get_profile("default").max_examples == DEFAULT
    assert examples(WRITTEN) == settings().max_examples


def test_no_test_fixes_its_number_of_examples() -> None:
    """A number written out would be the same in both profiles: `examples(n)` is not."""
    fixed = re.compile(r"max_examples=\d")
    assert [p.name for p in sorted(TESTS.rglob("test_*.py")) if fixed.search(p.read_text())] == []


def test_every_built_in_metric_is_drawn() -> None:
    assert {re.split(r"[(\[ ]", text)[0] for text in TEXTS} == {info.name for info in OF_LABELS}
