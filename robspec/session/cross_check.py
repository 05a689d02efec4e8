"""Runs the cross-check of a finished check, writes reproducers, and raises the alarm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robspec.errors import SoundnessAlarm
from robspec.oracle.compare import Comparison
from robspec.session.progress import Progress
from robspec.verify.case import Case
from robspec.verify.crosscheck import CrossCheck
from robspec.verify.crosscheck_objects import ObjectsCrossCheck
from robspec.verify.reproducer import write_reproducer
from robspec.verify.result import CheckReport, CrossChecked


def cross_checked(
    report: CheckReport, collected: CrossCheck | ObjectsCrossCheck, asked: int, folder: Path, progress: Progress
) -> CheckReport:
    """Compare what a check certified with the oracle's answers.

    Args:
        report: the finished check; an interrupted one is not cross-checked.
        collected: the images that were kept.
        asked: how many were asked for.
        folder: where reproducers are written.
        progress: shows how far it is.

    Returns:
        The report with what was compared.
    """
    began = time.perf_counter()
    found: list[tuple[Case | None, Comparison]] = []

    def run(progress: Callable[[int], None]) -> None:
        for item in collected.run(report.properties, progress):
            found.append(item)

    complete = report.complete
    try:
        if complete:
            progress(run, collected.steps, "cross-checking")
    except KeyboardInterrupt:
        complete = False  # what was compared is kept; the report says that there is more
    wrong = [(case, c) for case, c in found if c.agreed is False]
    paths = [
        write_reproducer(case, c, collected, folder)
        for case, c in wrong
        if case is not None and isinstance(collected, CrossCheck)
    ]
    report.times.cross_check = time.perf_counter() - began
    result = CrossChecked(asked, collected.names, tuple(c for _, c in found), tuple(map(str, paths)), complete)
    return replace(report, cross_check=result)


def raise_alarm(report: CheckReport) -> None:
    """Stop with a soundness alarm where the cross-check disagrees.

    Raises:
        SoundnessAlarm: E0901, naming the first disagreement and where it can be reproduced from.
    """
    found = report.cross_check
    if found is None or not found.disagreements:
        return
    first = found.disagreements[0]
    kept = "the model, the specification and the image"
    if found.reproducers:
        kept = f"{found.reproducers[0]} (`robspec reproduce` runs it again)"
    raise SoundnessAlarm(
        f"property {first.property}, {first.image}, {first.what}",
        f"certified {first.bound}, but an independent computation found {first.optimum}: {first.note}",
        f"trust no verdict of this run; report it with {kept}",
    )
