"""Collects what a certificate needs while a check runs, and puts it together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from typing import Any

from robspec.arrays import tensor
from robspec.bounds import FamilyBound, cells, counting, macro, open_bound
from robspec.bounds.context import Context
from robspec.errors import SoundnessAlarm
from robspec.function.program import AnyProgram
from robspec.ir.plans import Mean, Sum
from robspec.ir.types import Degraded, Metric, Objective, Program, Property, WorstCaseQuery
from robspec.kernels.coarse.shares import PARTS
from robspec.lipschitz.cache import cached
from robspec.lipschitz.derivation import Derivation
from robspec.recheck import document
from robspec.recheck.assemble import Before, Inputs, constants, decided, header
from robspec.recheck.assemble import document as assembled
from robspec.recheck.averages import Relaxation
from robspec.recheck.conditions import conditions
from robspec.recheck.derive import IN_PARTS, Deriver
from robspec.recheck.located import Located
from robspec.recheck.parted import Parts
from robspec.recheck.write import Told, filled
from robspec.semantics.constant import Constant
from robspec.semantics.norm import Norm
from robspec.session.opening import Session
from robspec.verify import arithmetic
from robspec.verify.arithmetic import rounding_of
from robspec.verify.evaluate import is_pooled, is_unsure, marked, severest, summed
from robspec.verify.result import CheckReport, ImageResult, Value
from robspec.verify.run import Answers


class Certificate:
    """A certificate in the making.

    Args:
        program: the compiled specification.
        session: model, data and constants of the check.
        inputs: its options.
        spec_text: the specification as read.
    """

    def __init__(self, program: Program, session: Session, inputs: Inputs, spec_text: str) -> None:
        self._program = program
        self._session = session
        self._inputs = inputs
        self._spec_text = spec_text
        second = session.model.second
        boxes = None if second is None else second.program
        self._rounding = None
        if inputs.arithmetic is not None and inputs.arithmetic != "exact":
            self._rounding = rounding_of(program, session.model.program, inputs.arithmetic, boxes)
        self._before = None
        if inputs.coarse:
            self._before = self._cut(inputs.arithmetic or "exact")
        given = (program, session.model.program, inputs.assume, _kept, boxes, self._rounding, self._before)
        found, self._proofs, self._claim = constants(*given)
        known = session.established.constants
        if list(map(_numbers, found)) != list(map(_numbers, known)):
            raise SoundnessAlarm("certificate", "two readings of the proof give different constants", "report it")
        ending = None if self._before is None else self._before.ending
        self._deriver = Deriver(program, found, self._settled, ending)
        self._told: list[deque[tuple[Told, ...]]] = [deque() for _ in program.properties]

    def _cut(self, arithmetic: str) -> Before:
        """Where the network is cut, and how far coarse logits may be off."""
        tail, program = self._session.established.tail, self._program
        if tail is None:
            raise ValueError("the network is not cut")
        if arithmetic == "exact":
            return Before(tail)
        if tail.moved is not None and self._rounding is not None:
            # What is run is another program for the same function: both are within the larger of two bounds.
            other = rounding_of(program, tail.moved, arithmetic)
            self._rounding = other if other.delta > self._rounding.delta else self._rounding
        return Before(tail, rounding_of(program, tail.coarse, arithmetic).delta)

    def observe(self, context: Context, names: Sequence[str], answers: Answers) -> None:
        """Derive a batch in exact arithmetic, and compare with what was certified of it.

        Raises:
            SoundnessAlarm: exact arithmetic derives something else (E0901).
        """
        constants = self._session.established.constants
        for waiting, prop, constant, found in zip(
            self._told, self._program.properties, constants, answers, strict=True
        ):
            if found:
                waiting.extend(_told(prop, constant, context, found))
        if self._program.model.detector is None:
            rest = map(tensor, (context.labels, context.region, context.weights))
            self._deriver.add(names, tensor(context.given), *rest)
            return
        detector, scenes = context.detections()
        sides = self._program.model.input_shape[1:]
        located = [Located.of(s.scores, s.boxes, s.objects, detector, sides) for s in scenes]
        self._deriver.add_located(names, tensor(context.logits), located)

    def text(self, report: CheckReport) -> str:
        """Compare what was certified of all images together, and write everything down.

        Args:
            report: the finished check.

        Returns:
            The content of the file.

        Raises:
            SoundnessAlarm: exact arithmetic derives something else (E0901).
        """
        for waiting, prop in zip(self._told, report.properties, strict=True):
            if is_pooled(prop.source):
                waiting.extend(tuple(map(Told, image.certified)) for image in prop.images)
        session = self._session
        about = (self._spec_text, session.model.sha256, session.data, self._rounding, self._before)
        head = header(self._program, self._inputs, *about)
        made = assembled(head, self._program, self._proofs, self._claim, *self._deriver.finish())
        return document.dumps(decided(made, self._program, made))

    def _settled(self, number: int, _: int, entry: dict[str, Any]) -> dict[str, Any]:
        return filled(self._program.properties[number].name, entry, self._told[number].popleft())


def _numbers(constant: Constant) -> tuple[Fraction, ...]:
    rounding = (constant.rounding, constant.boxes_rounding, constant.coarse_rounding)
    return constant.value, constant.boxes, *rounding, Fraction(-1) if constant.coarse is None else constant.coarse


def _told(
    prop: Property, constant: Constant, context: Context, found: Sequence[ImageResult]
) -> Iterator[tuple[Told, ...]]:
    """What the check says of every image of a batch at every point."""

    exact, shift = arithmetic.bare(constant), arithmetic.shift(constant)

    @cache
    def opened(metric: Metric) -> FamilyBound:
        return open_bound(metric, context, exact)

    @cache
    def best(metric: Metric, relative: bool) -> Sequence[Fraction | None]:
        """What the clean images are worth at most, from which thresholds follow."""
        if not shift and not (relative and context.coarse is not None and counting.has_cells(metric)):
            return opened(metric).clean()
        if metric.of_objects:
            sure, (_, scenes) = arithmetic.objects_settled(context, metric, constant), context.detections()
            each = zip(opened(metric).clean(), scenes, sure, strict=True)
            return [arithmetic.best_of_objects(metric, h, marked(scene, metric), settled=s) for h, scene, s in each]
        if context.coarse is not None and counting.has_cells(metric):
            return counting.at_best(metric, context, constant.rounding)
        if isinstance(metric.plan, Sum):
            rows = zip(*(best(part, relative) for _, part in metric.parts), strict=True)
            return [summed(metric, row) for row in rows]
        return open_bound(metric, arithmetic.in_favour(context, metric, constant), exact).clean()

    def told(metric: Metric, radii: Sequence[Value | None], eps: Sequence[Value | None]) -> list[Told]:
        found = opened(metric) if isinstance(metric.plan, Mean | Sum) or shared(metric) else None
        rows = enumerate(zip(radii, eps, strict=True))
        return [Told(r, _stands_on(found, i, e), nodes=partial(_parts_of, found, i, e)) for i, (r, e) in rows]

    def shared(metric: Metric) -> bool:
        return constant.coarse is not None and counting.has_cells(metric)

    def looked_for(radii: Sequence[Value | None]) -> list[Value | None]:
        """The radii that the bound found, of which these are what rounding leaves."""
        return [r + shift if isinstance(r, Fraction) and r else r for r in radii]

    def parts(objective: Objective) -> list[Told]:
        """The radii of every condition of a combination, for every image."""
        if isinstance(objective, Degraded):
            bound = opened(objective.metric)
            known = best(objective.metric, bool(objective.threshold.slope))
            unsure = is_unsure(objective, context, constant)
            gammas = severest(objective, bound, known, constant, unsure=unsure)
            rows = bound.radius(gammas, strict=objective.strict)
            radii = [arithmetic.lessened(row[0], constant) for row in rows]
            return told(objective.metric, radii, looked_for(radii))
        return [Told(None, parts=row) for row in zip(*map(parts, objective.parts), strict=True)]

    points: list[list[Told]] = []
    for point, certified in enumerate(zip(*(image.certified for image in found), strict=True)):
        if isinstance(prop.query, WorstCaseQuery):
            points.append(told(prop.query.metric, certified, [prop.query.budgets[point] + shift] * len(certified)))
            continue
        objective = prop.query.objectives[point]
        if isinstance(objective, Degraded):
            points.append(told(objective.metric, certified, looked_for(certified)))
        elif constant.coarse is None and all(
            type(leaf.metric.plan) not in IN_PARTS for leaf in conditions(objective)
        ):
            points.append([Told(radius) for radius in certified])
        else:
            points.append([replace(t, certified=r) for t, r in zip(parts(objective), certified, strict=True)])
    yield from zip(*points, strict=True)


def _stands_on(bound: FamilyBound | None, image: int, eps: Value | None) -> Relaxation | None:
    by = bound.relaxation(image, eps) if isinstance(bound, macro.Bound) and isinstance(eps, Fraction) else None
    return None if by is None else Relaxation(by.price, by.unit, by.spends)


def _parts_of(bound: FamilyBound | None, image: int, eps: Value | None) -> Parts | None:
    """What cells have of their nodes in a bound that shares these."""
    if not isinstance(bound, cells.Bound | cells.Rated) or not isinstance(eps, Fraction):
        return None
    found = bound.parts(image, eps)
    return None if found is None else Parts(PARTS, found[0].tops, found[0].lefts, found[1])


def _kept(graph: AnyProgram, input_norm: Norm, output_norm: Norm) -> Derivation:
    """The very derivation the check stands on."""
    return cached(graph, input_norm=input_norm, output_norm=output_norm)
