"""The built-in metrics with what is proved of them, as text, JSON values or a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Literal

from robspec.checks import example
from robspec.metrics import MetricInfo, Takes, built_in
from robspec.semantics.norm import decimal_text

_SECTIONS = {"counting": "3.A", "weighted": "3.B", "ratio": "3.C", "macro": "3.D", "pooled": "3.E", "scores": "3.H"}
_SECTIONS["components"] = "3.I"
_NARROWEST = 32
_ADJECTIVES: tuple[Literal["weighted", "pooled"], ...] = ("weighted", "pooled")
_INTRODUCTION = """# Metrics

This page is written by `robspec metrics --format markdown`. The language reference says how metrics are used, and how
to define your own in the notation of the formulas below. TP, FP, FN and TN are the counts of pixels of class `k`:
found, falsely predicted, missed, rightly predicted as something else; N is the number of annotated pixels. Several
classes in brackets count as one merged class. The family says how the worst case is found (MATH.md section 3; MATH.md
is [mathematics.md](../explanation/mathematics.md)): counting, ratio and pooled worst cases are exact over the logits
within reach, weighted and macro ones sound bounds.
"""


def entries() -> list[MetricInfo]:
    """The built-in metrics, each once, by name."""
    return sorted({info.name: info for info in built_in().values()}.values(), key=lambda info: info.name)


def use(info: MetricInfo) -> str:
    """How a metric is written."""
    arguments = f"({', '.join(info.arguments)})" if info.arguments else ""
    classes = {Takes.NEVER: "", Takes.ALWAYS: f"[{', '.join(info.parameters)}]", Takes.MAY: ""}[info.classes]
    return f"{info.name}{arguments}{classes}"


def to_json(info: MetricInfo) -> dict[str, Any]:
    """A metric as JSON values, numbers as exact decimals."""
    metric = example(info)
    if metric is None or metric.low is None or metric.high is None:
        raise RuntimeError(f"nothing is proved of the built-in metric {info.name}")
    return {
        "name": info.name,
        "use": use(info),
        "aliases": list(info.aliases),
        "summary": info.summary,
        "formula": info.formula,
        "better": "lower" if info.lower_is_better else "higher",
        "family": metric.family,
        "section": _SECTIONS[metric.family],
        "values": [decimal_text(metric.low), decimal_text(metric.high)],
        "undefined": info.undefined,
        "worst_when_undefined": metric.worst_when_undefined,
        "needs_masks": info.needs_masks,
        **{word: example(info, word) is not None for word in _ADJECTIVES},
        "classes": info.classes.value,
        "source": info.source,
    }


def text(info: MetricInfo, width: int) -> str:
    """A metric on several lines, none wider than `width` columns where its words allow."""
    found = to_json(info)
    lines = [f"{found['use']}: {found['summary']}", *(f"  {word}: {value}" for word, value in _facts(found))]
    return "".join(f"{_filled(line, width, 4)}\n" for line in lines)


def _filled(line: str, width: int, indent: int) -> str:
    return textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if found["aliases"]:
        yield "also called", ", ".join(found["aliases"])
    yield "formula", found["formula"]
    yield "better", found["better"]
    yield "values", f"from {found['values'][0]} to {found['values'][1]}"
    yield "undefined", found["undefined"] or "never"
    if found["worst_when_undefined"]:
        yield "0/0 under attack", "counts as the worst value"
    yield "family", f"{found['family']} (MATH.md section {found['section']})"
    forms = [f"{word} {found['use']}" for word in _ADJECTIVES if found[word]]
    if forms:
        yield "also", ", ".join(forms)
    if not found["needs_masks"]:
        yield "masks", "not needed"
    yield "source", found["source"]


def table(width: int) -> str:
    """Every metric on a line; a formula that does not fit into `width` columns goes on below itself."""
    rows = [(use(i), "lower" if i.lower_is_better else "higher", to_json(i)["family"], i.formula) for i in entries()]
    widths = [max(len(row[k]) for row in (("metric", "better", "family", ""), *rows)) for k in range(3)]
    lines = [("metric", "better", "family", "formula"), *rows]
    joined = ("  ".join(w.ljust(n) for w, n in zip(row, [*widths, 0], strict=True)).rstrip() for row in lines)
    before = sum(widths) + 2 * len(widths)
    return "".join(f"{_below(line, before, max(width, before + _NARROWEST))}\n" for line in joined)


def _below(line: str, before: int, width: int) -> str:
    """Wrap what stands in the last column, which begins behind `before` columns."""
    return line[:before] + textwrap.fill(line[before:], width - before).replace("\n", "\n" + " " * before)


def page() -> str:
    """The reference page, in Markdown."""
    parts = [_INTRODUCTION, "| metric | better | family |\n| --- | --- | --- |\n"]
    parts[1] += "".join(f"| [`{use(i)}`](#{i.name}) | {_better(i)} | {to_json(i)['family']} |\n" for i in entries())
    for info in entries():
        found = to_json(info)
        lines = [f"- {word}: {f'`{value}`' if _is_code(word, info) else value}" for word, value in _facts(found)]
        wrapped = [textwrap.fill(line, 118, subsequent_indent="  ", break_long_words=False) for line in lines]
        summary = f"{found['summary'][:1].upper()}{found['summary'][1:]}."
        parts.append(f"## {info.name}\n\n`{found['use']}`: {summary}\n\n" + "\n".join(wrapped) + "\n")
    return "\n".join(parts)


def _better(info: MetricInfo) -> str:
    return "lower" if info.lower_is_better else "higher"


def _is_code(word: str, info: MetricInfo) -> bool:
    return word == "formula" and info.has_formula
