"""Comparisons of a bound with an optimum: direction, tolerance and what follows from each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Accuracy, Plan, Rate, Stability, Weighted
from robspec.ir.types import AllOf, Degraded, Metric, Objective
from robspec.oracle import costs, linear, optimum, solver
from robspec.oracle.moves import SLACK, Reach, affordable, budget_of
from robspec.oracle.scene import FloatArray, IntArray, Scene, value
from robspec.semantics.classify import Flip
from robspec.semantics.norm import exact_text

BELOW = "bound <= optimum"
EQUAL = "equal"
NO_TOLERANCE = "none: the attack found is paid for and its value computed in exact rationals"
BUDGET_TOLERANCE = (
    f"none downwards, the attack found being exact; upwards the optimum of a budget {SLACK:g} larger, because costs "
    "are rounded down to 2^-40 of the budget each and HiGHS meets constraints to 1e-9"
)

RELAXED = 1e-6
"""Tolerance, relative, where a solver's value is compared itself."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One bound beside one independent answer.

    Args:
        image: which image, or how many.
        property: of the specification.
        what: the part of the image, and the question.
        method: how the independent answer was found.
        direction: BELOW or EQUAL; for a metric where lower is better, read in the sense of its negative.
        tolerance: how much may lie between them, and why.
        bound: what robspec certifies.
        optimum: the independent answer, verified exactly where `direction` can fail by it.
        agreed: whether they agree; None when nothing could be solved.
        seconds: time taken.
        note: what went wrong, or what is left unchecked.
    """

    image: str
    property: str
    what: str
    method: str
    direction: str
    tolerance: str
    bound: str
    optimum: str
    agreed: bool | None
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a comparison is about; see `Comparison`."""

    image: str
    property: str
    part: str


def worst_case(
    subject: Subject,
    metric: Metric,
    scene: Scene,
    reach: Fraction,
    eps: str,
    bound: Fraction | None,
    *,
    thorough: bool,
) -> Comparison:
    """Compare a certified worst case with the optimum within reach.

    Args:
        subject: for the report.
        metric: any family but "pooled".
        scene: the image.
        reach: L eps, exact.
        eps: as the report shows it.
        bound: the certified value, None where robspec calls the metric undefined.
        thorough: see `optimum.solve`.

    Returns:
        The comparison. A bound better than an attack that is within the budget beyond doubt disagrees; so does, in
        a family that claims to be exact, one worse than the optimum of a slightly larger budget.
    """
    began = time.perf_counter()
    what = f"{subject.part}: worst case at eps = {eps}"
    clean = value(metric, scene, scene.predicted)
    exact = metric.plan.proof.exact
    direction, tolerance = (EQUAL, BUDGET_TOLERANCE) if exact else (BELOW, NO_TOLERANCE)

    def finished(method: str, found: str, agreed: bool | None, note: str = "") -> Comparison:
        seconds = time.perf_counter() - began
        text = shown(bound)
        return Comparison(
            subject.image, subject.property, what, method, direction, tolerance, text, found, agreed, seconds, note
        )

    if clean is None or bound is None:
        same = clean is None and bound is None
        return finished(
            "definition", shown(clean), same, "undefined on this image" if same else "only one is defined"
        )
    found = optimum.solve(metric, scene, reach, thorough=thorough)
    if found is None:
        return finished("none", "not solved", None, "no program of this size is solved; see the crops")
    method = f"{found.method}, {found.moves} moves"
    if _better(metric, bound, found.value):
        note = f"the bound is UNSOUND: an attack that costs {float(found.attack.spent):.9g} attains worse"
        return finished(method, shown(found.value), False, note)
    if not found.complete:
        direction, tolerance = BELOW, NO_TOLERANCE
        return finished(method, f"attained {shown(found.value)}", True)
    if exact and found.beyond is None:
        return finished(
            method, shown(found.value), None, "the solver ran out of time; the attack it found is not worse"
        )
    if exact and found.beyond is not None and _better(metric, found.beyond, bound):
        note = f"the bound is looser than the optimum {shown(found.beyond)} of a larger budget"
        return finished(method, shown(found.value), False, note)
    return finished(method, shown(found.value), True)


