"""The terminal table."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from fractions import Fraction

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from robspec.ir.types import Aggregate, WorstCaseQuery
from robspec.notes import listed
from robspec.report import _cross_check, _gap
from robspec.report._words import (
    AT_BEST,
    asked_text,
    attained_heading,
    attained_text,
    attained_value,
    certified_text,
    claim_reason,
    concrete_text,
    constant_line,
    higher_is_better,
    overall_line,
    point_text,
    privacy_bound,
    privacy_details,
    value_text,
)
from robspec.semantics.norm import decimal_text, directed_text
from robspec.verify.result import (
    CheckReport,
    PrivacyResult,
    PropertyResult,
    RequirementResult,
    Verdict,
    Worst,
)

_STYLE = {Verdict.PROVED: "green", Verdict.REFUTED: "bold red", Verdict.UNKNOWN: "yellow"}


def render(report: CheckReport, width: int, colour: bool) -> str:
    """Draw the verdict table, then what it rests on."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    attained = attained_heading(report)
    console.print(_table(console.width, header=True, attained=attained))
    for prop in report.properties:
        on = "" if prop.data is None else f" on {prop.data.name}"
        asked = asked_text(prop.source, report.program.model.classes)
        console.print(Text(f"{prop.source.name}{on}: {asked}", style="bold"))
        console.print(_rows(prop, report, console.width))
    if report.privacy is not None:
        console.print(Text("model: privacy of those it was trained on", style="bold"))
        console.print(_privacy(report.privacy, console.width))
    console.print()
    for line in _footer(report):
        console.print(Text(_hanging(line.plain, console.width), style=line.style))
    if report.cross_check is not None:
        console.print()
        for item in _cross_check.lines(report.cross_check, report.times.cross_check):
            hanging = Text(_hanging(item.plain, console.width), style=item.style) if isinstance(item, Text) else item
            console.print(hanging)
    console.print()
    console.print(Text(_hanging(overall_line(report), console.width), style=_overall_style(report)))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    while lines and not lines[0]:
        lines.pop(0)
    # The box keeps a column for an edge that is not drawn; the tables below the header have none.
    return "".join(f"{line.removeprefix(' ') if k < 2 else line}\n" for k, line in enumerate(lines))


def _hanging(text: str, width: int, indent: int = 4) -> str:
    """Wrap a line, what does not fit below it and further in."""
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)


def _table(width: int, *, header: bool, attained: str = "clean") -> Table:
    """A table whose columns line up with those of every other table of the same width."""
    first = _first_column(width)
    table = Table(box=box.SIMPLE_HEAD if header else None, pad_edge=False, show_header=header, padding=(0, 2, 0, 0))
    table.add_column("property / requirement", width=first, overflow="fold")
    table.add_column("certified", width=11, justify="right")
    table.add_column(attained, width=9, justify="right")
    table.add_column("images", width=7, justify="right")
    table.add_column("verdict", width=max(16, width - first - 36), overflow="fold")
    return table


def _first_column(width: int) -> int:
    return min(44, max(28, width - 60))


def _privacy(found: PrivacyResult, width: int) -> Table:
    table = _table(width, header=False)
    label = _hanging(f"  {found.asked.text}", _first_column(width))
    table.add_row(Text(label), privacy_bound(found), "-", "-", Text(found.label, style=_STYLE[found.verdict]))
    return table


def _rows(result: PropertyResult, report: CheckReport, width: int) -> Table:
    table = _table(width, header=False)
    pooled = any(r.requirement.aggregate is Aggregate.POOLED for r in result.requirements)
    radii = not isinstance(result.source.query, WorstCaseQuery)
    images, evaluated, classes = report.images, report.evaluated, report.program.model.classes
    if result.data is not None:
        images, evaluated = result.data.images, result.data.evaluated
    counted = evaluated if pooled else len(result.images) - len(result.excluded)
    for item in result.requirements:
        point = point_text(result.source.query, item.point, classes)
        label = f"  {item.requirement.text}" + (f"  [{point}]" if point else "")
        table.add_row(
            Text(_hanging(label, _first_column(width))),
            certified_text(item),
            concrete_text(result, item),
            f"{counted}/{images}",
            Text(result.worded(item.verdict), style=_STYLE[item.verdict]),
        )
        if item.requirement.aggregate is Aggregate.FRACTION:
            _add_worst(table, result.worst(item), item, radii, _first_column(width))
    return table


def _add_worst(table: Table, worst: Worst | None, item: RequirementResult, radii: bool, width: int) -> None:
    """Below a share, the image that is worst and its own values: a share alone does not tell how close it is."""
    if worst is None:
        return
    more = f" and {worst.images - 1} more" if worst.images > 1 else ""
    what = "smallest" if radii and item.requirement.relation.upward else "worst"
    up = not item.requirement.relation.upward
    attained = (
        "-"
        if radii and item.verdict is not Verdict.REFUTED
        else attained_value(worst.certified, worst.attained, up=up)
    )
    label = _hanging(f"    {what}: {worst.image}{more}", width, 6)
    table.add_row(Text(label, style="dim"), value_text(worst.certified, up=up), attained, "", "")


