"""Several models under one specification: what each certifies, attains and costs, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.diagnostics import Diagnostic, Source
from robspec.function.errors import NotFinite
from robspec.ir.types import Program, WorstCaseQuery
from robspec.lipschitz.errors import NoGlobalConstant, UnknownOperation
from robspec.lipschitz.rounding.errors import NoRoundingRule
from robspec.report._words import constant_line, point_text, query_text
from robspec.semantics.constant import ConstantStatus
from robspec.semantics.norm import directed_text, exact_text
from robspec.semantics.smoothing import Smoothing
from robspec.session.check import Check, Options
from robspec.session.progress import Progress, silent
from robspec.session.several import SeveralChecks, open_check
from robspec.verify.errors import NotProvableError
from robspec.verify.result import CheckReport, PropertyResult, Value
from robspec.verify.smoothed import answerable

_BY_SMOOTHING = " by smoothing"
"""What the names of properties that are answered a second time end in; no specification can write it."""

_LARGE = Fraction(10**29)
"""Assumed of a network without a constant, so large that nothing an attack finds contradicts it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One property of one model at one swept point, over all images on which it is defined.

    Args:
        property: its name.
        query: what is asked, in words, with the swept point.
        of: how images are summed up: "mean" of values, "median" of radii, "pooled".
        clean: of clean images.
        certified: rounded to the worse side when shown.
        smoothed: certified by smoothing; None where that was not asked for, or cannot answer.
        attained: of the worst images found; the clean ones where none was searched, and None for radii there.
        lower_is_better: the metric's sense.
        label: the verdict of the property as it must be shown.
        eps: the budget; None for radii.
        local: what would be certified were the constant the measured slope; None where that was not asked for.
        slope: that slope, or None.
    """

    property: str
    query: str
    of: str
    clean: Value | None
    certified: Value | None
    smoothed: Value | None
    attained: Value | None
    lower_is_better: bool
    label: str
    eps: Fraction | None = None
    local: Value | None = None
    slope: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Args:
        model: its file.
        constant: the proved Lipschitz constant of the first property, in words.
        cells: by property and swept point.
        images: how many were looked at.
        seconds: wall time of everything per image, the proof and the start left out.
        forward: seconds of forward passes per image.
        report: all else.
        refused: why no constant can be proved, so that nothing is certified by one; else empty.
    """

    model: str
    constant: str
    cells: tuple[Cell, ...]
    images: int
    seconds: float
    forward: float
    report: CheckReport
    refused: str = ""


def compare(
    models: Sequence[Path],
    program: Program,
    source: Source,
    diagnostics: Sequence[Diagnostic],
    spec: Path,
    options: Options,
    *,
    smoothing: Smoothing | None = None,
    progress: Progress = silent,
    told: Callable[[str], None] = lambda _: None,
    decompose: bool = False,
) -> tuple[Row, ...]:
    """Check every model, its claim left aside.

    Args:
        models: files.
        program: the compiled specification.
        source: its text.
        diagnostics: warnings about it.
        spec: its file.
        options: of each check.
        smoothing: answers each property that it can a second time; or None.
        progress: shows how far each is.
        told: of each model that begins.
        decompose: whether to measure slopes, and say how much of the gap between certified and found is the constant.

    Returns:
        One row for each, in their order; fewer after an interruption. Of a model without a provable constant nothing
        is certified but by samples.

    Raises:
        RobspecError: a model or the data is wrong, or a model is no function of one image (E0403).
    """
    rows = []
    whole = program if smoothing is None else _twice(program, options.properties, smoothing)
    options = replace(options, ignore_claims=True, properties=() if smoothing is not None else options.properties)
    for model in models:
        told(str(model))
        opened, refused = _opened(
            model, options, lambda m, o: open_check(whole, source, diagnostics, m, spec, o), hinted=smoothing is None
        )
        with opened as work:
            began = time.perf_counter()
            report = work.finish(work.run(progress, told)).report
            spent = time.perf_counter() - began
            slopes, local = (
                ({}, ()) if refused or not decompose or isinstance(work, SeveralChecks) else work.at_measured()
            )
        if not report.evaluated:
            break
        count = report.evaluated
        again = {p.source.name: p for p in report.properties if p.source.name.endswith(_BY_SMOOTHING)}
        asked = [p for p in report.properties if p.source.name not in again]
        at = {p.source.name: (p, slopes[p.source.name]) for p in local}
        rows.append(
            Row(
                str(model),
                f"no Lipschitz constant: {refused}" if refused else constant_line(asked[0].constant),
                tuple(
                    c
                    for p in asked
                    for c in _cells(p, again.get(p.source.name + _BY_SMOOTHING), at.get(p.source.name), report)
                ),
                report.evaluated,
                spent / count,
                report.times.forward / count,
                replace(report, remarks=()) if refused else report,
                refused,
            )
        )
        if not report.complete:
            break
    return tuple(rows)