def radius(
    subject: Subject,
    objective: Objective,
    scene: Scene,
    constant: Fraction,
    bound: Reach | None,
    *,
    thorough: bool,
    rounding: Fraction = Fraction(0),
) -> Comparison:
    """Compare a certified radius with what attacks just within and just beyond it attain.

    Args:
        subject: for the report.
        objective: what an attack must meet.
        scene: the image.
        constant: L.
        bound: the certified radius: a rational, infinity, or None where the objective is undefined.
        thorough: see `optimum.solve`.
        rounding: what every attack may reach besides; thresholds are numbers then.

    Returns:
        The comparison. An attack within the radius that meets the objective disagrees; so does, for a single
        condition on a metric of an exact family, that none just beyond it does.
    """
    began = time.perf_counter()
    leaves = list(conditions(objective))
    exact = isinstance(objective, Degraded) and objective.metric.plan.proof.exact
    direction, tolerance = (EQUAL, BUDGET_TOLERANCE) if exact else (BELOW, NO_TOLERANCE)

    def finished(method: str, found: str, agreed: bool | None, note: str = "") -> Comparison:
        seconds = time.perf_counter() - began
        what = f"{subject.part}: radius"
        return Comparison(
            subject.image,
            subject.property,
            what,
            method,
            direction,
            tolerance,
            shown(bound),
            found,
            agreed,
            seconds,
            note,
        )

    clean = _met(objective, scene, scene.predicted)
    if bound is None or clean is None:
        same = bound is None and clean is None
        if not same and not isinstance(objective, Degraded):
            return finished("definition", "undefined", None, "a part is undefined, another decides")
        return finished("definition", "undefined", same, "undefined on this image" if same else "only one is defined")
    if bound == 0 and clean:
        return finished("definition", "0", True, "the clean image meets the objective")
    if clean:
        return finished("definition", "0", False, "the bound is UNSOUND: the clean image meets the objective")
    reach = bound if bound == math.inf else bound * constant + rounding
    partial = False
    within = [optimum.solve(leaf.metric, scene, reach, thorough=thorough) for leaf in leaves]
    if not any(within):
        return finished("none", "not solved", None, "no program of this size is solved; see the crops")
    method = ", ".join(dict.fromkeys(f"{o.method}, {o.moves} moves" for o in within if o))
    for found in within:
        partial |= found is None or not found.complete
        if found is not None and bound != 0 and _met(objective, scene, found.attack.found):
            note = f"the bound is UNSOUND: an attack that costs {float(found.attack.spent):.9g} meets the objective"
            return finished(method, f"<= {shown(bound)}", False, note)
    if partial:
        direction, tolerance, exact = BELOW, NO_TOLERANCE, False
    if exact and bound != math.inf:
        beyond = max(Fraction(bound), Fraction(1, 2**400)) * constant + rounding
        beyond *= 1 + Fraction(SLACK)
        wider = optimum.solve(leaves[0].metric, scene, beyond, thorough=thorough)
        if wider is None or wider.beyond is None:
            return finished(method, "not solved", None, "the solver ran out of time beyond the radius")
        if not _meets(leaves[0], scene, wider.beyond):
            note = f"the bound is looser than the optimum: no attack {SLACK:g} beyond it meets the objective"
            return finished(method, f"> {shown(bound)}", False, note)
    return finished(method, shown(bound) if exact else f">= {shown(bound)}", True)


def relaxation(
    subject: Subject, metric: Metric, scene: Scene, reach: Fraction, eps: str, bound: Fraction
) -> Comparison:
    """Compare a certified worst case of a linear metric with the linear relaxation of its program.

    Args:
        subject: for the report.
        metric: of the counting or the weighted family, defined on the image.
        scene: the image.
        reach: L eps, exact and positive; the norm is not infinity.
        eps: as the report shows it.
        bound: the certified value.

    Returns:
        The comparison: the weighted bound is the relaxation itself, or below it where it prices a pixel by the
        nearest class alone and others have to be passed too; the counting bound leaves out what is made in part, less
        than one flip.
    """
    began = time.perf_counter()
    moves, gains = linear.useful(metric, scene, affordable(scene, reach))
    groups = linear.alike(moves, gains)
    if groups:
        deciding = np.isin(np.arange(len(moves)), np.concatenate(groups))
        moves, gains = moves.only(deciding), gains[deciding]
    clean = value(metric, scene, scene.predicted)
    best = solver.relaxed(gains, moves.share, 1.0)
    sign = -1 if metric.lower_is_better else 1
    step = float(gains.max(initial=0.0)) if isinstance(metric.plan, Accuracy | Stability | Rate) else 0.0
    by_pairs = scene.q == 2 and isinstance(metric.plan, Weighted) and _many_behind(metric.plan.of, scene)
    tolerance = f"{RELAXED:g} of the value, Clarabel being accurate to about 1e-8"
    if step:
        tolerance += ", and the one flip that the relaxation makes in part"
    agreed: bool | None = None
    text = "not solved"
    if best is not None and clean is not None:
        low = float(clean) - sign * best
        text = f"{low:.9g}"
        above = sign * (float(bound) - low)
        agreed = (by_pairs or above >= -RELAXED) and above <= step + RELAXED
    return Comparison(
        image=subject.image,
        property=subject.property,
        what=f"{subject.part}: worst case at eps = {eps}, flips made in part",
        method=f"linear relaxation, Clarabel, {len(moves)} moves",
        direction=BELOW if by_pairs else EQUAL,
        tolerance=tolerance,
        bound=shown(bound),
        optimum=text,
        agreed=agreed,
        seconds=time.perf_counter() - began,
        note="" if agreed is not False else "the bound is not the relaxation, up to the tolerance",
    )