def _overall_style(report: CheckReport) -> str:
    return {0: "bold green", 3: "bold yellow"}.get(report.exit_status(allow_unknown=report.allow_unknown), "bold red")


def _footer(report: CheckReport) -> list[Text]:
    lines: list[Text] = []
    if not report.complete:
        said = f"INTERRUPTED after {report.evaluated} of {report.images} images"
        if report.attack_stopped:
            said = f"INTERRUPTED in the attack, after {report.attack_searches} searches; every image is certified"
        lines.append(Text(said, style="bold red"))
    for claim in report.claims:
        lines.append(Text(f"{claim.text}: {claim.verdict.value}: {claim_reason(claim)}", style=_STYLE[claim.verdict]))
    if report.privacy is not None:
        head, *rest = privacy_details(report.privacy)
        lines.append(Text(f"privacy: {report.privacy.label}: {head}", style=_STYLE[report.privacy.verdict]))
        lines.extend(Text(f"  {line}") for line in rest)
    for prop in report.properties:
        lines.extend(_explanations(prop, report.program.model.classes))
    lines.extend(Text(str(note), style="yellow") for note in report.remarks)
    lines.extend(Text(line) for line in dict.fromkeys(constant_line(p.constant) for p in report.properties))
    t = report.times
    spent = f"load {t.load:.2f}, proof {t.prove:.2f}, forward {t.forward:.2f}, bound {t.bound:.2f}"
    if report.attack_steps:
        spent += f", attack {t.attack:.2f}"
        count = report.attack_searches
        searches = f"{count} search{'' if count == 1 else 'es'} of an image at a budget or objective"
        lines.append(Text(f"attack by {', '.join(report.attack_methods)}, {report.attack_steps} steps: {searches}"))
    if t.reasons:
        spent += f", reasons {t.reasons:.2f}"
    lines.append(Text(f"{report.evaluated} images in {t.total:.2f} s: {spent}; backend {report.backend}"))
    if attained_heading(report) == "at best":
        lines.append(Text(AT_BEST, style="dim"))
    lines.extend(Text(note, style="dim") for note in report.notes)
    lines.extend(_provenance(report))
    return lines


def _provenance(report: CheckReport) -> Iterator[Text]:
    """Say what was checked: files and data by the first digits of their SHA-256, and the params as they were set."""
    for what in ("spec", "model", "data"):
        if what in report.hashes:
            yield Text(" ".join(f"{what} {report.files.get(what, '')} sha256 {report.hashes[what][:16]}".split()))
    if report.program.params:
        yield Text("params: " + ", ".join(f"{name} = {decimal_text(value)}" for name, value in report.program.params))


def _explanations(prop: PropertyResult, classes: tuple[str, ...]) -> list[Text]:
    """Say more where a verdict is not PROVED, or speaks of a population."""
    lines = []
    for item in prop.requirements:
        if item.verdict is not Verdict.PROVED:
            ends = (certified_text(item), attained_text(item))
            gap = f"[{', '.join(ends if higher_is_better(item) else reversed(ends))}]"
            point = point_text(prop.source.query, item.point, classes)
            where = f"{prop.source.name}, {item.requirement.text}" + (f" [{point}]" if point else "")
            line = f"{where}: {item.verdict.value} in {gap}: {item.reason}"
            if item.witnesses:
                line += f" ({listed(item.witnesses)})"
            lines.append(Text(line, style=_STYLE[item.verdict]))
            if item.gap is not None:
                radius = not isinstance(prop.source.query, WorstCaseQuery)
                lines.extend(Text(line) for line in _gap.lines(item.gap, prop.constant, radius=radius))
        elif item.requirement.confidence is not None:
            lines.append(Text(f"{prop.source.name}, {item.requirement.text}: {item.reason}"))
    lines.extend(_gains(prop, classes))
    return lines


def _gains(prop: PropertyResult, classes: tuple[str, ...]) -> Iterator[Text]:
    """Say what pricing entering exactly was worth, at each swept point where it was compared."""
    points = len(prop.images[0].pairs) if prop.images else 0
    for index in range(points):
        gains = prop.gains(index)
        if gains:
            mean, best = sum(gains, Fraction(0)) / len(gains), max(gains)
            point = point_text(prop.source.query, index, classes)
            where = prop.source.name + (f" [{point}]" if point else "")
            yield Text(
                f"{where}: water filling moves the certified value by {directed_text(mean, 6, up=False)} on average, "
                f"{directed_text(best, 6, up=False)} at most, against the pair bound"
            )
