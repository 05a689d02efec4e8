"""Deriving holds the exact costs of one image at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.ir.types import AllOf, Degraded, Program, Property, Query, RadiusQuery, WorstCaseQuery
from robspec.lower import compile_text
from robspec.oracle.scene import Scene
from robspec.recheck import pooled
from robspec.recheck.derive import Deriver
from robspec.recheck.document import Settled, differences
from robspec.recheck.image import Prices
from robspec.recheck.relaxed import Relaxed
from robspec.recheck.spool import Spool
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.semantics.objective import Threshold
from tests.bounds.language import SPEC, metric

F = Fraction
HALF = Threshold(F(0), F(1, 2))
CONSTANT = Constant(F(1), L2, L2, ConstantStatus.PROVED)


def degraded(text: str) -> Degraded:
    return Degraded(metric(text), HALF, strict=False)


QUERIES: dict[str, Query] = {
    "average": WorstCaseQuery(metric("mean_iou"), L2, (F(0), F(1, 2), F(2))),
    "average_far": RadiusQuery(L2, (degraded("mean_iou"),)),
    "weighted": WorstCaseQuery(metric("weighted pixel_accuracy"), L2, (F(1, 2),)),
    "weighted_far": RadiusQuery(L2, (degraded("mean_accuracy"),)),
    "exact_far": RadiusQuery(L2, (degraded("iou[c1]"),)),
    "several": RadiusQuery(L2, (AllOf((degraded("mean_iou"), degraded("mean_accuracy"), degraded("iou[c0]"))),)),
    "pooled": WorstCaseQuery(metric("pooled mean_iou"), L2, (F(1, 2), F(2))),
    "pooled_far": RadiusQuery(L2, (degraded("pooled iou[c1]"),)),
}


def program_of(names: list[str]) -> Program:
    text = SPEC.format(
        channels=3, names="c0, c1, c2", definitions="", metric="iou[c0]", requirement="worst_case >= 0"
    )
    text = text.replace("worst_case >= 0", "mean(worst_case) >= 0")
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    properties = tuple(Property(name, QUERIES[name], ()) for name in names)
    return Program(program.language, program.model, program.data, properties)


def batch(rng: np.random.Generator, images: int) -> dict[str, torch.Tensor]:
    logits = torch.from_numpy(rng.normal(size=(images, 3, 8, 8)).astype(np.float32))
    return {
        "logits": logits,
        "labels": torch.from_numpy(rng.integers(0, 3, (images, 8, 8))),
        "region": torch.ones(images, 8, 8, dtype=torch.bool),
        "weights": torch.from_numpy(rng.integers(1, 9, (images, 8, 8)) / 8),
    }


@contextmanager
def books(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """Every book that is opened; nothing is collected but what no reference keeps alive."""
    opened: list[weakref.ref[Any]] = []
    for kind in (Prices, Relaxed):
        original = kind.__init__

        def remembered(self: Any, *given: Any, _original: Any = original, **named: Any) -> None:
            opened.append(weakref.ref(self))
            _original(self, *given, **named)

        monkeypatch.setattr(kind, "__init__", remembered)
    gc.collect()
    gc.disable()
    try:
        yield opened
    finally:
        gc.enable()


@pytest.mark.parametrize("name", QUERIES)
def test_no_book_outlives_its_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def settle(number: int, image: int, entry: dict[str, Any]) -> Settled:
        nonlocal compared
        compared += len(list(differences({"image": entry["image"]}, entry)))
        # As a comparison does: it asks the claims, and keeps nothing of them.
        for point in entry["points"]:
            claim = point.get("certified") if isinstance(point, dict) else None
            if hasattr(claim, "holds"):
                claim.holds("1/3")
        return Settled(None, ())

    rng = np.random.default_rng(0)
    with books(monkeypatch) as opened:
        deriver = Deriver(program_of([name]), [CONSTANT], settle)
        for number in range(3):
            deriver.add([f"image{2 * number}", f"image{2 * number + 1}"], **batch(rng, 2))
            assert len(opened) >= 2 * (number + 1)
            assert [b for b in opened if b() is not None] == []
        deriver.finish()
        assert [b for b in opened if b() is not None] == []
    assert compared


def test_entries_that_are_kept_hold_their_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart, without which the test above could not fail."""
    with books(monkeypatch) as opened:
        deriver = Deriver(program_of(["average", "weighted_far"]), [CONSTANT] * 2, lambda _, __, entry: entry)
        deriver.add(["image"], **batch(np.random.default_rng(0), 1))
        assert [b for b in opened if b() is not None]


def test_a_pool_keeps_numbers_and_a_file() -> None:
    """No list of costs stays in memory: what is kept of an image does not grow with its pixels."""
    pool = pooled.Pool(Property("p", QUERIES["pooled"], ()), CONSTANT)
    rng = np.random.default_rng(1)
    rest = np.zeros(1024, np.bool_), np.ones(1024, np.bool_), np.ones(1024)
    pool.add(Scene(rng.normal(size=(1024, 3)), rng.integers(0, 3, 1024), *rest, 2))
    assert [len(image) for image in pool._images] == [3]
    # Two digests of 64 letters and some numbers, where the costs of 1024 pixels would be as many numbers.
    assert all(len(repr(part)) < 512 for image in pool._images for part in image)


def test_a_spool_gives_back_the_costs_it_was_given() -> None:
    rng, spool = np.random.default_rng(4), Spool()
    written = []
    for number in range(20):
        big = 2 ** int(rng.integers(1, 300))
        costs = [[F(int(v) * big, int(rng.integers(1, 20))) for v in np.sort(rng.integers(0, 99, n))] for n in (7, 3)]
        a, b = ([c.numerator if c.denominator == 1 else c for c in row] for row in costs)
        if number == 5:
            a, b = [0], [0]
        written.append((spool.write(a, b, F(1, 3)), a, b))
    for place, a, b in reversed(written):
        again_a, again_b, unit = spool.read(place)
        assert [c * unit for c in again_a] == [c * F(1, 3) for c in a]
        assert [c * unit for c in again_b] == [c * F(1, 3) for c in b]


def test_a_spool_that_was_cut_short_is_noticed() -> None:
    spool = Spool()
    place = spool.write([0, 5], [0, 7, 9], F(1))
    spool._file.truncate(3)
    with pytest.raises(OSError, match="shorter"):
        spool.read(place)


def test_what_is_larger_than_64_bits_is_compared_exactly() -> None:
    """Where products do not fit, the least is found in Python's integers."""
    pairs = [(0, 3), (1, 2), (2, 0)]
    front = pooled._Frontier.of((5, 5, 5, 5), pairs)
    for a, b in ((2**62, 2**61), (-(2**70), 3), (2**70 + 1, 2**70), (5, -7), (0, 0)):
        assert a * front.least(a, b)[0] + b * front.least(a, b)[1] == min(a * x + b * y for x, y in pairs)
