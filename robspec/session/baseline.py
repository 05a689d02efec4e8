"""A report against an earlier one: what became worse fails, what was not proved before is accepted as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from robspec.lipschitz.rounding.kinds import KINDS
from robspec.report._findings import requirement_text
from robspec.report._words import certified_text, higher_is_better
from robspec.report.json import document
from robspec.verify.result import CheckReport, Verdict

_ABOUT = {"exact": "the forward pass is taken as exact", "real": "about the function over the reals"}
_RANK = {Verdict.REFUTED.value: 0, Verdict.UNKNOWN.value: 1, Verdict.PROVED.value: 2}


@dataclass(frozen=True, slots=True)
class Compared:
    """A report that knows what was there before.

    Args:
        report: what is not proved, and was no better before, is accepted in it.
        regressions: what became worse, and what is new and not proved; one line each.
        moved: every other difference, one line each.
    """

    report: CheckReport
    regressions: tuple[str, ...]
    moved: tuple[str, ...]


def compare(report: CheckReport, earlier: dict[str, Any]) -> Compared:
    """Compare a report with the document of an earlier one.

    Requirements are the same when property, query, text and swept point are. Any other is new, also where it asks for
    less: it has to be proved.

    Args:
        report: the check.
        earlier: of `robspec.api.load_report`.

    Returns:
        The report with what it accepts, and the differences in words.
    """
    before, names = _known(earlier), set()
    accepted: set[tuple[str, int]] = set()
    regressions: list[str] = []
    less = False
    moved: list[str] = []
    was_about = str(earlier.get("arithmetic", "exact"))
    if was_about in KINDS and KINDS.index(report.arithmetic) < KINDS.index(was_about):
        less = True
        regressions.append(f"worse: arithmetic: {was_about} before, now {_ABOUT[report.arithmetic]}")
    images = earlier.get("images")
    total = images.get("total") if isinstance(images, dict) else None
    if isinstance(total, int) and report.images < total:
        less = True
        regressions.append(f"worse: images: {total} before, now {report.images}")
    for key, place, verdict, said, value, qualifier in _now(report):
        names.add(key)
        where = f"{key[0]}, {key[2]}"
        old = before.get(key)
        if old is None:
            (moved if verdict is Verdict.PROVED else regressions).append(f"new: {where}: {said}")
            continue
        was, was_value, label = old
        rank = _RANK[verdict.value]
        proved = verdict is Verdict.PROVED and was == verdict.value
        weaker = proved and label is not None and _lessened(qualifier, label)
        if rank < _RANK[was] or weaker:
            less = less or weaker
            regressions.append(f"worse: {where}: {(label or was) if weaker else was} before, now {said}")
            continue
        if verdict is not Verdict.PROVED:
            accepted.add(place)
        if rank > _RANK[was]:
            moved.append(f"better: {where}: {was} before, now {said}")
        elif value != was_value:
            moved.append(f"moved: {where}: certified {_shown(was_value)} before, {_shown(value)} now: {said}")
    moved += [f"gone: {key[0]}, {key[2]}: {was} before" for key, (was, _, _) in before.items() if key not in names]
    return Compared(replace(report, accepted=frozenset(accepted), weaker=less), tuple(regressions), tuple(moved))


def _lessened(qualifier: str, label: str) -> bool:
    """Whether a proof with a qualifier says less than one that was labelled so, or something else."""
    same = f"{Verdict.PROVED.value}{qualifier}"
    if not qualifier or label == same or label.startswith(f"{same} "):
        return False
    now, before = _CHANCE.search(qualifier), _CHANCE.search(label)
    return now is None or before is None or Fraction(now[1]) < Fraction(before[1])


_CHANCE = re.compile(r" with probability (\d{0,60}\.?\d{1,60}(?:/[1-9]\d{0,60})?)(?![\d./])")
_Key = tuple[str, str, str]
"""Property, query and requirement."""


def _now(report: CheckReport) -> Iterator[tuple[_Key, tuple[str, int], Verdict, str, Any, str]]:
    classes = report.program.model.classes
    for place, claim in enumerate(report.claims):
        yield ("model", "", claim.text), ("", place), claim.verdict, claim.verdict.value, None, ""
    if report.privacy is not None:
        found = report.privacy
        behind, bound = ("", len(report.claims)), document(report)["privacy"]["bound"]
        yield ("model", "", found.asked.text), behind, found.verdict, found.label, bound, found.qualifier
    listed = document(report)["properties"]
    for prop, written in zip(report.properties, listed, strict=True):
        for place, (item, row) in enumerate(zip(prop.requirements, written["requirements"], strict=True)):
            said = f"{prop.worded(item.verdict)}, certified {certified_text(item)}"
            said += f" ({'higher' if higher_is_better(item) else 'lower'} is better)"
            key = (prop.source.name, written["query"], requirement_text(prop, item, classes))
            yield key, (prop.source.name, place), item.verdict, said, row["certified"], prop.constant.qualifier


def _known(earlier: dict[str, Any]) -> dict[_Key, tuple[str, Any, str | None]]:
    """Verdicts, certified values, and labels or None where these say no more; of what is written as it should be."""
    found: dict[_Key, tuple[str, Any, str | None]] = {}
    for claim in _rows(earlier, "claims"):
        if claim.get("verdict") in _RANK:
            found["model", "", str(claim.get("claim"))] = (claim["verdict"], None, None)
    privacy = earlier.get("privacy")
    if isinstance(privacy, dict) and privacy.get("verdict") in _RANK:
        key = ("model", "", str(privacy.get("requirement")))
        found[key] = (privacy["verdict"], privacy.get("bound"), None)
    for prop in _rows(earlier, "properties"):
        for row in _rows(prop, "requirements"):
            if row.get("verdict") in _RANK:
                point = f" [{row['point']}]" if row.get("point") else ""
                key = (str(prop.get("name")), str(prop.get("query")), f"{row.get('requirement')}{point}")
                found[key] = (row["verdict"], row.get("certified"), str(row.get("label", row["verdict"])))
    return found


def _rows(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = value.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return "undefined"
    return str(value.get("exact")) if value.get("approx") is None else f"{value['approx']:.9g}"
