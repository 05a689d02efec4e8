"""The attack on a finished check: what is not decided yet, image by image, until the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from robspec.ir.types import WorstCaseQuery
from robspec.notes import Note
from robspec.verify.attack import Attacker
from robspec.verify.evaluate import is_pooled
from robspec.verify.result import CheckReport, PropertyResult
from robspec.verify.run import ImageSource, property_result
from robspec.verify.undecided import places


class Selectable(ImageSource, Protocol):
    """A data set of which some images can be read again."""

    def only(self, places: Sequence[int]) -> ImageSource:
        """The same data set of some of its images."""
        ...


@dataclass(frozen=True, slots=True)
class Planned:
    """What an attack is about to do.

    Args:
        searches: how many images are to be attacked, one counted for each property and swept point.
        gradients: at most so many of one image.
    """

    searches: int
    gradients: int


def planned(report: CheckReport, attacker: Attacker) -> Planned:
    """Count what an attack would do at most."""
    found = 0
    for prop in report.properties:
        if _together(prop):
            found += report.images * _points(prop) if _worth_it(prop, attacker) else 0
        else:
            found += sum(len(at) for at in _places(prop, attacker))
    effort = attacker.effort
    return Planned(found, found * effort.steps * effort.restarts * len(effort.methods))


def attacked(
    report: CheckReport,
    attacker: Attacker,
    data: Selectable,
    *,
    told: Callable[[float], None] = lambda _: None,
) -> CheckReport:
    """Attack what a check left undecided.

    Args:
        report: the check, complete.
        attacker: searches, and knows how hard.
        data: the images that were checked.
        told: of finished searches, see `Planned`.

    Returns:
        The report with what was found, and its requirements decided again. What was found stands when it is
        interrupted by SIGINT or SIGTERM, or its time is up; the report says so.

    Raises:
        SoundnessAlarm: a find does worse than certified (E0901).
    """
    began = time.perf_counter()
    properties = list(report.properties)
    total, done, stopped = planned(report, attacker).searches, 0, False

    def tell(count: int) -> None:
        nonlocal done
        done += count
        told(count)

    try:
        for k, prop in enumerate(properties):
            if _together(prop):
                properties[k] = _as_one(prop, attacker, data, tell)
                continue
            for changed in _image_by_image(prop, attacker, data, tell):
                properties[k] = changed
    except KeyboardInterrupt:
        stopped = True  # what the bounds certify, and what was found so far, stands
    spent = time.perf_counter() - began
    times = replace(report.times, attack=spent, total=report.times.total + spent)
    effort = attacker.effort
    remarks = report.remarks
    if attacker.clock.rang and not stopped:
        text = f"the {effort.seconds:g} seconds of --attack-seconds were over after {done} of {total} searches"
        figures = {"searches": total, "finished": done}
        remarks = (*remarks, Note("attack-out-of-time", "attack", f"{text}; what was found counts", figures))
    return replace(
        report,
        properties=tuple(properties),
        times=times,
        remarks=remarks,
        attack_steps=effort.steps,
        attack_methods=effort.methods,
        attack_searches=done,
        attack_stopped=stopped,
    )


def announced(plan: Planned, attacker: Attacker, data: Selectable) -> str:
    """Say what an attack is about to do and how long it may take, by one gradient of the first images.

    Args:
        plan: what it is about to do.
        attacker: searches.
        data: the images.
    """
    batch = next(iter(data.batches(attacker.group())))
    spent = 0.0
    for _ in range(2):  # the first call prepares what the second finds
        began = time.perf_counter()
        attacker.one_gradient(batch.images)
        spent = (time.perf_counter() - began) / len(batch.images)
    seconds = attacker.effort.seconds
    most = "" if seconds is None else f", stopped after {seconds:g} s"
    return (
        f"attack: {plan.searches} searches of an image at a budget or objective, about {spent * plan.gradients:.1f} s"
        + most
    )


def _together(prop: PropertyResult) -> bool:
    return is_pooled(prop.source)


def _points(prop: PropertyResult) -> int:
    query = prop.source.query
    return len(query.budgets) if isinstance(query, WorstCaseQuery) else len(query.objectives)


def _places(prop: PropertyResult, attacker: Attacker) -> list[list[int]]:
    """At each swept point, the images to be attacked."""
    if not attacker.searchable(prop.source):
        return [[] for _ in range(_points(prop))]
    everything = attacker.effort.everything
    return [places(prop, point, everything=everything) for point in range(_points(prop))]


def _worth_it(prop: PropertyResult, attacker: Attacker) -> bool:
    return any(_places(prop, attacker))


def _again(prop: PropertyResult, images: Sequence[object]) -> PropertyResult:
    decided = property_result(prop.source, prop.constant, images, complete=True)  # type: ignore[arg-type]
    return replace(prop, images=decided.images, requirements=decided.requirements)


def _image_by_image(
    prop: PropertyResult, attacker: Attacker, data: Selectable, tell: Callable[[int], None]
) -> Iterator[PropertyResult]:
    """Attack a few images after the other at every swept point, and leave out what is decided by then."""
    first = _places(prop, attacker)
    union = sorted({k for at in first for k in at})
    size = attacker.group()
    for start in range(0, len(union), size):
        few = set(union[start : start + size])
        left = _places(prop, attacker)
        for point, asked in enumerate(first):
            counted = [k for k in asked if k in few]
            chosen = [k for k in left[point] if k in few]
            if attacker.clock.late():
                return
            if chosen:
                batch = next(iter(data.only(chosen).batches(len(chosen))))
                results = [prop.images[k] for k in chosen]
                found = attacker.improve(prop.source, prop.constant, batch, results, point)
                images = list(prop.images)
                for k, result in zip(chosen, found, strict=True):
                    images[k] = result
                prop = _again(prop, images)
                yield prop
            if attacker.clock.late():
                return
            tell(len(counted))


def _as_one(
    prop: PropertyResult, attacker: Attacker, data: Selectable, tell: Callable[[int], None]
) -> PropertyResult:
    if not _worth_it(prop, attacker):
        return prop
    for batch in data.batches(attacker.group()):
        attacker.whole(prop.source, prop.constant, batch)
        tell(len(batch.names) * _points(prop))
    return _again(prop, attacker.conclude(prop.source, prop.images))
