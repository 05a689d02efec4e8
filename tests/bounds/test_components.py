"""DETECTION.md D6: worst cases and radii of recall of objects, against every set of lost pixels on tiny images."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import ndimage

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import SPEC, metric
from tests.examples import examples
from tests.kernels.available import CPU
from tests.kernels.test_one_class import distance_by_active_sets

F = Fraction


def enumerated(
    z: list[list[Fraction]], parts: list[list[int]], share: Fraction, k: int, budget: Fraction, norm: Norm
) -> Fraction:
    """The worst value over every set of lost pixels; z by pixel and class."""

    def price(i: int) -> Fraction:
        d = z[i][k] - max(v for c, v in enumerate(z[i]) if c != k)
        return {L1: d, L2: d * d / 2, LINF: d / 2}[norm]

    right = [i for part in parts for i in part if z[i].index(max(z[i])) == k]
    worst = F(1)
    for size in range(len(right) + 1):
        for gone in itertools.combinations(right, size):
            prices = [price(i) for i in gone]
            if (max(prices, default=F(0)) if norm == LINF else sum(prices, F(0))) <= budget:
                left = set(right) - set(gone)
                # A share of a part, and at least a pixel of it.
                seen = [sum(i in left for i in part) for part in parts]
                found = sum(n >= 1 and n >= share * len(part) for n, part in zip(seen, parts, strict=True))
                worst = min(worst, F(found, len(parts)))
    return worst


@pytest.mark.parametrize("norm", [L2, L1, LINF])
def test_no_set_of_lost_pixels_is_worse_and_one_is_as_bad(norm: Norm) -> None:
    rng = random.Random(norm.name)  # noqa: S311  (a test draws images, not secrets)
    constant = Constant(F(1), norm, norm, ConstantStatus.PROVED)
    changed = 0
    for _ in range(examples(63)):
        height, width = rng.choice([(2, 4), (3, 3), (1, 6)])
        labels = np.array([[rng.choice([0, 0, 1, 1, 255]) for _ in range(width)] for _ in range(height)])
        z = [
            [F(rng.randint(-4, 8), 2) if c == 1 else F(rng.randint(-4, 4), 2) for c in range(3)]
            for _ in range(labels.size)
        ]
        share, eps = F(rng.choice(["0", "0.5", "0.34", "1"])), F(rng.randint(0, 8), 4)
        logits = torch.tensor([[float(v) for v in row] for row in z]).T.reshape(1, 3, height, width)
        asked = metric(f"object_recall({float(share)})[c1]")
        context = Context(CPU, logits, torch.from_numpy(labels)[None], 255)
        bound = open_bound(asked, context, constant)
        number, count = ndimage.label(labels == 1, np.ones((3, 3)))
        parts = [np.flatnonzero(number.reshape(-1) == m).tolist() for m in range(1, count + 1)]
        if not count:
            assert bound.clean() == [None]
            assert bound.worst_case([eps]) == [(None,)]
            continue
        budget = eps**2 if norm == L2 else eps
        (row,) = bound.worst_case([F(0), eps])
        assert row[1] == enumerated(z, parts, share, 1, budget, norm)
        (clean,) = bound.clean()
        assert clean is not None
        assert clean >= row[0] >= row[1]  # type: ignore[operator]
        changed += clean != row[1]
        ((radius,),) = bound.radius([[F(row[1] or 0)]], strict=True)
        # Within the budget nothing falls below the worst case: the radius of falling further is no smaller.
        assert radius is not None
        assert radius >= eps
    assert changed >= 5


@pytest.mark.parametrize("norm", [L2, L1, LINF])
def test_one_logit_moves_by_itself(norm: Norm) -> None:
    """The second class is predicted where the logit is above 0, and losing it costs the logit."""
    rng = random.Random(norm.name + "one")  # noqa: S311  (a test draws images, not secrets)
    constant, changed = Constant(F(1), norm, norm, ConstantStatus.PROVED), 0
    for _ in range(examples(63)):
        labels = np.array([[rng.choice([0, 1, 1]) for _ in range(4)] for _ in range(2)])
        z = [F(rng.randint(-1, 4), 2) for _ in range(8)]
        share, eps = F(rng.choice(["0", "0.5", "1"])), F(rng.randint(2, 16), 4)
        number, count = ndimage.label(labels == 1, np.ones((3, 3)))
        parts = [np.flatnonzero(number.reshape(-1) == m).tolist() for m in range(1, count + 1)]
        if not parts:
            continue
        right = [i for part in parts for i in part if z[i] > 0]
        budget, worst = eps**2 if norm == L2 else eps, F(1)
        for size in range(len(right) + 1):
            for gone in itertools.combinations(right, size):
                prices = [z[i] ** 2 if norm == L2 else z[i] for i in gone]
                if (max(prices, default=F(0)) if norm == LINF else sum(prices, F(0))) <= budget:
                    seen = [sum(i in right and i not in gone for i in part) for part in parts]
                    found = sum(n >= 1 and n >= share * len(part) for n, part in zip(seen, parts, strict=True))
                    worst = min(worst, F(found, len(parts)))
        asked = metric(f"object_recall({float(share)})[c1]", 2, single=True)
        logits = torch.tensor([float(v) for v in z]).reshape(1, 1, 2, 4)
        bound = open_bound(asked, Context(CPU, logits, torch.from_numpy(labels)[None], 255), constant)
        (row,) = bound.worst_case([eps])
        assert row == (worst,)
        changed += bound.clean() != [worst]
    assert changed >= 5


def test_a_set_of_classes_is_never_certified_above_the_exact_distance() -> None:
    """To leave {c1, c2} the third class has to reach both: at least the distance of the pair that is priced."""
    rng = random.Random("set")  # noqa: S311  (a test draws images, not secrets)
    constant, below = Constant(F(1), L2, L2, ConstantStatus.PROVED), 0
    for _ in range(examples(63)):
        z = [[F(rng.randint(-4, 8), 2) for _ in range(3)] for _ in range(6)]
        eps = F(rng.randint(0, 8), 4)
        right = [i for i, row in enumerate(z) if row.index(max(row)) != 0]
        worst = F(1)
        for size in range(len(right) + 1):
            for gone in itertools.combinations(right, size):
                if sum((distance_by_active_sets(z[i][0], z[i][1:]) for i in gone), F(0)) <= eps**2:
                    worst = min(worst, F(int(len(right) - size >= 3)))
        logits = torch.tensor([[float(v) for v in row] for row in z]).T.reshape(1, 3, 1, 6)
        labels = torch.ones(1, 1, 6, dtype=torch.int64)
        bound = open_bound(metric("object_recall(0.5)[c1, c2]"), Context(CPU, logits, labels, 255), constant)
        ((value,),) = bound.worst_case([eps])
        assert value is not None
        assert value <= worst
        below += value < worst or worst == 0
    assert below >= 3


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("object_recall(1.5)[c1]", "E0150"),
        ("object_recall[c1]", "E0104"),
        ("object_recall(0.5)", "E0104"),
        ("weighted object_recall(0.5)[c1]", "E0146"),
        ("object_recall(0.5)[c0, c1, c2]", "E0144"),
    ],
)
def test_what_has_no_meaning_is_refused(name: str, code: str) -> None:
    text = SPEC.format(
        channels=3, names="c0, c1, c2", definitions="", metric=name, requirement="mean(worst_case) >= 0.5"
    )
    program, diagnostics = compile_text(text)
    assert program is None
    assert code in {d.code for d in diagnostics}


@pytest.mark.parametrize("norm", [L2, L1, LINF])
def test_pooled_objects_are_lost_on_every_image_with_a_budget_of_its_own(norm: Norm) -> None:
    """Against every set of lost pixels of every image; images of two batches, one without an object."""
    rng = random.Random(norm.name + "pooled")  # noqa: S311  (a test draws images, not secrets)
    constant, share = Constant(F(1), norm, norm, ConstantStatus.PROVED), F(1, 2)
    asked = metric("pooled object_recall(0.5)[c1]")
    changed = 0
    for _ in range(examples(6)):
        eps = F(rng.randint(1, 8), 4)
        pool, found, total, clean = open_dataset_bound(asked, (3, 2, 3), constant), F(0), 0, F(0)
        for size in (3, 2):
            labels = np.array([[rng.choice([0, 1, 1, 255]) for _ in range(6)] for _ in range(size)])
            labels[-1] = np.where(labels[-1] == 1, 0, labels[-1]) if size == 2 else labels[-1]
            z = [[[F(rng.randint(-2, 4 + 4 * (c == 1)), 2) for c in range(3)] for _ in range(6)] for _ in range(size)]
            logits = torch.tensor([[[float(v) for v in row] for row in image] for image in z])
            batch = logits.transpose(1, 2).reshape(size, 3, 2, 3)
            pool.add(Context(CPU, batch, torch.from_numpy(labels).reshape(size, 2, 3), 255))
            for image, label in zip(z, labels, strict=True):
                number, count = ndimage.label(label.reshape(2, 3) == 1, np.ones((3, 3)))
                parts = [np.flatnonzero(number.reshape(-1) == m).tolist() for m in range(1, count + 1)]
                if count:
                    budget = eps**2 if norm == L2 else eps
                    found += enumerated(image, parts, share, 1, budget, norm) * count
                    right = [row.index(max(row)) == 1 for row in image]
                    seen = [sum(right[i] for i in part) for part in parts]
                    clean += sum(n >= 1 and n >= share * len(part) for n, part in zip(seen, parts, strict=True))
                    total += count
        assert pool.images == 5
        assert pool.worst_case([eps]) == (found / total,)
        assert pool.clean() == clean / total
        radius = pool.radius(found / total, strict=True)
        assert radius is not None
        assert radius >= eps
        changed += found != clean
        pool.close()
    assert changed


def test_without_an_object_anywhere_the_pooled_value_is_undefined() -> None:
    constant = Constant(F(1), L2, L2, ConstantStatus.PROVED)
    pool = open_dataset_bound(metric("pooled object_recall(0.5)[c1]"), (3, 2, 2), constant)
    pool.add(Context(CPU, torch.rand(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), 255))
    assert (pool.clean(), pool.worst_case([F(1)]), pool.radius(F(1, 2), strict=False)) == (None, (None,), None)
    pool.close()
