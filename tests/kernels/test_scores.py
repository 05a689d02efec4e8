"""Ranking metrics under attack: the backends equal each other, brute force over all shifts, and scikit-learn.

The brute force moves every score by itself, over a grid with more free places between two critical scores than there
are scores, and computes each metric from its textbook definition.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from robspec.kernels.scores import Radius, Scores, Shifts, backends
from tests.examples import examples
from tests.kernels.available import COMPILED

F = Fraction
REFERENCE, CPU = backends()["reference"], backends()["cpu"]
BACKENDS = [REFERENCE, CPU]
LARGEST = np.finfo(np.float64).max
TINY = 5e-324
LEVEL = F(1, 2)

# Without the compiler numba's code runs in numpy's scalars, which warn of the overflows that are meant here.
pytestmark = [] if COMPILED else [pytest.mark.filterwarnings("ignore:overflow")]


def array(scores: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(scores, dtype=np.float64).reshape(len(scores))


def both(anomalous: Sequence[float], normal: Sequence[float]) -> tuple[Scores, Scores]:
    return REFERENCE.read(array(anomalous), array(normal)), CPU.read(array(anomalous), array(normal))


def auroc(anomalous: Sequence[F | int], normal: Sequence[F | int]) -> F:
    won = sum(F(s > a) + F(1, 2) * (s == a) for s in anomalous for a in normal)
    return won / (len(anomalous) * len(normal))


def average_precision(anomalous: Sequence[F | int], normal: Sequence[F | int]) -> F:
    """Sum over thresholds, from above, of the growth of recall times precision."""
    total = recall_before = F(0)
    for threshold in sorted({*anomalous, *normal}, reverse=True):
        tp = sum(s >= threshold for s in anomalous)
        fp = sum(a >= threshold for a in normal)
        recall = F(tp, len(anomalous))
        total += (recall - recall_before) * F(tp, tp + fp)
        recall_before = recall
    return total


def fpr_at_tpr(anomalous: Sequence[F | int], normal: Sequence[F | int], level: F = LEVEL) -> F:
    threshold = max(t for t in anomalous if F(sum(s >= t for s in anomalous), len(anomalous)) >= level)
    return F(sum(a >= threshold for a in normal), len(normal))


@cache
def of_order(anomalous: tuple[int, ...], normal: tuple[int, ...]) -> tuple[F, F, F]:
    """The three metrics, which depend on the order of the scores alone."""
    return auroc(anomalous, normal), average_precision(anomalous, normal), fpr_at_tpr(anomalous, normal)


def reachable(intervals: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """Every order, as ranks, of scores that lie anywhere in their intervals, which have integer ends.

    Between two integers there is room for all scores apart.
    """
    step = len(intervals) + 1
    grids = [range(low * step, high * step + 1) for low, high in intervals]
    for scores in itertools.product(*grids):
        ranks = {score: rank for rank, score in enumerate(sorted(set(scores)))}
        yield tuple(ranks[score] for score in scores)


small = st.integers(0, 3)
move = st.integers(0, 1)


@settings(max_examples=examples(30))
@given(st.lists(small, min_size=1, max_size=3), st.lists(small, min_size=1, max_size=2), move, move)
@example([1, 1], [2], 1, 0)
@example([1, 1], [0], 1, 0)
@example([1, 1, 1], [0, 2], 1, 0)
@example([1, 1, 0], [0, 1], 0, 1)
@example([2, 2, 2], [0, 1], 1, 1)
def test_no_attack_does_better_and_one_does_as_well(s: list[int], a: list[int], down: int, up: int) -> None:
    intervals = [*((x - down, x) for x in s), *((x, x + up) for x in a)]
    found = {of_order(order[: len(s)], order[len(s) :]) for order in set(reachable(intervals))}
    least = tuple(min(values) if at < 2 else max(values) for at, values in enumerate(zip(*found, strict=True)))
    shifts = Shifts(F(down), F(up))
    for scores in both(s, a):
        assert (scores.auroc(shifts), scores.average_precision(shifts), scores.fpr_at_tpr(LEVEL, shifts)) == least


@settings(max_examples=examples(15))
@given(
    st.lists(small, min_size=1, max_size=2),
    st.lists(small, min_size=1, max_size=1),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_moving_a_score_the_other_way_gains_nothing(s: list[int], a: list[int], down: int, up: int) -> None:
    intervals = [*((x - down, x + down) for x in s), *((x - up, x + up) for x in a)]
    found = {of_order(order[: len(s)], order[len(s) :]) for order in set(reachable(intervals))}
    worst = tuple(min(values) if at < 2 else max(values) for at, values in enumerate(zip(*found, strict=True)))
    shifts = Shifts(F(down), F(up))
    scores = REFERENCE.read(array(s), array(a))
    assert (scores.auroc(shifts), scores.average_precision(shifts), scores.fpr_at_tpr(LEVEL, shifts)) == worst


def test_all_shifts_at_once_are_not_the_worst_for_average_precision() -> None:
    """Tied anomalies under one normal image: lowered together they stay tied, lowered apart they cost more."""
    assert average_precision([0, 0], [2]) == F(2, 3)
    assert average_precision([F(1, 2), 0], [2]) == F(7, 12)
    for scores in both([1, 1], [2]):
        assert scores.average_precision(Shifts(F(1))) == F(7, 12)
        assert scores.average_precision(Shifts(F(0), F(1))) == F(2, 3)
        radius = scores.average_precision_radius(F(7, 12), strict=False, lowered=True)
        assert radius == Radius(F(0), False)
        assert scores.average_precision_radius(F(7, 12), strict=False, lowered=False) == Radius(None, False)


bold = st.floats(allow_nan=False, allow_infinity=False)
NEAR_ONE = [1.0, 1 + 2**-52, 1 - 2**-53, -1.0, 0.1, 0.3, 1e-30, 2.0**53, 2.0**53 + 2]
SMALLEST = [0.0, -0.0, TINY, -TINY, 3 * TINY, 2.2250738585072014e-308]
HUGE = [LARGEST, -LARGEST, math.nextafter(LARGEST, 0), 2.0**1023, -(2.0**1023), 2.0**970, -(2.0**969)]
edge = st.sampled_from([*NEAR_ONE, *SMALLEST, *HUGE])
score = st.one_of(small.map(float), small.map(lambda x: x / 10), edge, bold)
some = st.lists(score, max_size=6)
rational = st.one_of(
    st.just(F(0)),
    small.map(F),
    st.fractions(min_value=0, max_value=4, max_denominator=100),
    st.one_of(edge, bold).map(lambda x: abs(F(x))),
    st.sampled_from(
        [2 * F(LARGEST), 2 * F(LARGEST) + 1, F(LARGEST) + F(2) ** 969, F(LARGEST) + F(2) ** 970, F(1, 7**400)]
    ),
)


@st.composite
def shift_near(draw: st.DrawFn, s: Sequence[float], a: Sequence[float]) -> F:
    """A shift, often the distance of two scores, or a very little more or less."""
    if s and a and draw(st.booleans()):
        distance = abs(F(draw(st.sampled_from(s))) - F(draw(st.sampled_from(a))))
        return abs(distance + draw(st.sampled_from([F(0), F(1, 3**700), -F(1, 3**700)])))
    return draw(rational)


gammas = st.one_of(
    st.fractions(min_value=0, max_value=1, max_denominator=12), st.sampled_from([F(-1, 9), F(10, 9), F(7, 12)])
)


@st.composite
def gamma_near(draw: st.DrawFn, scores: Scores, shift: F) -> F:
    """A threshold, often the very value of one of the metrics at a shift."""
    attained = [
        scores.average_precision(Shifts(shift)),
        scores.average_precision(Shifts(F(0), shift)),
        scores.auroc(Shifts(shift)),
        scores.fpr_at_tpr(LEVEL, Shifts(shift)),
    ]
    if attained[0] is None or draw(st.booleans()):
        return draw(gammas)
    return draw(st.sampled_from([value for value in attained if value is not None]))


levels = st.fractions(min_value=0, max_value=1, max_denominator=12).filter(bool)


@settings(max_examples=examples(80))
@given(some, some, st.data())
def test_the_backends_are_equal(s: list[float], a: list[float], data: st.DataObject) -> None:
    exact, compiled = both(s, a)
    down, up = data.draw(shift_near(s, a)), data.draw(rational)
    gamma, level, strict = data.draw(gamma_near(exact, down)), data.draw(levels), data.draw(st.booleans())
    threshold = data.draw(st.one_of(score.map(F), st.just(3 * F(LARGEST)), st.just(-3 * F(LARGEST))))
    values: list[Callable[[Scores], object]] = [
        lambda scores: (scores.anomalies, scores.normals),
        lambda scores: scores.auroc_radius(gamma, strict=strict),
        lambda scores: scores.average_precision_radius(gamma, strict=strict, lowered=True),
        lambda scores: scores.average_precision_radius(gamma, strict=strict, lowered=False),
        lambda scores: scores.tpr_at_radius(threshold, gamma, strict=strict),
        lambda scores: scores.fpr_at_radius(threshold, gamma, strict=strict),
        lambda scores: scores.fpr_at_tpr_radius(level, gamma, strict=strict),
    ]
    for shifts in (Shifts(), Shifts(down), Shifts(F(0), down), Shifts(down, up)):
        values += [
            lambda scores, by=shifts: scores.auroc(by),  # type: ignore[misc]
            lambda scores, by=shifts: scores.average_precision(by),  # type: ignore[misc]
            lambda scores, by=shifts: scores.tpr_at(threshold, by),  # type: ignore[misc]
            lambda scores, by=shifts: scores.fpr_at(threshold, by),  # type: ignore[misc]
            lambda scores, by=shifts: scores.fpr_at_tpr(level, by),  # type: ignore[misc]
        ]
    for value in values:
        assert value(exact) == value(compiled)


@settings(max_examples=examples(60))
@given(st.lists(score, min_size=1, max_size=30), st.lists(score, min_size=1, max_size=30), st.data())
def test_a_value_attains_an_objective_exactly_from_its_radius_on(
    s: list[float], a: list[float], data: st.DataObject
) -> None:
    """MATH.md 8 on scores: h(t) <= gamma if and only if t lies within the radius of `h <= gamma`."""
    scores = CPU.read(array(s), array(a))
    gamma = data.draw(gamma_near(scores, data.draw(shift_near(s, a))))
    level, strict = data.draw(levels), data.draw(st.booleans())
    threshold = F(data.draw(score))
    lowered = data.draw(st.booleans())
    objectives: list[tuple[Radius | None, Callable[[F], F | None], bool]] = [
        (scores.auroc_radius(gamma, strict=strict), lambda t: scores.auroc(Shifts(t / 3, 2 * t / 3)), True),
        (
            scores.average_precision_radius(gamma, strict=strict, lowered=lowered),
            lambda t: scores.average_precision(Shifts(t / 2, t / 2) if lowered else Shifts(F(0), t)),
            True,
        ),
        (scores.tpr_at_radius(threshold, gamma, strict=strict), lambda t: scores.tpr_at(threshold, Shifts(t)), True),
        (
            scores.fpr_at_radius(threshold, gamma, strict=strict),
            lambda t: scores.fpr_at(threshold, Shifts(F(0), t)),
            False,
        ),
        (
            scores.fpr_at_tpr_radius(level, gamma, strict=strict),
            lambda t: scores.fpr_at_tpr(level, Shifts(t / 3, 2 * t / 3)),
            False,
        ),
    ]
    for radius, value, falls in objectives:
        assert radius is not None
        assert radius.shift is None or radius.shift >= 0
        asked = [F(0), data.draw(shift_near(s, a)), 3 * F(LARGEST)]
        if radius.shift is not None:
            very_little = F(1, 5**800)
            asked += [radius.shift, radius.shift + very_little, max(radius.shift - very_little, F(0))]
        for t in asked:
            found = value(t)
            assert found is not None
            better = found < gamma if falls else found > gamma
            assert radius.within(t) == (better or (found == gamma and not strict))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_tie_counts_one_half_and_a_radius_says_whether_it_is_attained(backend: object) -> None:
    scores = backend.read(array([3.0, 5.0]), array([1.0]))  # type: ignore[attr-defined]
    assert [scores.auroc(Shifts(F(t))) for t in (0, 1, 2, 3, 4, 5)] == [1, 1, F(3, 4), F(1, 2), F(1, 4), 0]
    assert scores.auroc(Shifts(F(1), F(1))) == F(3, 4)
    asked = [(F(1), False), (F(1), True), (F(3, 4), False), (F(3, 4), True), (F(1, 2), False), (F(1, 2), True)]
    found = [scores.auroc_radius(gamma, strict=strict) for gamma, strict in [*asked, (F(0), False), (F(0), True)]]
    two, four = Radius(F(2), True), Radius(F(4), True)
    nothing = Radius(None, False)
    assert found == [
        Radius(F(0), True),
        two,
        two,
        Radius(F(2), False),
        Radius(F(2), False),
        four,
        Radius(F(4), False),
        nothing,
    ]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_score_at_the_threshold_is_called_anomalous(backend: object) -> None:
    scores = backend.read(array([3.0, 5.0]), array([1.0, 2.0]))  # type: ignore[attr-defined]
    assert [scores.tpr_at(F(3), Shifts(F(t))) for t in (0, 1, 2, 3)] == [1, F(1, 2), F(1, 2), 0]
    assert [scores.fpr_at(F(3), Shifts(F(0), F(t))) for t in (0, 1, 2)] == [0, F(1, 2), 1]
    assert scores.tpr_at_radius(F(3), F(1, 2), strict=False) == Radius(F(0), False)
    assert scores.tpr_at_radius(F(3), F(1, 2), strict=True) == Radius(F(2), False)
    assert scores.fpr_at_radius(F(3), F(1, 2), strict=False) == Radius(F(1), True)
    assert scores.fpr_at_radius(F(3), F(1, 2), strict=True) == Radius(F(2), True)
    assert scores.fpr_at_tpr(F(1), Shifts(F(1), F(0))) == F(1, 2)
    assert scores.fpr_at_tpr(F(1, 2), Shifts(F(1), F(1))) == 0
    assert scores.fpr_at_tpr(F(51, 100), Shifts(F(1), F(1))) == 1


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_sums_that_doubles_get_wrong(backend: object) -> None:
    """A difference is rounded to the shift, lies between two doubles, or is larger than all of them."""
    scores = backend.read(array([1.0, 1.0]), array([-(2.0**-60)]))  # type: ignore[attr-defined]
    assert scores.auroc(Shifts(F(1))) == 1
    assert scores.auroc(Shifts(F(1), F(1, 2**60))) == F(1, 2)
    assert scores.auroc(Shifts(F(1), F(1, 2**59))) == 0
    assert scores.auroc_radius(F(1, 2), strict=True) == Radius(1 + F(1, 2**60), False)
    scores = backend.read(array([LARGEST, 1e-300]), array([-LARGEST, -1.0]))  # type: ignore[attr-defined]
    widest = 2 * F(LARGEST)
    assert scores.auroc(Shifts(widest)) == F(1, 8)
    assert scores.auroc_radius(F(0), strict=False) == Radius(widest, False)
    assert scores.auroc_radius(F(1, 8), strict=False) == Radius(widest, True)
    assert scores.auroc_radius(F(1, 2), strict=True) == Radius(F(LARGEST) + 1, True)
    assert scores.auroc_radius(F(3, 8), strict=True) == Radius(F(LARGEST) + 1, False)
    assert scores.auroc_radius(F(5, 8), strict=False) == Radius(F(LARGEST) + F(1e-300), True)
    assert scores.auroc_radius(F(7, 8), strict=False) == Radius(1 + F(1e-300), True)
    # The least distance that is rounded to infinity.
    scores = backend.read(array([LARGEST]), array([-(2.0**970)]))  # type: ignore[attr-defined]
    edge_of_doubles = F(LARGEST) + F(2) ** 970
    assert scores.auroc(Shifts(edge_of_doubles)) == F(1, 2)
    assert scores.auroc(Shifts(edge_of_doubles - F(1, 3))) == 1
    assert scores.auroc_radius(F(0), strict=False) == Radius(edge_of_doubles, False)
    scores = backend.read(array([0.0, TINY]), array([-0.0]))  # type: ignore[attr-defined]
    assert scores.auroc(Shifts()) == F(3, 4)
    assert scores.auroc(Shifts(F(TINY) / 2)) == F(1, 2)
    assert scores.auroc_radius(F(1, 4), strict=False) == Radius(F(TINY), True)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_nothing_is_said_of_an_empty_side(backend: object) -> None:
    for s, a in (([], []), ([1.0], []), ([], [1.0])):
        scores = backend.read(array(s), array(a))  # type: ignore[attr-defined]
        zero = Shifts()
        assert scores.auroc(zero) is scores.average_precision(zero) is scores.fpr_at_tpr(F(1), zero) is None
        assert scores.auroc_radius(F(1), strict=False) is scores.fpr_at_tpr_radius(F(1), F(1), strict=False) is None
        assert scores.average_precision_radius(F(1), strict=False, lowered=True) is None
        assert (
            (scores.tpr_at(F(0), zero) is None) == (scores.tpr_at_radius(F(0), F(1), strict=False) is None) == (not s)
        )
        assert (
            (scores.fpr_at(F(0), zero) is None) == (scores.fpr_at_radius(F(0), F(1), strict=False) is None) == (not a)
        )


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_what_means_nothing_is_refused(backend: object) -> None:
    read = backend.read  # type: ignore[attr-defined]
    good = array([1.0])
    for wrong in (array([0.0, math.nan]), array([math.inf]), array([-math.inf]), good.astype(np.float32), good[None]):
        with pytest.raises(ValueError, match="anomalous score"):
            read(wrong, good)
        with pytest.raises(ValueError, match="normal score"):
            read(good, wrong)
    for level in (F(0), F(-1), F(101, 100)):
        with pytest.raises(ValueError, match="level"):
            read(good, good).fpr_at_tpr(level, Shifts())
        with pytest.raises(ValueError, match="level"):
            read(good, good).fpr_at_tpr_radius(level, F(1), strict=False)
    with pytest.raises(ValueError, match="not negative"):
        Shifts(F(-1))
    with pytest.raises(ValueError, match="not negative"):
        Shifts(F(0), F(-1))


@pytest.mark.skipif(not COMPILED, reason="counts as many pairs as the compiled code does in a moment")
def test_ten_thousand_million_pairs_are_counted_without_being_listed() -> None:
    """Anomalies c, c + 1, .., c + n - 1, normal images 0, 1, .., n - 1: the pairs at each distance are known."""
    n, c = 10**5, 70_000
    scores = CPU.read(np.arange(n) + float(c), np.arange(n, dtype=np.float64)[::-1])

    def beyond(t: int) -> int:
        """Pairs with c + i - j > t."""
        lead = c - t
        return n * n - (n - lead) * (n - lead + 1) // 2 if 0 <= lead <= n else (n + lead) * (n + lead - 1) // 2

    for t in (0, 1, 69_999, 70_000, 70_001, 169_998):
        assert scores.auroc(Shifts(F(t))) == F(beyond(t) + beyond(t - 1), 2 * n * n)
        assert scores.auroc(Shifts(F(1, 3), F(t))) == F(beyond(t), n * n)
    for t in (1, 69_999, 120_000):
        gamma = F(beyond(t) + beyond(t - 1), 2 * n * n)
        assert scores.auroc_radius(gamma, strict=False) == Radius(F(t), True)
        assert scores.auroc_radius(gamma, strict=True) == Radius(F(t), False)
        assert scores.auroc_radius(F(beyond(t), n * n), strict=True) == Radius(F(t + 1), True)
    # With distances below the spacing of doubles around 1, all in one double.
    rng = np.random.default_rng(0)
    tiny = rng.random(n) * 1e-30
    middle = np.sort(tiny)[n // 2 - 1 : n // 2 + 1].tolist()
    close = CPU.read(tiny, np.full(1000, -1.0))
    assert close.auroc_radius(F(1, 2), strict=False) == Radius(1 + F(middle[0]), False)
    assert close.auroc_radius(F(1, 2), strict=True) == Radius(1 + F(middle[1]), True)


modest = st.one_of(small.map(float), st.floats(-10, 10), st.sampled_from([0.0, -0.0, TINY, 1 + 2**-52, 1.0]))


@settings(max_examples=examples(40))
@given(st.lists(modest, min_size=1, max_size=20), st.lists(modest, min_size=1, max_size=20), st.data())
def test_unattacked_values_are_those_of_scikit_learn(s: list[float], a: list[float], data: st.DataObject) -> None:
    truth, given_scores = [1] * len(s) + [0] * len(a), np.array(s + a)
    scores, clean = CPU.read(array(s), array(a)), Shifts()
    value = scores.auroc(clean)
    assert value is not None
    # It adds rounded areas; a difference of half a pair would be 1/800.
    assert abs(value - F(float(roc_auc_score(truth, given_scores)))) < F(1, 10**12)
    value = scores.average_precision(clean)
    assert value is not None
    assert abs(value - F(float(average_precision_score(truth, given_scores)))) < F(1, 10**12)
    # One correctly rounded division each: equal.
    fpr, tpr, _ = roc_curve(truth, given_scores, drop_intermediate=False)
    called = data.draw(st.integers(1, len(s)))
    found = scores.fpr_at_tpr(F(called, len(s)), clean)
    assert found is not None
    assert float(found) == fpr[np.flatnonzero(tpr >= called / len(s))[0]]


def test_scikit_learn_drops_points_that_a_rate_at_a_level_needs() -> None:
    """Its default leaves out collinear points of the curve, and the first one left may lie far above the level."""
    ties = [3.0, 2.0, 1.0]
    fpr, tpr, _ = roc_curve([1, 1, 1, 0, 0, 0], ties * 2)
    assert fpr[np.flatnonzero(tpr >= 0.5)[0]] == 1
    assert CPU.read(array(ties), array(ties)).fpr_at_tpr(F(1, 2), Shifts()) == F(2, 3)


def test_scikit_learn_gives_numbers_for_an_empty_side() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert average_precision_score([0, 0], [1.0, 2.0]) == 0
        assert math.isnan(roc_auc_score([0, 0], [1.0, 2.0]))
        assert average_precision_score([1, 1], [1.0, 2.0]) == 1
