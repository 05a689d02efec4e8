"""Certificates of cells: what a check certifies of random coarse logits is confirmed, and what it does not is not."""

from __future__ import annotations

import copy
import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robspec.bounds.context import Coarse, Context
from robspec.errors import SoundnessAlarm
from robspec.ir.types import AnyOf, Degraded, Program, Property, RadiusQuery, WorstCaseQuery
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import backends
from robspec.lipschitz.upsampling import interpolation
from robspec.lower import compile_text
from robspec.recheck.cell_claims import energy_of, read_prices
from robspec.recheck.cells import Prices
from robspec.recheck.claims import Combined, rational
from robspec.recheck.conditions import meets
from robspec.recheck.counted import CountPoint, _At
from robspec.recheck.derive import Deriver
from robspec.recheck.divided import Proof, RatioPoint, Shown, found, lowest, read_proof
from robspec.recheck.document import differences
from robspec.recheck.lattice import Lattice
from robspec.recheck.parted import Parts
from robspec.recheck.sight import Sight
from robspec.recheck.write import Told, filled
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, exact_text
from robspec.semantics.objective import Threshold
from robspec.session.certificate import _told
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled
from tests.bounds.language import metric
from tests.examples import examples
from tests.recheck.up_sampled import Drawn, drawn

F = Fraction
METRICS = (
    "pixel_accuracy",
    "stability",
    "recall[b]",
    "fnr[a]",
    "recall[a, b]",
    "iou[b]",
    "dice[a]",
    "precision[b]",
    "specificity[a]",
    "fpr[b]",
    "pooled iou[b]",
    "pooled precision[a]",
    "pooled mean_iou",
)
LOWER = ("fnr[a]", "fpr[b]")
TEXT = """language 1
model {{
  input image [3, {h}, {w}] in [0, 1]
  output {output}
  classes {classes}
}}
data d {{
  images "i/*"
  masks "m/*"
  ignore 255
}}
"""


def compiled(it: Drawn, asked: str) -> Program:
    """Worst cases and radii of a metric, and combinations where it is of an image."""
    h, w = (len(line) for line in it.lines)
    names = "a, b" if len(it.low) < 3 else "a, b, " + ", ".join(f"k{n}" for n in range(2, len(it.low)))
    kind = f"logits [{len(it.low)}, {h}, {w}]"
    lower, whole = asked in LOWER, asked.startswith("pooled")
    aggregate, every = ("worst_case", "") if whole else ("mean(worst_case)", " for all images")
    text = TEXT.format(h=h, w=w, output=kind, classes=names)
    text += f"property p {{\n  metric {asked}\n  norm l2\n  budget 0 to 1.5 points 4\n"
    text += f"  require {aggregate} {'<= 1' if lower else '>= 0'}\n}}\n"
    conditions = ("h >= 0.5", "h > 0.2 + 1 * h0") if lower else ("h <= 0.5", "h < 0.7 * h0")
    if not whole and not lower and asked != "pixel_accuracy":
        conditions += (
            "h <= 0.5 * h0 or pixel_accuracy <= 0.4",
            "h < 0.9 * h0 and (pixel_accuracy <= 0.7 or mean_iou < 0.3)",
        )
    for n, condition in enumerate(conditions):
        text += f"property r{n} {{\n  metric {asked}\n  norm l2\n  degraded when {condition}\n"
        text += f"  require radius >= 0{every}\n}}\n"
    program, diagnostics = compile_text(text)
    assert program is not None, [str(d) for d in diagnostics]
    return program