def _opened(
    model: Path, options: Options, opening: Callable[[Path, Options], Check | SeveralChecks], *, hinted: bool
) -> tuple[Check | SeveralChecks, str]:
    """Open a check; where no constant can be proved one that only evaluates, with the reason.

    The constant that it is opened with then stands for nothing: what is certified by it is left out of the row.
    """
    try:
        return opening(model, options), ""
    except NotProvableError as refusal:
        cause = refusal.__cause__
        if isinstance(cause, NoGlobalConstant | UnknownOperation | NotFinite):
            found = opening(model, replace(options, assume=_LARGE))
            mend = cause.mend + ("; or certify votes under noise with --smoothing 0.25" if hinted else "")
            return found, f"{refusal.what} at {refusal.where}; {mend}"
        raise NotProvableError(f"{model}: {refusal.where}", refusal.what, refusal.mend) from refusal
    except NoRoundingRule as refusal:
        raise NoRoundingRule(f"{model}: {refusal.where}", refusal.what, refusal.mend) from refusal


def _twice(program: Program, names: Sequence[str], smoothing: Smoothing) -> Program:
    """The properties asked for, and after them those that smoothing answers as well."""
    asked = [p for p in program.properties if not names or p.name in names]
    again = [
        replace(p, name=p.name + _BY_SMOOTHING, smoothing=smoothing) for p in asked if answerable(p, program.model)
    ]
    return replace(program, properties=(*asked, *again))


def _cells(
    prop: PropertyResult,
    again: PropertyResult | None,
    at: tuple[PropertyResult, Fraction] | None,
    report: CheckReport,
) -> list[Cell]:
    query, classes = prop.source.query, report.program.model.classes
    worst = isinstance(query, WorstCaseQuery)
    pooled = isinstance(query, WorstCaseQuery) and query.metric.of_data_set
    lower = isinstance(query, WorstCaseQuery) and query.metric.lower_is_better
    count = len(prop.images[0].certified) if prop.images else 0
    summed = _mean if worst else _median
    found = []
    # A constant is assumed only where none can be proved, and then nobody said that it holds.
    empty = prop.constant.status is ConstantStatus.ASSUMED
    for k in range(count):
        point = point_text(query, k, classes)
        found.append(
            Cell(
                prop.source.name,
                query_text(query, classes) + (f" [{point}]" if point else ""),
                "pooled" if pooled else "mean" if worst else "median",
                _mean([i.clean for i in prop.images]),
                None if empty else summed([i.certified[k] for i in prop.images]),
                None if again is None else summed([i.certified[k] for i in again.images]),
                summed([i.attained[k] for i in prop.images]) if worst or _found(prop) else None,
                lower,
                "-" if empty else prop.label,
                query.budgets[k] if isinstance(query, WorstCaseQuery) else None,
                None if at is None else summed([i.certified[k] for i in at[0].images]),
                None if at is None else at[1],
            )
        )
    return found


def _found(prop: PropertyResult) -> bool:
    """Whether images were found that meet an objective: without any every radius attained is infinite."""
    return any(image.attacks for image in prop.images)


def _mean(values: Sequence[Value | None]) -> Value | None:
    known = [v for v in values if v is not None]
    if not known or math.inf in known:
        return math.inf if known else None
    return sum((Fraction(v) for v in known), Fraction(0)) / len(known)


def _median(values: Sequence[Value | None]) -> Value | None:
    """The lower of the two in the middle: a radius that half of the images reach."""
    known = sorted(v for v in values if v is not None)
    return known[(len(known) - 1) // 2] if known else None


def shares(cell: Cell) -> tuple[Fraction, Fraction] | None:
    """Split the gap between certified and found.

    Args:
        cell: of a worst case.

    Returns:
        What the constant takes of it, proved in place of measured, at most all; and what is left to the relaxation
        and to the attack. None where one of the three is not known.
    """
    ends = (cell.certified, cell.local, cell.attained)
    if cell.eps is None or any(e is None or e == math.inf for e in ends):
        return None
    low, local, high = (Fraction(e) for e in ends)  # type: ignore[arg-type]
    gap = abs(high - low)
    constant = min(abs(local - low), gap)
    return constant, gap - constant


def shown(value: Value | None, *, lower_is_better: bool) -> str:
    """Write a value of a cell, rounded so that it claims no more than it holds."""
    if value is None:
        return "-"
    return "inf" if value == math.inf else directed_text(Fraction(value), 4, up=lower_is_better)


def document(rows: Sequence[Row], attacked: bool) -> dict[str, Any]:
    """Write the comparison as JSON values."""
    return {
        "schema": "robspec-comparison",
        "schema_version": 1,
        "attacked": attacked,
        "models": [
            {
                "model": r.model,
                "sha256": r.report.hashes.get("model", ""),
                "lipschitz": r.constant,
                "images": r.images,
                "seconds_per_image": r.seconds,
                "forward_seconds_per_image": r.forward,
                "properties": [
                    {
                        "property": c.property,
                        "query": c.query,
                        "of": c.of,
                        "clean": _value(c.clean),
                        "certified": _value(c.certified),
                        "smoothed": _value(c.smoothed),
                        "attained": _value(c.attained),
                        "certified_at_measured": _value(c.local),
                        "measured": _value(c.slope),
                        "label": c.label,
                    }
                    for c in r.cells
                ],
                "notes": [*map(str, r.report.remarks), *r.report.notes],
            }
            for r in rows
        ],
    }


def _value(value: Value | None) -> str | None:
    return None if value is None else "inf" if value == math.inf else exact_text(Fraction(value))
