"""What of a batch a metric sees, and which logits no bound is computed from."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import LARGEST_LOGIT, LEFT_OUT, Context, doubles
from robspec.bounds.search import meets, radii, radius
from robspec.kernels.knapsack import Items, LogitsBatch
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from tests.bounds.language import metric
from tests.kernels.available import CPU

F = Fraction
ACCURACY = metric("pixel_accuracy")
LABELS = torch.tensor([[[0, 1, 2, 255]]])
LOGITS = torch.tensor([[3.0, 1, 0], [0, 2, 1], [4, 0, 1], [0, 0, 1]]).T.reshape(1, 3, 1, 4)
REGION = torch.tensor([[[True, False, True, True]]])


def test_labels_left_out_by_the_ignored_label_a_region_and_a_mask() -> None:
    seen = Context(CPU, LOGITS, LABELS, 255, REGION)
    inside, masked = replace(ACCURACY, region=(1, 2)), replace(ACCURACY, region_mask=True)
    both = replace(inside, region_mask=True)
    out = LEFT_OUT
    for asked, annotated, expected in (
        (ACCURACY, True, [0, 1, 2, out]),
        (inside, True, [out, 1, 2, out]),
        (inside, False, [out, 1, 2, out]),
        (masked, True, [0, out, 2, out]),
        (masked, False, [0, out, 2, 255]),
        (both, True, [out, out, 2, out]),
        (replace(ACCURACY, region=(2, 255)), False, [out, out, 2, out]),
    ):
        found = seen.seen(asked, annotated=annotated)
        assert found is not None
        assert found.tolist() == [[expected]]
    assert seen.seen(ACCURACY, annotated=False) is None
    # Nothing ignored.
    all_of_it = Context(CPU, LOGITS, LABELS, None).seen(ACCURACY)
    assert all_of_it is not None
    assert all_of_it.tolist() == LABELS.tolist()
    # Remembered, each apart.
    assert seen.seen(inside) is seen.seen(inside)
    assert seen.seen(masked) is not seen.seen(masked, annotated=False)


@pytest.mark.parametrize("ignore", [255, LEFT_OUT])
def test_ignored_pixels_of_a_region_keep_their_prediction_or_not(ignore: int) -> None:
    """Whatever number says that a pixel is ignored: `map ... to ignored` makes it that of what is left out."""
    logits = torch.tensor([[0.0, 0, 0, 0], [5, 5, 0.1, 0.1]]).reshape(1, 2, 1, 4)
    labels = torch.tensor([[[1, 1, ignore, ignore]]])
    one = Constant(F(1), L2, L2, ConstantStatus.PROVED)
    asked = replace(metric("stability", 2), region_mask=True)
    weighted = replace(metric("weighted stability", 2), region_mask=True)
    for first, expected in ((False, F(1, 3)), (True, F(1, 2))):
        region = torch.tensor([[[first, True, True, True]]])
        seen = Context(CPU, logits, labels, ignore, region, torch.ones(1, 1, 4, dtype=torch.float64))
        assert open_bound(asked, seen, one).clean() == [1]
        assert open_bound(asked, seen, one).worst_case([F(1, 5)]) == [(expected,)]
        found = open_bound(weighted, seen, one).worst_case([F(1, 5)])[0][0]
        assert found is not None
        assert found <= expected


def test_what_is_needed_and_missing_is_said() -> None:
    bare = Context(CPU, LOGITS, None, 255)
    for asked, annotated in ((ACCURACY, True), (replace(ACCURACY, region=(1,)), False)):
        with pytest.raises(ValueError, match="needs labels"):
            bare.seen(asked, annotated=annotated)
    masked = replace(ACCURACY, region_mask=True)
    with pytest.raises(ValueError, match="region files"):
        bare.seen(masked, annotated=False)
    found = Context(CPU, LOGITS, None, 0, REGION).seen(masked, annotated=False)
    assert found is not None
    assert found.tolist() == [[[0, LEFT_OUT, 0, 0]]]
    assert found.dtype == torch.int64


def test_counts_by_what_is_compared() -> None:
    seen = Context(CPU, LOGITS, LABELS, 255, REGION)
    correct, predicted = seen.prepared(ACCURACY, Items.CORRECT), seen.prepared(ACCURACY, Items.PREDICTED)
    assert (correct.items.tolist(), correct.valid.tolist()) == ([2], [3])
    assert (predicted.items.tolist(), predicted.valid.tolist()) == ([4], [4])
    masked = replace(ACCURACY, region_mask=True)
    assert seen.prepared(masked, Items.PREDICTED).valid.tolist() == [3]
    assert seen.prepared(masked, Items.CORRECT).valid.tolist() == [2]
    assert seen.prepared(masked, Items.CORRECT) is seen.prepared(masked, Items.CORRECT)
    assert len(seen) == 1
    assert seen.classes == 3
    assert Context(CPU, LOGITS[:, :1], LABELS, 255).classes == 2


def test_a_class_set_is_read_once_for_each_way_of_pricing_it() -> None:
    seen = Context(CPU, LOGITS, LABELS, 255)
    water = seen.one_class(ACCURACY, (1,), water=True)
    assert water.enter_squared
    assert seen.one_class(ACCURACY, (1,), water=True) is water
    pair = seen.one_class(ACCURACY, (1,), water=False)
    assert not pair.enter_squared
    assert not seen.by_pairs().one_class(ACCURACY, (1,), water=True).enter_squared
    everything = Context(CPU, LOGITS, LABELS, 255, REGION, REGION.double()).by_pairs()
    assert everything.labels is LABELS
    assert everything.region is REGION
    assert everything._ignore == 255
    assert everything.weights is not None
    assert everything._water is False
    two = seen.one_class(ACCURACY, (0, 2), water=True)
    assert (two.tp.tolist(), two.fn.tolist(), two.fp.tolist(), two.tn.tolist()) == ([2], [0], [0], [1])
    halved = seen.one_class(ACCURACY, (0,), water=False, share=0.5)
    plain = seen.one_class(ACCURACY, (0,), water=False)
    assert halved is not plain
    assert halved.lists(0)[0].tolist()[0] < plain.lists(0)[0].tolist()[0]
    whole = seen.one_class(ACCURACY, (0,), water=False, share=0.5, whole=True)
    assert whole is not halved


def test_logits_no_bound_is_computed_from() -> None:
    big = LARGEST_LOGIT
    rows = [
        ([0.0, 1.0], True),
        ([-big, big], True),
        ([big * 1.001, 0.0], False),
        ([0.0, -big * 1.001], False),
        ([float("nan"), 0.0], False),
        ([0.0, float("inf")], False),
        ([-float("inf"), 0.0], False),
    ]
    logits = torch.tensor([r for r, _ in rows], dtype=torch.float64).reshape(len(rows), 2, 1, 1)
    assert list(Context(CPU, logits, None, None).finite()) == [ok for _, ok in rows]
    assert list(Context(CPU, torch.full((2, 2, 1, 1), 3e38), None, None).finite()) == [True, True]


def test_doubles_keep_every_value() -> None:
    values = torch.tensor([0.1, 2.0], dtype=torch.float32, requires_grad=True)
    assert doubles(values).tolist() == [float(torch.tensor(0.1)), 2.0]
    assert str(doubles(values).dtype) == "float64"


def test_an_objective_met_in_either_sense() -> None:
    fnr = metric("fnr[c1]")
    for value, strict, higher, lower in (
        (F(1, 2), False, True, True),
        (F(1, 2), True, False, False),
        (F(1, 3), False, True, False),
        (F(1, 3), True, True, False),
        (F(2, 3), False, False, True),
        (F(2, 3), True, False, True),
    ):
        assert meets(ACCURACY, value, F(1, 2), strict=strict) is higher
        assert meets(fnr, value, F(1, 2), strict=strict) is lower


def test_a_radius_without_a_closed_form_ends_at_the_last_double_that_certifies() -> None:
    falls = lambda eps: F(1) if eps <= F(1, 3) else F(0)  # noqa: E731
    for guess in (1.0, 1e-9, 1e9):
        assert radius(ACCURACY, F(1), F(0), F(1, 2), falls, strict=False, guess=guess) == F(
            float(F(1, 3))
        )  # 1/3 rounds down
    assert radius(ACCURACY, F(1, 2), F(0), F(1, 2), falls, strict=False) == 0
    assert radius(ACCURACY, F(1), F(2, 3), F(1, 2), falls, strict=False) == float("inf")
    half = lambda eps: F(1) if eps <= F(1, 3) else F(1, 2)  # noqa: E731
    assert radius(ACCURACY, F(1), F(1, 2), F(1, 2), half, strict=True) == float("inf")
    assert radius(ACCURACY, F(1), F(1, 2), F(1, 2), half, strict=False) == F(float(F(1, 3)))


def test_a_strict_objective_is_not_met_on_the_plateau_at_its_threshold() -> None:
    steps = lambda eps: F(1) if eps <= F(1, 4) else F(1, 2) if eps <= F(3, 4) else F(0)  # noqa: E731
    assert radius(ACCURACY, F(1), F(0), F(1, 2), steps, strict=False) == F(1, 4)
    assert radius(ACCURACY, F(1), F(0), F(1, 2), steps, strict=True) == F(3, 4)


def test_images_after_one_without_a_value_have_radii() -> None:
    found = radii(
        ACCURACY,
        Constant(F(1), L2, L2, ConstantStatus.PROVED),
        [None, "no value", "image"],
        [(F(1, 2), None), (F(1, 2),), (F(1, 2), None, F(1), F(-1))],
        clean=lambda i: None if i == "no value" else F(1),
        hopeless=lambda _: F(0),
        worst=lambda _, eps: max(F(0), 1 - eps / 4),
        strict=False,
    )
    largest = F(math.nextafter(2.0, 0.0))
    assert found == [(None, None), (None,), (largest, None, F(0), math.inf)]


def test_the_same_batch_with_other_logits_or_by_pairs() -> None:
    """What is compared differs in the one thing that it is compared for."""
    detector, scenes = object(), (object(),)
    seen = Context(CPU, LOGITS, LABELS, 255, REGION, REGION.double(), scenes=(detector, scenes))  # type: ignore[arg-type]
    assert seen.detections() == (detector, scenes)
    others = LOGITS + 1
    for like, logits, water in (
        (seen.of(others), others, True),
        (seen.by_pairs(), LOGITS, False),
        (seen.by_pairs().of(others), others, False),
        (seen.full_size(), LOGITS, True),
        (seen.by_pairs().full_size(), LOGITS, False),
    ):
        assert like.logits is logits
        assert like._water is water
        assert (like.labels, like.region, like.weights) == (seen.labels, seen.region, seen.weights)
        assert (like.backend, like._ignore, like.detections()) == (CPU, 255, (detector, scenes))
        assert (like.coarse, like.by_cells) == (None, False)
    assert seen.full_size()._prepared is seen._prepared
    with pytest.raises(ValueError, match="needs a detector"):
        Context(CPU, LOGITS, LABELS, 255).detections()


def test_a_class_set_is_read_as_asked() -> None:
    read: list[LogitsBatch] = []
    ranks = object()

    class Backend:
        name = "spy"

        def prepare_class(self, batch: LogitsBatch) -> object:
            read.append(batch)
            return batch

        def rank(self, logits: torch.Tensor) -> object:
            assert logits is LOGITS
            return ranks

    seen = Context(Backend(), LOGITS, LABELS, 255)  # type: ignore[arg-type]
    for water, share, whole in ((True, 0.5, True), (False, 0.25, False), (True, 1.0, False)):
        seen.one_class(ACCURACY, (0, 2), water=water, share=share, whole=whole)
        batch = read[-1]
        assert (batch.items, batch.inside, batch.ignore) == (Items.CLASS, (0, 2), 255)
        assert (batch.water, batch.share, batch.whole_when_wrong) == (water, share, whole)
        assert batch.ranked is ranks
        assert batch.logits is LOGITS
        assert batch.labels is LABELS
    assert len(read) == 3


def test_a_rank_leaves_out_what_does_not_count() -> None:
    """Among the two largest of three: the first by 3, the second by 2; what is ignored is not counted."""
    logits = torch.tensor([[3.0, 1, 0], [2, 0, 4], [0, 2, 2]]).T.reshape(1, 3, 1, 3)
    asked = metric("top_k(2)")
    seen = Context(CPU, logits, torch.tensor([[[0, 0, 255]]]), 255)
    by = seen.prepared(asked, Items.CORRECT, squared=False)
    assert (by.items.tolist(), by.valid.tolist()) == ([2], [2])
    assert seen.prepared(asked, Items.CORRECT, squared=True) is not by
    assert seen.prepared(asked, Items.CORRECT, squared=False) is by
    # What is filled up costs at least as much as a pair.
    wider = seen.prepared(asked, Items.CORRECT, squared=True).radii(np.array([[1, 2]]), F(1), F(2)).tolist()[0]
    pairs = (
        seen.by_pairs().prepared(asked, Items.CORRECT, squared=True).radii(np.array([[1, 2]]), F(1), F(2)).tolist()[0]
    )
    assert [wide > pair for wide, pair in zip(wider, pairs, strict=True)] == [False, True]
    assert Context(CPU, logits, torch.tensor([[[0, 0, 1]]]), None).prepared(asked, Items.CORRECT).valid.tolist() == [
        3
    ]


def test_what_was_counted_is_counted_once() -> None:
    seen, calls = Context(CPU, LOGITS, LABELS, 255), []

    def count() -> int:
        calls.append(len(calls))
        return calls[-1]

    assert [seen.counted("a", count), seen.counted("b", count), seen.counted("a", count)] == [0, 1, 0]
    assert calls == [0, 1]
    assert seen.of(LOGITS).counted("a", count) == 2
