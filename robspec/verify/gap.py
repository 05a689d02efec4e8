"""Why a requirement stays unknown, how far it could be proved, and what to do next."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from robspec.function.program import AnyProgram
from robspec.ir.types import Aggregate, Program, Requirement, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.lipschitz.derivation import Cost, Derivation
from robspec.lipschitz.measure import measure
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import directed_text, shortest
from robspec.verify import arithmetic
from robspec.verify.aimed import searchable
from robspec.verify.constant import scales, search_range
from robspec.verify.established import Established
from robspec.verify.provable import Asked, largest_budgets
from robspec.verify.result import CheckReport, Gap, PropertyResult, RequirementResult, Value, Verdict
from robspec.verify.run import ImageSource, LogitsModel
from robspec.verify.smoothed import answerable

_STEPS = 20


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the advice rests on."""

    worst_case: bool
    searchable: bool
    steps: int
    provable: Fraction
    boundary: bool
    proved: bool
    archive: str | None
    smoothable: bool
    rounding: Fraction
    """What rounding alone is worth as a budget, where that is no less than what is asked; else 0."""


def explained(
    report: CheckReport,
    model: LogitsModel,
    graph: AnyProgram,
    data: ImageSource,
    backend: Backend,
    established: Established,
    size: int,
    archive: str | None = None,
) -> CheckReport:
    """Add to every UNKNOWN requirement of a finished check which gap it is and what to do next.

    Args:
        report: the check.
        model: the model it ran.
        graph: its graph, without the specification's normalisation.
        data: the images.
        backend: computes bounds.
        established: the constants, with their proofs.
        size: images per batch.
        archive: the model file where it is an archive, for commands that take one.

    Returns:
        The report; as it was where nothing is unknown, not every image was evaluated, or the search is interrupted.

    Source: MATH.md sections 3 and 7.
    """
    unknown = [p for p in report.properties if any(_open(r) for r in p.requirements)]
    if not report.complete or not unknown:
        return report
    try:
        return _explained(report, model, graph, data, backend, established, size, archive)
    except KeyboardInterrupt:
        return report  # the verdicts stand


def _explained(
    report: CheckReport,
    model: LogitsModel,
    graph: AnyProgram,
    data: ImageSource,
    backend: Backend,
    established: Established,
    size: int,
    archive: str | None,
) -> CheckReport:
    began = time.perf_counter()
    asked = [
        _asked(p, r) for p in report.properties if p.source.smoothing is None for r in p.requirements if _open(r)
    ]
    searched = list(dict.fromkeys(a for a in asked if a is not None))
    budgets = largest_budgets(report.program, searched, model, data, backend, size, established.tail)
    found = dict(zip(searched, budgets, strict=True))
    measured: dict[Constant, Fraction | None] = {}
    properties = []
    for index, prop in enumerate(report.properties):
        proof = established.proofs[index] if index < len(established.proofs) else None
        items = []
        for item in prop.requirements:
            if not _open(item) or prop.source.smoothing is not None:
                items.append(item)
                continue
            if prop.constant not in measured:
                measured[prop.constant] = _attained(report.program, graph, prop.constant)
            question = _asked(prop, item)
            reach = found[question] if question is not None else _radius(prop, item)
            cost = None if proof is None else costliest(proof, report.program)
            gap = _gap(report, prop, item, reach, measured[prop.constant], cost, archive)
            items.append(replace(item, gap=gap))
        properties.append(replace(prop, requirements=tuple(items)))
    spent = time.perf_counter() - began
    times = replace(report.times, reasons=report.times.reasons + spent, total=report.times.total + spent)
    return replace(report, properties=tuple(properties), times=times)


def costliest(proof: Derivation, program: Program) -> Cost | None:
    """Find what costs the proved constant most, the normalisation of the images included."""
    tightest, _ = scales(program.model.normalize)
    factor = float(1 / tightest)
    extra = () if factor <= 1.0 else (Cost("normalisation", "1/min(std)", factor),)
    return proof.costliest(extra)


def _open(item: RequirementResult) -> bool:
    """Whether there is a gap to explain: something was evaluated, and it is not decided."""
    return item.verdict is Verdict.UNKNOWN and item.certified is not None


