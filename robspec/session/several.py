"""One check of properties about several data sets: a check for each of them, and one report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from robspec.diagnostics import Diagnostic, Source
from robspec.ir.types import Program
from robspec.notes import Note
from robspec.session.check import Check, Finished, Options, chosen
from robspec.session.progress import Progress, quiet, silent
from robspec.verify.errors import OptionValueError
from robspec.verify.result import CheckReport, CrossChecked, DataSet, PropertyResult, Times

_T = TypeVar("_T")


def open_check(
    program: Program,
    source: Source,
    diagnostics: Sequence[Diagnostic],
    model: Path,
    spec: Path,
    options: Options,
) -> Check | SeveralChecks:
    """Open a check, of one data set or of several.

    Args:
        program: the compiled specification.
        source: its text.
        diagnostics: warnings about it.
        model: the model file.
        spec: the specification's file, whose folder the data globs start from.
        options: the rest.

    Returns:
        A context to be run and finished.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """
    if options.certificate and program.others:
        names = [data.name for data in (program.data, *program.others)]
        raise OptionValueError(
            "--certificate",
            f"a certificate is about one data set, and the properties are about {' and '.join(names)}",
            f"write one for each, with --use {' and with --use '.join(names)}",
        )
    parts = chosen(program, options.properties).by_data
    options = replace(options, properties=())
    if len(parts) == 1:
        return Check(parts[0], source, diagnostics, model, spec, options)
    return SeveralChecks(program, parts, (source, diagnostics, model, spec, options))


class SeveralChecks:
    """A check for each data set, of one model that is loaded once.

    Args:
        program: the compiled specification.
        parts: what is asked of each data set.
        given: the other arguments of `Check`.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """

    def __init__(
        self,
        program: Program,
        parts: Sequence[Program],
        given: tuple[Source, Sequence[Diagnostic], Path, Path, Options],
    ) -> None:
        self._program = program
        self._checks: list[Check] = []
        source, diagnostics, model, spec, options = given
        if options.attack_seconds is not None:
            options = replace(options, attack_seconds=options.attack_seconds / len(parts))
        given = (source, diagnostics, model, spec, options)
        self._open(parts, given)
        fallen = next((check.unreal for check in self._checks if check.unreal), "")
        if not all(check.unreal == fallen for check in self._checks):
            self._open(parts, given, fallen)  # one report makes one statement
        self._reports: list[CheckReport] = []
        self._kept = ExitStack()

    def _open(
        self,
        parts: Sequence[Program],
        given: tuple[Source, Sequence[Diagnostic], Path, Path, Options],
        beside: str = "",
    ) -> None:
        for check in self._checks:
            check.close()
        self._checks = []
        for part in parts:
            after = self._checks[0] if self._checks else None
            self._checks.append(Check(part, *given, after=after, beside=beside))

    def __enter__(self) -> SeveralChecks:
        for check in self._checks:
            self._kept.enter_context(check)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    @property
    def known(self) -> int:
        """Batches whose logits were in the store."""
        return sum(check.known for check in self._checks)

    def run(self, progress: Progress = silent, told: Callable[[str], None] = quiet) -> CheckReport:
        """Answer every property, one data set after the other; see `Check.run`."""
        for check in self._checks:
            self._reports.append(check.run(progress, told))
            if not self._reports[-1].complete:
                break
        return self._merged(self._reports)

    def finish(self, report: CheckReport) -> Finished:
        """Say what was checked; see `Check.finish`."""
        finished = [c.finish(r).report for c, r in zip(self._checks, self._reports, strict=False)]
        return Finished(self._merged(finished), None)

    def _merged(self, reports: Sequence[CheckReport]) -> CheckReport:
        first, sets = reports[0], [_seen(report) for report in reports]
        place = {prop.name: k for k, prop in enumerate(self._program.properties)}
        found: list[PropertyResult] = []
        for report, data in zip(reports, sets, strict=True):
            for result in report.properties:
                source = self._program.properties[place[result.source.name]]
                found.append(replace(result, source=source, data=data))
        found.sort(key=lambda result: place[result.source.name])
        remarks = _once(note for report in reports for note in report.remarks)
        missed = [check.data_name for check in self._checks[len(reports) :]]
        if missed:
            text = "the check was interrupted before its images: nothing is said of the properties about it"
            remarks += tuple(Note("data-not-reached", f"data {name}", text) for name in missed)
        times = Times(**{f.name: sum(getattr(r.times, f.name) for r in reports) for f in fields(Times)})
        return replace(
            first,
            program=self._program,
            properties=tuple(found),
            images=sum(check.images for check in self._checks),
            evaluated=sum(report.evaluated for report in reports),
            hashes=_hashes(first, sets),
            times=times,
            notes=_once(line for report in reports for line in report.notes),
            remarks=remarks,
            attack_searches=sum(report.attack_searches for report in reports),
            attack_stopped=any(report.attack_stopped for report in reports),
            cross_check=_cross_check([r.cross_check for r in reports if r.cross_check is not None]),
            pictures=tuple(picture for report in reports for picture in report.pictures),
        )


def _seen(report: CheckReport) -> DataSet:
    return DataSet(report.program.data.name, report.images, report.evaluated, report.hashes.get("data", ""))


def _hashes(first: CheckReport, sets: Sequence[DataSet]) -> dict[str, str]:
    if not first.hashes:
        return {}
    together = "".join(f"{data.name} {data.sha256}\n" for data in sets)
    return {**first.hashes, "data": hashlib.sha256(together.encode()).hexdigest()}


def _cross_check(found: Sequence[CrossChecked]) -> CrossChecked | None:
    if not found:
        return None
    return replace(
        found[0],
        images=tuple(name for one in found for name in one.images),
        comparisons=tuple(c for one in found for c in one.comparisons),
        reproducers=tuple(path for one in found for path in one.reproducers),
        complete=all(one.complete for one in found),
    )


def _once(items: Iterable[_T]) -> tuple[_T, ...]:
    """Each item the first time it occurs; items need not be hashable."""
    found: list[_T] = []
    for item in items:
        if item not in found:
            found.append(item)
    return tuple(found)