def _many_behind(plan: Plan, scene: Scene) -> bool:
    """Whether a pixel leaves or enters a class set past several classes of the side that is ahead."""
    if not isinstance(plan, Rate):
        return False
    members = len(plan.classes)
    return (members if plan.flips is Flip.LEAVE else scene.logits.shape[1] - members) > 1


def flip_costs(
    subject: Subject, scene: Scene, targets: IntArray, constant: Fraction, radii: list[Reach | None]
) -> Comparison:
    """Compare what robspec charges for single flips with conic programs and with exact rationals.

    Args:
        subject: for the report.
        scene: a few pixels.
        targets: [N], the cheapest class each can be brought to.
        constant: L, positive.
        radii: the certified radius of each pixel as an image of its own, within which it does not flip.

    Returns:
        The comparison: never above the exact cost, and equal to the conic program's up to its accuracy.
    """
    began = time.perf_counter()
    solved = costs.conic(scene, targets)
    rows = zip(scene.logits.tolist(), targets.tolist(), strict=True)
    truth = [costs.exact(pixel, k, scene.q) for pixel, k in rows]
    charged = [budget_of(r * constant, scene.q) if r is not None else Fraction(0) for r in radii]
    dear = [i for i, (c, t) in enumerate(zip(charged, truth, strict=True)) if c > t]
    exact = np.array([float(t) for t in truth])
    far = _apart(np.array([float(c) for c in charged]), exact)
    off = math.nan if solved is None else _apart(solved, exact)
    note = ""
    if dear:
        note = f"the bound is UNSOUND: {len(dear)} flips are charged more than they cost"
    elif far > RELAXED or off > RELAXED:
        note = f"costs differ by up to {far:.3g} (charged) and {off:.3g} (solved) of themselves"
    return Comparison(
        image=subject.image,
        property=subject.property,
        what=f"{subject.part}: what each flip costs",
        method=f"conic program, Clarabel, and exact rationals, {len(truth)} pixels",
        direction=EQUAL,
        tolerance=f"none above the exact cost; else {RELAXED:g} of it, Clarabel being accurate to about 1e-8",
        bound=f"within {far:.1e} of exact",
        optimum="not solved" if solved is None else f"within {off:.1e} of exact",
        agreed=False if note else None if solved is None else True,
        seconds=time.perf_counter() - began,
        note=note or ("" if solved is not None else "Clarabel gave no answer; exact rationals agree"),
    )


def _apart(found: FloatArray, exact: FloatArray) -> float:
    """Largest difference relative to the exact cost."""
    costly = exact > 0
    return float(np.max(np.abs(found - exact)[costly] / exact[costly], initial=0.0))


def conditions(objective: Objective) -> Iterator[Degraded]:
    """List the single conditions of an objective."""
    if isinstance(objective, Degraded):
        yield objective
    else:
        for part in objective.parts:
            yield from conditions(part)


def _met(objective: Objective, scene: Scene, found: IntArray) -> bool | None:
    """Tell whether labels meet an objective; None where it is undefined."""
    if isinstance(objective, Degraded):
        reached = value(objective.metric, scene, found)
        return None if reached is None else _meets(objective, scene, reached)
    parts = [_met(part, scene, found) for part in objective.parts]
    decides = not isinstance(objective, AllOf)
    if decides in parts:
        return decides
    return None if None in parts else not decides


def _meets(condition: Degraded, scene: Scene, reached: Fraction) -> bool:
    clean = value(condition.metric, scene, scene.predicted)
    if clean is None:
        raise ValueError("an undefined condition reached a comparison")
    gamma = condition.threshold.at(clean)
    if condition.metric.lower_is_better:
        reached, gamma = -reached, -gamma
    return reached < gamma if condition.strict else reached <= gamma


def _better(metric: Metric, one: Fraction, other: Fraction) -> bool:
    return one < other if metric.lower_is_better else one > other


def shown(number: Fraction | float | None) -> str:
    """Write a value exactly, with its decimal where that is not exact."""
    if number is None:
        return "undefined"
    if isinstance(number, float) and math.isinf(number):
        return "inf"
    exact = Fraction(number)
    text = exact_text(exact)
    return text if exact.denominator == 1 else f"{text if len(text) < 24 else ''} ({float(exact):.9g})".strip()