class Certified:
    """Two images, and what a certificate says of them."""

    def __init__(
        self, seed: int, asked: str, *, rounded: bool, backend: str = "cpu", given: Drawn | None = None
    ) -> None:
        it = given or drawn(seed, nodes=4, times=3, classes=(3, 5) if "a, b" in asked else (1, 2, 3))
        dice = np.random.default_rng(seed)
        self.program = compiled(it, asked)
        grid = Grid(*(Axis.of(rows, n) for rows, n in zip(it.lines, it.sides, strict=True)))
        other = it.low + np.round(dice.normal(size=it.low.shape) * 4) / 8
        self.logits = torch.from_numpy(np.stack([it.low, other]))
        self.labels = torch.from_numpy(np.stack([it.labels, np.roll(it.labels, 1)])).reshape(2, *grid.shape)
        dense = [
            torch.tensor([[float(row.get(n, 0)) for n in range(k)] for row in rows], dtype=torch.float64)
            for rows, k in zip(it.lines, it.sides, strict=True)
        ]

        def enlarge(z: torch.Tensor) -> torch.Tensor:
            return dense[0] @ z @ dense[1].T

        self._ending: Any = SimpleNamespace(lines=it.lines, sides=it.sides, enlarge=enlarge)
        delta, low = (F(1, 50), F(1, 80)) if rounded else (F(0), F(0))
        norm = math.prod(float(torch.linalg.matrix_norm(m, 2)) for m in dense)
        value = F(math.ceil(norm * 1000), 1000)
        constant = Constant(value, L2, L2, ConstantStatus.PROVED, rounding=delta, coarse=F(1), coarse_rounding=low)
        self.constants = [constant] * len(self.program.properties)
        self.context = Context(backends()[backend], Coarse(self.logits, grid, enlarge), self.labels, 255)
        self.results = self._results(it)

    def _results(self, it: Drawn) -> list[Any]:
        evaluator = BatchEvaluator(self.context, ["x", "y"])
        pairs = list(zip(self.program.properties, self.constants, strict=True))
        pools = PooledEvaluator(
            [(p, c) for p, c in pairs if is_pooled(p)], (len(it.low), *(len(line) for line in it.lines))
        )
        pools.add(self.context)
        found = [pools.answer(p.name) if is_pooled(p) else evaluator.answer(p, c) for p, c in pairs]
        pools.close()
        return found

    def claims(self, settle: Any = lambda _, __, entry: entry) -> list[list[Any]]:
        """Everything that is derived."""
        deriver = Deriver(self.program, self.constants, settle, self._ending)
        deriver.add(["x", "y"], self.logits, self.labels, None, None)
        return deriver.finish()[1]

    def written(self) -> list[list[Any]]:
        """What a check writes."""
        told: list[deque[tuple[Told, ...]]] = []
        for prop, constant, results in zip(self.program.properties, self.constants, self.results, strict=True):
            if is_pooled(prop):
                told.append(deque(tuple(map(Told, image.certified)) for image in results))
            else:
                told.append(deque(_told(prop, constant, self.context, results)))

        def settle(number: int, _: int, entry: dict[str, Any]) -> dict[str, Any]:
            return filled(self.program.properties[number].name, entry, told[number].popleft())

        return self.claims(settle)


def points(entries: list[list[Any]]) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    for p, images in enumerate(entries):
        for i, image in enumerate(images):
            for n, point in enumerate(image["points"]):
                yield p, i, n, point


def has_cells(point: dict[str, Any]) -> bool:
    return bool(point.get("cells")) or any(has_cells(part) for part in point.get("parts", ()))


@pytest.mark.parametrize("rounded", [False, True], ids=["exact", "real"])
@pytest.mark.parametrize("asked", METRICS)
def test_what_a_check_certifies_by_cells_is_confirmed(asked: str, rounded: bool) -> None:
    """Values, radii and combinations of random images, many on ties; nothing that is written is rejected."""
    cells = 0
    for seed in range(examples(8)):
        it = Certified(100 * len(asked) + seed, asked, rounded=rounded)
        made, claims = it.written(), it.claims()
        assert [list(differences(a, b)) for a, b in zip(made, claims, strict=True)] == [[]] * len(made)
        cells += sum(has_cells(point) for *_, point in points(made))
        for p, i, n, point in points(made):
            # Nothing better is confirmed with the same proof.
            certified = rational(point["certified"])
            if not isinstance(certified, Fraction):
                continue
            radius = "met" in made[p][i]
            up = asked not in LOWER or radius
            # A check ends its search for the value of each class after six steps: a mean may be a little better.
            step = F(1, 10 if asked == "pooled mean_iou" else 10**9)
            other = certified + step * (certified + 1) * (1 if up else -1)
            forged = copy.deepcopy(made[p][i])
            forged["points"][n]["certified"] = str(other)
            assert list(differences(forged, claims[p][i]))
    assert cells


