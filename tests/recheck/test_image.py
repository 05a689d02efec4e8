"""What exact arithmetic derives for an image, against the bounds, for several classes, class sets and every norm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds import open_bound
from robspec.bounds.pooled import Pool as BoundPool
from robspec.ir.plans import PooledMean
from robspec.ir.types import Aggregate, Degraded, Property, Requirement, WorstCaseQuery
from robspec.oracle.moves import reach_for
from robspec.recheck.budget import budget_of
from robspec.recheck.claims import MORE_DIGITS, Between, Within, rational
from robspec.recheck.document import differences
from robspec.recheck.entry import radius, worst
from robspec.recheck.image import Ledger
from robspec.recheck.pooled import Pool, _Kept
from robspec.recheck.verdicts import requirements
from robspec.recheck.write import Told, filled
from robspec.semantics.norm import L2, exact_text
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from tests.bounds.language import metric
from tests.bounds.test_metrics import CASES, Case
from tests.oracle.test_oracle import constant, context, scene_of

F = Fraction
EXACT = [c for c in CASES if c.exact]


def instances(seed: int, pixels: int = 9) -> Iterator[tuple[int | None, object]]:
    rng = np.random.default_rng(seed)
    for q in (2, 2, 2, 1, None):
        yield q, scene_of(rng, pixels, q)


@pytest.mark.parametrize("case", EXACT, ids=lambda c: c.text)
def test_worst_cases_and_radii_are_those_of_the_bounds(case: Case) -> None:
    asked = metric(case.text, 3, case.definitions)
    derived = 0
    for q, scene in instances(len(case.text)):
        ledger, bound = Ledger(asked, scene), open_bound(asked, context(scene), constant(q))
        assert bound.clean() == [ledger.clean]
        for part in (0.1, 0.3, 0.6):
            eps = F(float(reach_for(scene, part) / F(3, 2)))
            certified = bound.worst_case([eps])[0][0]
            claim = worst(ledger, eps, constant(q), len(scene))["certified"]
            if ledger.clean is not None:
                budget = budget_of(eps, constant(q))
                assert ledger.least(budget) == ledger.worst(budget)[0]
            if claim is None:
                assert certified is None
                continue
            derived += 1
            assert isinstance(claim, Between)
            assert claim.exact == claim.wide
            assert claim.holds(str(certified))
            assert not claim.holds(str(certified + F(1, 10**9)))
            objective = Degraded(asked, Threshold(certified), strict=bool(derived % 2))
            found = bound.radius([(certified,)], strict=objective.strict)[0][0]
            point = radius(ledger.needs(objective), constant(q), len(scene))["certified"]
            if found in (0, math.inf):
                assert point == ("inf" if found else "0")
                continue
            assert isinstance(point, Within)
            assert point.holds(str(found))
            for factor in (F(10**9 + 1, 10**9), F(10**9 - 1, 10**9)):
                assert not point.holds(str(found * factor))
    assert derived


@pytest.mark.parametrize("text", ["pooled iou[c1]", "pooled precision[c0]", "pooled mean_iou", "pooled fnr[c1]"])
@pytest.mark.parametrize("q", [2, 1, None])
def test_pooled_values_are_those_of_the_bounds(text: str, q: int | None) -> None:
    asked = metric(text, 3)
    rng = np.random.default_rng(11)
    scenes = [scene_of(rng, 8, q) for _ in range(3)]
    prop = Property("p", WorstCaseQuery(asked, constant(q).input_norm, (F(1),)), ())
    pool, bound = Pool(prop, constant(q)), BoundPool(asked, 3, constant(q))
    for scene in scenes:
        pool.add(scene)
        bound.add(context(scene))
    reach = reach_for(scenes[0], 0.4)
    eps = F(float(reach / F(3, 2)))
    budget = eps * F(3, 2) if q is None else (eps * F(3, 2)) ** q
    assert pool.clean() == bound.clean()
    assert pool.worst(budget) == bound.worst_case([eps])[0]
    bound.close()


@pytest.mark.parametrize("text", ["", "1.5", "2/4", "+1", "1e3", "-0", " 1", "1/0", "nan", "Infinity", None, 1, True])
def test_a_number_is_written_in_one_way_only(text: object) -> None:
    assert rational(text) is None


def test_a_mean_of_many_classes_is_no_false_alarm() -> None:
    """Pooled counts of 847 classes have denominators of their own: their mean has more digits than str() writes."""
    classes = 847
    mean = metric("pooled mean_iou")
    mean = replace(mean, plan=PooledMean(mean.formula, tuple(range(classes))))
    asked = Property("p", WorstCaseQuery(mean, L2, (F(0),)), ())
    pool = Pool(asked, constant(2))
    nothing = pool._spool.write([0], [0], F(1))
    missed = np.random.default_rng(0).integers(1, 10**8, classes).tolist()
    pool._images = [[_Kept((10**8, 0, n, 0), (), (0, 0), nothing) for n in missed]]
    entry, clean = pool.entry(), sum((F(10**8, 10**8 + n) for n in missed), F(0)) / classes
    assert len(exact_text(clean)) > 2 * 4300
    written = filled("p", entry, [Told(clean)])
    assert list(differences(written, entry)) == []
    for other in (clean + F(1, 10**30), clean * (1 - F(1, 10**3000))):
        assert list(
            differences({**written, "points": [{**written["points"][0], "certified": exact_text(other)}]}, entry)
        )
    requirement = Requirement(Aggregate.POOLED, Relation.GE, F(1, 2))
    found = requirements(replace(asked, requirements=(requirement,)), [written])
    assert [(row["certified"], row["verdict"]) for row in found] == [(exact_text(clean), "PROVED")]
    assert rational("9" * 20_000, MORE_DIGITS) == 10**20_000 - 1
    assert rational("9" * 20_001, MORE_DIGITS) is rational("9" * 4001) is None
