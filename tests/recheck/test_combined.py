"""Combinations in which relaxed metrics stand: confirmed as checked, never beyond what an attack really takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from robspec.bounds import open_bound
from robspec.errors import SoundnessAlarm
from robspec.ir.types import AllOf, AnyOf, Degraded, Objective, Property, RadiusQuery
from robspec.oracle import costs
from robspec.oracle.scene import Scene, value
from robspec.recheck.averages import AverageBook, Bounded
from robspec.recheck.claims import Combined, Within, combined, rational
from robspec.recheck.conditions import conditions, met, metrics_of
from robspec.recheck.derive import _books
from robspec.recheck.document import differences
from robspec.recheck.entry import image_entry
from robspec.recheck.write import Told, filled
from robspec.semantics.norm import exact_text
from robspec.semantics.objective import Threshold
from robspec.session.certificate import _told
from robspec.verify.evaluate import BatchEvaluator
from tests.bounds.language import metric
from tests.examples import examples
from tests.oracle.test_oracle import K, constant, context, scene_of
from tests.recheck.test_relaxed import relaxation

F = Fraction
KINDS = ["mean_iou", "mean_accuracy", "pixel_accuracy", "iou[c1]", "mean_dice", "fnr[c0]", "frequency_weighted_iou"]


def leaf(rng: np.random.Generator, text: str) -> Degraded:
    asked = metric(text, K)
    share = F(int(rng.integers(2, 9)), 10)
    relative = Threshold((1 - share) * asked.lower_is_better, share)
    gamma = Threshold(share) if rng.random() < 0.2 else relative
    return Degraded(asked, gamma, strict=bool(rng.random() < 0.5))


def objective_of(rng: np.random.Generator) -> Objective:
    """A relaxed metric and two others, in one of the ways they can be combined."""
    first = leaf(rng, ["mean_iou", "mean_accuracy", "mean_dice"][rng.integers(3)])
    others = [leaf(rng, str(rng.choice(KINDS))) for _ in range(2)]
    one, two = (AllOf, AnyOf) if rng.random() < 0.5 else (AnyOf, AllOf)
    if rng.random() < 0.3:
        return one((first, *others))
    return one((first, two(tuple(others))))


def asked_of(objective: Objective, q: int | None) -> Property:
    return Property("p", RadiusQuery(constant(q).input_norm, (objective,)), ())


def derived(prop: Property, scene: Scene) -> dict[str, Any]:
    found = image_entry("image", prop, constant(scene.q), _books(prop, scene, {}), len(scene))
    assert isinstance(found["points"][0], Combined)
    return found


def written(prop: Property, scene: Scene) -> tuple[dict[str, Any], list[Told]]:
    """What a check writes of an image, and what it is told."""
    plain = context(scene)
    answers = BatchEvaluator(plain, ["image"]).answer(prop, constant(scene.q))
    (told,) = _told(prop, constant(scene.q), plain, answers)
    return filled("p", derived(prop, scene), told), list(told)


def true_cost(objective: Objective, scene: Scene) -> Fraction | float:
    """What the cheapest assignment of classes costs that meets an objective, by trying all: in ||a||_q^q."""
    table = [[costs.exact(z, k, scene.q) for k in range(K)] for z in scene.logits.tolist()]
    clean = {leaf.metric: value(leaf.metric, scene, scene.predicted) for leaf in conditions(objective)}
    best: Fraction | float = math.inf
    for found in itertools.product(range(K), repeat=len(scene)):
        spent = [table[w][k] for w, k in enumerate(found)]
        cost = max(spent) if scene.q is None else sum(spent, F(0))
        if cost < best and is_met(objective, clean, scene, np.array(found)):
            best = cost
    return best


def is_met(objective: Objective, clean: dict[Any, Fraction | None], scene: Scene, found: Any) -> bool:
    if isinstance(objective, Degraded):
        h, reached = clean[objective.metric], value(objective.metric, scene, found)
        if h is None or reached is None:
            return False
        gamma, sign = objective.threshold.at(h), -1 if objective.metric.lower_is_better else 1
        return sign * reached < sign * gamma if objective.strict else sign * reached <= sign * gamma
    return (all if isinstance(objective, AllOf) else any)(
        is_met(part, clean, scene, found) for part in objective.parts
    )


def spent(radius: Fraction, q: int | None) -> Fraction:
    reach = radius * F(3, 2)
    return reach if q is None else reach**q


def instances(seed: int, count: int) -> Iterator[tuple[Property, Scene]]:
    rng = np.random.default_rng(seed)
    for number in range(count):
        scene = scene_of(rng, 5, (2, 1, None)[number % 3] if number % 4 else 2)
        yield asked_of(objective_of(rng), scene.q), scene


@pytest.mark.parametrize("seed", range(6))
def test_what_a_check_certifies_is_confirmed_and_holds(seed: int) -> None:
    radii = 0
    for prop, scene in instances(seed, 10):
        made, _ = written(prop, scene)
        assert list(differences(made, derived(prop, scene))) == []
        found = rational(made["points"][0]["certified"])
        if found is None:
            continue
        assert isinstance(prop.query, RadiusQuery)
        truth = true_cost(prop.query.objectives[0], scene)
        if found == math.inf:
            assert truth == math.inf
            continue
        assert found == 0 or spent(F(found), scene.q) < truth
        radii += found > 0
    assert radii


def alterations(point: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """A point with one field altered, each in turn."""
    if isinstance(point, dict):
        for key, below in point.items():
            for name, other in alterations(below, f"{at}.{key}"):
                yield name, {**point, key: other}
            yield f"{at}.{key} is missing", {k: v for k, v in point.items() if k != key}
        yield f"{at} has more", {**point, "note": "1"}
    elif isinstance(point, list) and point:
        for i, below in enumerate(point):
            for name, other in alterations(below, f"{at}[{i}]"):
                yield name, [*point[:i], other, *point[i + 1 :]]
    elif isinstance(point, str) and point not in ("inf", "0") and rational(point) is not None:
        yield at, str(F(point) * (1 + F(1, 10**9)))
        if at.endswith("certified") and "parts" not in at:
            yield at, str(F(point) * (1 - F(1, 10**9)))
            yield at, "inf"
            yield at, None
    elif isinstance(point, int):
        yield at, point + 1
    else:
        yield at, "1/7"


@pytest.mark.parametrize("q", [2, 1, None])
def test_every_altered_field_of_a_combination_is_rejected(q: int | None) -> None:
    rng, fields = np.random.default_rng(5), set()
    for _ in range(8):
        scene = scene_of(rng, 5, q)
        prop = asked_of(objective_of(rng), q)
        made, claims = written(prop, scene)[0], derived(prop, scene)
        for name, other in alterations(made["points"][0]):
            found = list(differences({**made, "points": [other]}, claims))
            if name.endswith((".price", ".unit")) and not found:
                # Another price that leads to the same bound proves the same radius.
                assert other["certified"] == made["points"][0]["certified"]
                continue
            assert found, name
            fields.add(name.rsplit(".", 1)[-1])
    assert {"certified", "cut[0]", "needs"} <= fields
    assert q is None or {"price", "unit", "values", "bound", "certified"} <= fields


@pytest.mark.parametrize("q", [2, 1])
@pytest.mark.parametrize("kind", [AllOf, AnyOf])
def test_no_forgery_is_confirmed_beyond_what_an_attack_takes(kind: Any, q: int) -> None:
    """A forger who raises any of the radii, with prices, spends and bounds that honestly belong to them."""
    rng, tried = np.random.default_rng(11), 0
    for _ in range(examples(40)):
        scene = scene_of(rng, 5, q)
        parts = (leaf(rng, "mean_iou"), leaf(rng, "mean_accuracy"), leaf(rng, "iou[c1]"))
        prop, objective = asked_of(kind(parts), q), kind(parts)
        truth, claims = true_cost(objective, scene), derived(prop, scene)
        if not isinstance(claims["points"][0].parts[0], Bounded) or truth in (0, math.inf):
            continue
        made, (told,) = written(prop, scene)
        # The least double whose budget pays for the cheapest attack: no radius is truly as large.
        least = F(math.nextafter((float(truth) ** (1 / q)) / 1.5, math.inf))
        while spent(least, q) < truth:
            least = F(math.nextafter(float(least), math.inf))
        plain = context(scene)
        bound = open_bound(parts[0].metric, plain, constant(q))
        for raised in itertools.product((False, True), repeat=3):
            tampered = []
            for claim, part, part_told, up in zip(
                claims["points"][0].parts, made["points"][0]["parts"], told.parts, raised, strict=True
            ):
                if not up:
                    tampered.append(part)
                elif isinstance(claim, Bounded):
                    by = relaxation(bound, least)
                    assert part_told.by is None or by is not None
                    tampered.append(claim.filled(least, by))
                else:
                    tampered.append({**part, "certified": str(least)})
            radii = [rational(p["certified"]) for p in tampered]
            for top in {combined(radii, kind is AllOf), least}:
                if top is None or top < least:
                    continue
                tried += 1
                forged = {
                    **made,
                    "points": [{"certified": "inf" if top == math.inf else str(top), "parts": tampered}],
                }
                assert list(differences(forged, claims))
    assert tried > 20


@pytest.mark.parametrize("text", ["mean_accuracy", "mean_iou"])
def test_the_smallest_step_beyond_a_part_is_rejected(text: str) -> None:
    """The claim of a part ends where the exact relaxation meets the condition, to 2^-200 of it."""
    rng, seen = np.random.default_rng(2), 0
    for _ in range(12):
        # Without shares (q is infinity) the average is exact too, and the claim closes from both sides.
        scene = scene_of(rng, 5, None if text == "mean_iou" else 1)
        objective = AllOf((leaf(rng, text), leaf(rng, "iou[c1]")))
        prop = asked_of(objective, scene.q)
        claims, made = derived(prop, scene), written(prop, scene)[0]
        claim = claims["points"][0].parts[0]["certified"]
        if not isinstance(claim, Within) or claim.suffices(F(1, 2**60)):
            continue
        low, high = F(0), F(2**20)
        while high - low > low / 2**200:
            middle = (low + high) / 2
            low, high = (low, middle) if claim.suffices(middle) else (middle, high)
        part, other = made["points"][0]["parts"]
        for radius, held in ((low, True), (high, False)):
            parts = [{**part, "certified": str(radius)}, other]
            top = combined([radius, rational(other["certified"])], every=True)
            if top is None:
                continue
            seen += 1
            forged = {**made, "points": [{"certified": exact_text(top), "parts": parts}]}
            assert (list(differences(forged, claims)) == []) == held
    assert seen > 4


def test_a_wrong_radius_of_a_combination_is_a_soundness_alarm() -> None:
    alarms = 0
    for prop, scene in instances(3, 12):
        _, (told,) = written(prop, scene)
        if not isinstance(told.certified, Fraction) or not told.certified:
            continue
        claims = derived(prop, scene)
        with pytest.raises(SoundnessAlarm):
            filled("p", claims, [replace(told, certified=told.certified * 2)])
        if told.parts[0].by is None and isinstance(told.parts[0].certified, Fraction):
            twice = replace(told.parts[0], certified=told.parts[0].certified * 2 + 1)
            with pytest.raises(SoundnessAlarm):
                filled("p", claims, [replace(told, parts=(twice, *told.parts[1:]))])
        alarms += 1
    assert alarms


@pytest.mark.parametrize(
    ("radii", "every", "any_of"),
    [
        ((F(1), F(2)), F(2), F(1)),
        ((F(1), math.inf), math.inf, F(1)),
        ((F(1), None), None, None),
        ((math.inf, None), math.inf, None),
        ((F(0), None), None, F(0)),
        ((None, None), None, None),
        ((), None, None),
    ],
)
def test_undefined_parts_decide_nothing(radii: Any, every: Any, any_of: Any) -> None:
    assert combined(radii, every=True) == every
    assert combined(radii, every=False) == any_of


def test_a_tie_is_not_what_the_clean_image_meets() -> None:
    """Of two conditions that cost nothing, one by a tie alone: the clean image meets one of them and not both."""
    z = np.array([[1.0, 1.0, 0.0], [0.0, 4.0, 0.0]])
    here = np.ones(2, np.bool_)
    scene = Scene(z, np.array([0, 0]), ~here, here, np.ones(2), 2)
    half, none = metric("pixel_accuracy", K), metric("recall[c0]", K)
    meets_it, by_a_tie = (
        Degraded(half, Threshold(F(1, 2)), strict=False),
        Degraded(none, Threshold(F(0)), strict=False),
    )
    for parts in ((meets_it, by_a_tie), (by_a_tie, meets_it)):
        for kind, expected in ((AllOf, False), (AnyOf, True)):
            prop = asked_of(kind(parts), 2)
            entry = image_entry("image", prop, constant(2), _books(prop, scene, {}), 2)
            assert entry["met"] == [expected]
            assert entry["points"][0]["certified"] == "0"
            clean = {m: value(m, scene, scene.predicted) for m in metrics_of(prop)}
            assert met(kind(parts), clean) is expected


def test_averages_that_share_nothing_have_a_radius_one_can_fill() -> None:
    rng, seen = np.random.default_rng(8), 0
    for _ in range(8):
        scene = scene_of(rng, 5, None)
        book = AverageBook(metric("mean_iou", K), scene)
        objective = leaf(rng, "mean_iou")
        point = book.reach(objective, constant(None))
        assert isinstance(point, dict)
        found = (
            BatchEvaluator(context(scene), ["i"]).answer(asked_of(objective, None), constant(None))[0].certified[0]
        )
        assert filled("p", {"image": "i", "points": [point]}, [Told(found)])["points"][0].keys() == {"certified"}
        seen += isinstance(point["certified"], Within)
    assert seen