def alterations(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """A part with one field altered, each in turn."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from ((name, {**value, key: other}) for name, other in alterations(below, f"{at}.{key}"))
            yield f"{at}.{key} is missing", {k: v for k, v in value.items() if k != key}
        yield f"{at} has more", {**value, "note": "1"}
    elif isinstance(value, list) and value:
        for i, below in enumerate(value):
            yield from ((name, [*value[:i], other, *value[i + 1 :]]) for name, other in alterations(below, f"{at}[]"))
        yield f"{at} is shorter", value[:-1]
    elif isinstance(value, int):
        yield at, value + 1
        yield at, value - 1
    elif isinstance(rational(value), Fraction):
        yield at, str(F(value) * (1 + F(1, 10**3)) + F(1, 10**3))
        yield at, "1/x"
    elif value is not None and value != "inf":
        yield at, 1


@pytest.mark.parametrize("asked", METRICS)
def test_every_altered_field_is_rejected(asked: str) -> None:
    """Each field of a point in turn, prices, budgets and what follows from them; a worse value is a true one."""
    fields = set()
    lower = asked in LOWER
    for seed in range(8):
        if seed >= examples(5) and any("prices" in field for field in fields):
            break
        it = Certified(100 * len(asked) + seed, asked, rounded=bool(seed % 2))
        made, claims = it.written(), it.claims()
        for p, i, n, point in points(made):
            for name, other in alterations(point):
                forged = {**made[p][i], "points": [*made[p][i]["points"]]}
                forged["points"][n] = other
                if list(differences(forged, claims[p][i])):
                    fields.add(name.split(".")[-1])
                    continue
                if any(word in name for word in ("price", "fall", "unit", ".cells.parts.")):
                    # Other prices that lead to the same bound prove the same, as do other parts of nodes.
                    assert other["certified"] == point["certified"]
                    continue
                weaker = name == ".certified" and (lower or asked == "pooled mean_iou") and "met" not in made[p][i]
                assert weaker, (name, point, other)
    assert {"budget", "certified"} < fields
    assert any("prices" in field for field in fields)


@pytest.mark.parametrize("kind", [METRICS[:4], METRICS[4:10], METRICS[10:]], ids=["counted", "divided", "pooled"])
def test_lying_prices_only_lose(kind: tuple[str, ...]) -> None:
    """Other prices, with what honestly follows from them: they prove the same, or nothing."""
    dice = np.random.default_rng(7)
    lost = 0
    for asked, seed in itertools.product(kind, range(examples(6))):
        it = Certified(100 * len(asked) + seed, asked, rounded=False)
        made, claims = it.written(), it.claims()
        for p, i, n, point in points(made):
            claim = claims[p][i]["points"][n]
            certified = rational(point["certified"])
            if not point.get("cells") or isinstance(claim, Combined) or certified is None:
                continue
            for factor in dice.uniform(0, 3, 4):
                if isinstance(claim, CountPoint):
                    asked_at = claim._asked(point["cells"])
                    assert asked_at is not None
                    lied = replace(asked_at, prices=turned(asked_at.prices, float(factor)))
                    honest = claim._made(certified, point.get("flips"), lied)
                elif isinstance(claim, RatioPoint):
                    proof = read_proof(point["cells"], claim._images(certified))
                    honest = claim._made(certified, lying(proof, float(factor)))
                else:
                    parts = zip(point["cells"], claim._parts(certified), strict=True)
                    proofs = [lying(read_proof(told, images), float(factor)) for told, (_, images) in parts]
                    honest = claim._made(certified, proofs)
                if honest is None:
                    lost += 1
                    continue
                assert honest["certified"] == point["certified"]
                assert claim.holds(honest)
    assert lost > 3


def turned(prices: Prices, factor: float) -> Prices:
    return replace(prices, of=tuple(price * F(factor) + F(1, 9) for price in prices.of))


def lying(proof: Proof | None, factor: float) -> Proof | None:
    return None if proof is None else replace(proof, prices=tuple(turned(each, factor) for each in proof.prices))


def parts_of(claim: Any, point: dict[str, Any]) -> Parts | None:
    """What cells have of their nodes in a point, None where it stands on colours."""
    told = point.get("cells")
    return Parts.read(told["parts"], claim.book.cells.lattice) if told and "parts" in told else None


def test_a_value_that_is_too_good_is_a_soundness_alarm() -> None:
    alarms = 0
    for asked in ("pixel_accuracy", "iou[b]", "pooled iou[b]"):
        it = Certified(100 * len(asked), asked, rounded=False)
        for p, i, n, point in points(it.written()):
            claim = it.claims()[p][i]["points"][n]
            certified = rational(point["certified"])
            if not isinstance(certified, Fraction) or not hasattr(claim, "filled"):
                continue
            nodes = partial(parts_of, claim, point)
            # A radius by parts of nodes is short of the largest by one part in 2^12 of what they add.
            found = Told(certified + (F(1, 10**6) if nodes() is None else certified / 2**9), nodes=nodes)
            with pytest.raises(SoundnessAlarm):
                filled("p", {"image": "x", "points": [claim]}, [found])
            filled("p", {"image": "x", "points": [claim]}, [replace(found, certified=certified)])
            alarms += 1
    assert alarms > 8


@pytest.mark.parametrize("asked", ["pixel_accuracy", "recall[a]"])
def test_a_pixel_that_doubles_take_for_wrong_is_right(asked: str) -> None:
    """A third of -12 and two of -6 are as much as of -10 and -7, and doubles see the second ahead of the first.

    By the definition every pixel is right, and one is level: no radius keeps it. Counted as wrong it would need no
    flip, and a threshold that is a part of the clean value would lie one pixel lower than it does.
    """
    rows = interpolation(2, 6, False, None)
    low = np.array([[[-12.0, -6.0]], [[-10.0, -7.0]]])
    sight = Sight(low, Lattice((({0: F(1)},), rows), (1, 2)))
    first, second = sight.order()
    assert sight.gaps(np.array([3]), first[[3]], second[[3]]).tolist() == [0]
    near = sight._interpolated(np.array([0]))[:, 0, 3]
    assert near[1] > near[0]
    labels = np.zeros(6, np.int64) if asked == "recall[a]" else first
    given = Drawn((({0: F(1)},), rows), (1, 2), low, labels)
    it = Certified(1, asked, rounded=False, given=given)
    made = it.written()
    clean = F(made[0][0]["clean"])
    assert it.results[0][0].clean == clean - F(1, 6)
    for strict in (False, True):
        objective = Degraded(metric(asked.replace("[a]", "[c0]"), 2), Threshold(F(0), F(11, 12)), strict=strict)
        prop = Property("near", RadiusQuery(L2, (objective,)), ())
        (result, _) = BatchEvaluator(it.context, ["x", "y"]).answer(prop, it.constants[0])
        needed = next(n for n in range(7) if meets(objective, clean, clean - F(n, 6)))
        assert needed == 1
        assert result.certified == (0,)


@pytest.mark.parametrize("asked", ["pixel_accuracy", "fnr[a]", "iou[b]", "fpr[b]", "pooled iou[b]"])
def test_no_step_beyond_what_follows_is_confirmed(asked: str) -> None:
    """One flip fewer with the value that belongs to it, and no end to a radius that has one."""
    fewer = endless = 0
    for seed in range(4):
        it = Certified(100 * len(asked) + seed, asked, rounded=bool(seed % 2))
        made, claims = it.written(), it.claims()
        for p, i, n, point in points(made):
            claim, told = claims[p][i]["points"][n], point.get("cells")
            if "flips" in point and point["flips"] is not None:
                flips = min(point["cut"][0], told["flips"] if told else point["cut"][0]) - 1
                if flips >= 0:
                    forged = {**point, "flips": flips, "certified": exact_text(claim.book.after(flips))}
                    assert not claim.holds(forged)
                    fewer += 1
            if "met" in made[p][i] and not isinstance(claim, Combined) and point["certified"] not in ("inf", None):
                proof: Any = None
                assert not claim.holds({**point, "certified": "inf", "budget": None})
                if isinstance(claim, CountPoint):
                    assert claim._made(math.inf, None, None) is None
                    proof = read_prices(["0"] * claim.book.cells.lattice.colours, claim.book.cells.lattice)
                    assert proof is not None
                    assert claim._made(math.inf, None, _At(proof)) is None
                elif isinstance(claim, RatioPoint):
                    images = claim._images(math.inf)
                    proof = found(claim.book.sums, images, claim._value(0), exact=True)
                    assert claim._made(math.inf, None) is None
                    assert claim._made(math.inf, proof) is None
                else:
                    proofs = [found(*part, lowest(*part), exact=True) for part in claim._parts(math.inf)]
                    assert claim._made(math.inf, None) is None
                    assert claim._made(math.inf, proofs) is None
                endless += 1
    assert endless
    assert fewer or asked not in ("pixel_accuracy", "fnr[a]")


def test_a_coarse_budget_holds_what_rounding_takes() -> None:
    one = Constant(F(5), L2, L2, ConstantStatus.PROVED, coarse=F(2), coarse_rounding=F(1, 3))
    assert energy_of(F(1, 2), one) == F(16, 9)
    with pytest.raises(ValueError, match="nothing is known"):
        energy_of(F(1), replace(one, coarse=None))


@pytest.mark.parametrize("strict", [False, True])
def test_a_threshold_that_is_just_reached_is_reached(strict: bool) -> None:
    it = Certified(100 * len("iou[b]"), "iou[b]", rounded=False)
    claim = it.claims()[1][0]["points"][0]
    assert isinstance(claim, RatioPoint)
    assert claim.objective is not None
    claim = replace(claim, objective=replace(claim.objective, strict=strict))
    value = claim._value(0)
    assert claim._kept(value, Shown(F(0), F(1))) is strict
    assert claim._kept(value, Shown(F(1, 10**9), F(1)))
    for other, shown in (
        (value, Shown(F(-1, 10**9), F(1))),
        (value, Shown(F(1), F(0))),
        (value / 2, Shown(F(1), F(1))),
    ):
        assert not claim._kept(other, shown)


def test_a_radius_without_end_takes_coarse_logits_that_do_not_move() -> None:
    """Where they are constant cells answer every budget alike; full-size logits beside them answer none."""
    it = Certified(100 * len("pixel_accuracy"), "pixel_accuracy", rounded=True)
    claim = it.claims()[1][0]["points"][0]
    assert isinstance(claim, CountPoint)
    prices = _At(Prices((F(0),) * claim.book.cells.lattice.colours))
    for rounding, holds in ((F(1, 10**9), True), (F(100), False)):
        still = replace(claim, constant=replace(claim.constant, coarse=F(0), coarse_rounding=rounding))
        made = still._made(math.inf, None, prices)
        assert (made is not None) == holds
        assert still._made(math.inf, None, None) is None
        moving = replace(still, constant=replace(still.constant, coarse=F(1)))
        assert moving._made(math.inf, None, prices) is None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("asked", ["pixel_accuracy", "recall[b]"])
def test_a_level_pixel_that_is_wrong_is_not_in_favour_of_a_threshold(asked: str, strict: bool) -> None:
    """The middle one of three pixels is level, and wrong by the definition: the first class of two is predicted.

    Where a threshold falls with the clean value, or grows faster, taking it for right makes the threshold too low, or
    the clean image meet a condition that it does not meet.
    """
    rows = interpolation(2, 3, False, None)
    low = np.array([[[0.5, -0.5]], [[-0.5, 0.5]]])
    labels = np.array([0, 1, 1])
    it = Certified(1, asked, rounded=False, given=Drawn((({0: F(1)},), rows), (1, 2), low, labels))
    clean = F(it.written()[0][0]["clean"])
    assert clean == {"pixel_accuracy": F(2, 3), "recall[b]": F(1, 2)}[asked]
    # Both logits of the second node level: its pixel is of the first class then, and the middle one still is.
    moved = low.copy()
    moved[:, 0, 1] = [1e-9, -1e-9]
    after = Sight(moved, Lattice((({0: F(1)},), rows), (1, 2))).predicted
    assert after.tolist() == [0, 0, 0]
    counted = labels == labels if asked == "pixel_accuracy" else labels == 1
    reached = F(int((counted & (after == labels)).sum()), int(counted.sum()))
    query = it.program.properties[0].query
    assert isinstance(query, WorstCaseQuery)
    for threshold in (Threshold(F(1), F(-1)), Threshold(F(1, 2), F(-1, 4)), Threshold(F(-1), F(2))):
        objective = Degraded(query.metric, threshold, strict=strict)
        either = AnyOf((objective, Degraded(metric("stability", 2), Threshold(F(-1)), strict=strict)))
        for asked_for in (objective, either):
            prop = Property("near", RadiusQuery(L2, (asked_for,)), ())
            (result, _) = BatchEvaluator(it.context, ["x", "y"]).answer(prop, it.constants[0])
            if meets(objective, clean, reached):
                assert isinstance(result.certified[0], Fraction)
                assert result.certified[0] <= np.linalg.norm(moved - low)
            if not meets(objective, clean, clean):
                assert result.attained == (math.inf,)
            deriver = Deriver(
                replace(it.program, properties=(prop,)), it.constants[:1], lambda _, __, e: e, it._ending
            )
            deriver.add(["x"], it.logits[:1], it.labels[:1], None, None)
            (told,) = _told(prop, it.constants[0], it.context.image(0), [result])
            filled("near", deriver.finish()[1][0][0], told)
