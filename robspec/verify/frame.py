"""Values of a report image by image, as rows, a data frame and a page for notebooks."""

from __future__ import annotations

import html
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from robspec.errors import MissingExtra
from robspec.semantics.norm import directed_text

if TYPE_CHECKING:
    from robspec.verify.result import CheckReport


def rows(report: CheckReport) -> list[dict[str, Any]]:
    """List what holds of every image: one row for each property, image and point of a sweep.

    Values are floats for looking at; the exact ones are in the report's own fields.
    """
    return [
        {
            "property": found.source.name,
            "image": image.image,
            "point": point,
            "clean": _float(image.clean),
            "certified": _float(certified),
            "attained": _float(image.attained[point]),
        }
        for found in report.properties
        for image in found.images
        for point, certified in enumerate(image.certified)
    ]


def frame(report: CheckReport) -> Any:
    """The rows as a pandas DataFrame.

    Raises:
        MissingExtra: E0870, pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise MissingExtra(
            "report.frame()", "pandas is not installed", "pip install pandas, or use rows()"
        ) from error
    columns = ["property", "image", "point", "clean", "certified", "attained"]
    return pandas.DataFrame(rows(report), columns=columns)


def page(report: CheckReport) -> str:
    """A table of requirements and verdicts in HTML, and all that qualifies them."""
    lines = []
    for found in report.properties:
        for item in found.requirements:
            # Rounded against the claim, so that what is shown holds.
            up = not item.requirement.relation.upward
            numbers = (_text(item.certified, up=up), _text(item.attained, up=up))
            lines.append(_row(found.source.name, item.requirement.text, *numbers, found.worded(item.verdict)))
    lines += [_row("Lipschitz claim", claim.text, "", "", claim.verdict.value) for claim in report.claims]
    if report.privacy is not None:
        bound = None if report.privacy.epsilon is None else Fraction(report.privacy.epsilon)
        lines.append(_row("privacy", report.privacy.asked.text, _text(bound, up=True), "", report.privacy.label))
    head = "".join(f"<th>{name}</th>" for name in ("property", "requirement", "certified", "attained", "verdict"))
    below = [f"{report.evaluated} of {report.images} images", *report.notes, *(str(r) for r in report.remarks)]
    notes = "".join(f"<div>{html.escape(line)}</div>" for line in below)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{notes}"


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _text(value: Any, *, up: bool) -> str:
    if value is None or (isinstance(value, float) and math.isinf(value)):
        return "-" if value is None else str(value)
    return directed_text(Fraction(value), 4, up=up)
