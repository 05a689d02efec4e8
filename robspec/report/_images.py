"""Every image's own values, for `--verbose`."""

from __future__ import annotations

from collections.abc import Iterator

from robspec.ir.types import WorstCaseQuery
from robspec.report._words import point_text, value_text
from robspec.verify.result import CheckReport


def lines(report: CheckReport) -> Iterator[str]:
    """List each image of each property: its clean value, and what is certified and attained at each swept point."""
    classes = report.program.model.classes
    for prop in report.properties:
        yield f"{prop.source.name}, by image:"
        query = prop.source.query
        # Rounded to the worse side: a radius down, and a value where lower is better up.
        up = isinstance(query, WorstCaseQuery) and query.metric.lower_is_better
        for image in prop.images:
            parts = [f"  {image.image}: clean {value_text(image.clean, up=up)}"]
            for k, (certified, attained) in enumerate(zip(image.certified, image.attained, strict=True)):
                point = point_text(query, k, classes)
                said = f"certified {value_text(certified, up=up)}"
                if attained is not None or certified is None:
                    said += f", attained {value_text(attained, up=up)}"
                parts.append(f"{point}: {said}" if point else said)
            yield "; ".join(parts)