def _asked(prop: PropertyResult, item: RequirementResult) -> Asked | None:
    """The search that a requirement on worst cases calls for; one for all swept points."""
    query = prop.source.query
    if not isinstance(query, WorstCaseQuery):
        return None
    points = [r.point for r in prop.requirements if r.requirement is item.requirement and _open(r)]
    budget = min(query.budgets[point] for point in points)
    return None if budget <= 0 else Asked(prop.source, prop.constant, item.requirement, budget)


def _radius(prop: PropertyResult, item: RequirementResult) -> Fraction:
    """The largest radius that the certified ones prove for this requirement; 0 for a budget of 0."""
    requirement = item.requirement
    if isinstance(prop.source.query, WorstCaseQuery):
        return Fraction(0)
    value: Value | None = item.certified
    if requirement.aggregate is Aggregate.FRACTION:
        radii = sorted((v for i in prop.images if (v := i.certified[item.point]) is not None), reverse=True)
        level = Fraction(1) if requirement.level is None else requirement.level
        value = radii[max(math.ceil(level * len(radii)), 1) - 1] if radii else None
    return Fraction(0) if value is None or value == math.inf else Fraction(value)


def _attained(program: Program, graph: AnyProgram, constant: Constant) -> Fraction | None:
    """A slope that two images realise, rounded down: no constant of this network is smaller."""
    searched = search_range(program)
    if constant.status is not ConstantStatus.PROVED or searched is None:
        return None
    # No time of its own: the first steps of the search, always the same.
    pair = measure(
        graph,
        input_norm=constant.input_norm,
        output_norm=constant.output_norm,
        input_range=searched,
        seconds=0.0,
    )
    return Fraction(pair.lower) / scales(program.model.normalize)[1]


def _gap(
    report: CheckReport,
    prop: PropertyResult,
    item: RequirementResult,
    reach: Fraction,
    measured: Fraction | None,
    cost: Cost | None,
    archive: str | None,
) -> Gap:
    query, constant = prop.source.query, prop.constant
    worst_case = isinstance(query, WorstCaseQuery)
    target = query.budgets[item.point] if isinstance(query, WorstCaseQuery) else _wanted(item.requirement)
    shift = arithmetic.shift(constant)
    needed = constant.value * reach / target if target else Fraction(0)
    boundary = needed == 0 or (measured is not None and needed < measured)
    causes = ["images-near-boundary" if boundary else "constant-too-large"]
    can = searchable(query)
    if can and not report.attack_steps:
        causes.append("no-attack-tried")
    facts = _Facts(
        worst_case,
        can,
        report.attack_steps,
        reach,
        boundary,
        constant.status is ConstantStatus.PROVED,
        archive,
        answerable(prop.source, report.program.model),
        shift if shift >= target else Fraction(0),
    )
    advice = tuple(text for advise in _ADVICE if (text := advise(facts)))
    return Gap(tuple(causes), reach, needed, measured, cost, advice)


def _wanted(requirement: Requirement) -> Fraction:
    return max(requirement.bound, Fraction(0))


def _attack(facts: _Facts) -> str:
    if not facts.searchable or facts.steps:
        return ""
    return f"the same command with `--attack {_STEPS}` searches each ball for a counterexample"


def _ask_less(facts: _Facts) -> str:
    if not facts.provable:
        return ""
    what = "eps <=" if facts.worst_case else "radius >="
    return f"ask for {what} {shortest(facts.provable)}, which is proved"


def _nodes(facts: _Facts) -> str:
    if facts.boundary or not facts.proved or facts.archive is None:
        return ""
    return f"`robspec lipschitz {shlex.quote(facts.archive)}` shows what every node costs"


def _train(facts: _Facts) -> str:
    aim = "larger margins" if facts.boundary else "a constant of 1 by construction"
    return f"`robspec train CONFIG --out DIR` trains a network for {aim}"


def _smooth(facts: _Facts) -> str:
    if facts.boundary or not facts.smoothable:
        return ""
    return "`by smoothing { sigma S samples 100 alpha 0.001 }` in the property asks about the vote under noise"


def _arithmetic(facts: _Facts) -> str:
    if not facts.rounding:
        return ""
    worth = directed_text(facts.rounding, 6, up=True)
    return f"rounding alone counts as eps = {worth}: `--arithmetic exact` takes the forward pass as exact"


_ADVICE: tuple[Callable[[_Facts], str], ...] = (_attack, _arithmetic, _ask_less, _nodes, _train, _smooth)
"""One function for each thing that can be done; an empty answer where it does not apply."""
