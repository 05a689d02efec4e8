"""Statement that is missing from a block.

A model has an `input`, an `output` and its `classes` (or, of one score, the
`annotation` that says what it separates); data have `images`, or `pairs`, or a
`layout`; a property has a
`norm`, a `require` and, unless its condition names the metrics itself, a `metric`;
of scores also an `attack`. A detector has a `threshold`, an `nms` and a `match`,
privacy an `epsilon`.

Example::

    property accurate {
      metric pixel_accuracy
      budget 0.1
      require mean(worst_case) >= 0.75
    }

Mend::

    property accurate {
      metric pixel_accuracy
      norm l2
      budget 0.1
      require mean(worst_case) >= 0.75
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from robspec.checks._conditions import H0, H
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast
from robspec.syntax.forms import FORMS

_MODEL: dict[str, type[ast.Node]] = {"input": ast.Input, "output": ast.Output, "classes": ast.Classes}
_DETECTOR: dict[str, type[ast.Node]] = {"threshold": ast.Threshold, "nms": ast.Nms, "match": ast.Match}
_PRIVACY: dict[str, type[ast.Node]] = {"epsilon": ast.Epsilon}
_DATA = {"images": ast.Images}
_PROPERTY = {"norm": ast.NormStatement, "require": ast.Require}


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for each statement of each block, unless a skipped one may have been it."""
    if spec.model is not None:
        needed = dict(_MODEL)
        if spec.of_model(ast.Annotation) is not None:
            needed.pop("classes")
        yield from _missing(spec, spec.model, "model", needed)
    if spec.detector is not None:
        yield from _missing(spec, spec.detector, "detector", _DETECTOR)
    if spec.privacy is not None:
        yield from _missing(spec, spec.privacy, "privacy", _PRIVACY)
    for data in spec.data_blocks:
        if not any(isinstance(s, (ast.Pairs, ast.Layout)) for s in data.statements):
            yield from _missing(spec, data, "data", _DATA)
    for block in spec.properties:
        wanted: dict[str, type[ast.Node]] = dict(_PROPERTY)
        if spec.task is not None and spec.task.scores:
            wanted = {"attack": ast.AttackStatement, **wanted}
        if _needs_metric(spec, block):
            wanted = {"metric": ast.MetricStatement, **wanted}
        yield from _missing(spec, block, "property", wanted)


def _needs_metric(spec: Spec, block: ast.Property) -> bool:
    if spec.asks_radius(block) is not True:
        return True
    atoms = [a for c in spec.comparisons(block) for a in spec.conditions.atoms(c)]
    return any(spec.conditions.is_unknown_of(a, name) for a in atoms for name in (H, H0))


def _missing(spec: Spec, block: ast.Block, word: str, needed: Mapping[str, type[ast.Node]]) -> Iterator[Diagnostic]:
    if spec.damaged(block):
        return
    span = Span(block.span.start, block.span.start + len(word))
    if not isinstance(block, (ast.Model, ast.Detector, ast.Privacy)):
        span, word = block.name.span, f"{word} `{block.name.id}`"
    for keyword, kind in needed.items():
        if not any(isinstance(s, kind) for s in block.statements):
            example = FORMS[keyword]
            if keyword == "metric":
                task = spec.task
                plain = "recall" if task is not None and task.objects else "accuracy"
                plain = "auroc" if task is not None and task.scores else plain
                example = f"metric {'pixel_accuracy' if task is None or (task.each and not task.objects) else plain}"
            yield error(__name__, span, f"{word} has no `{keyword}` statement", f"add one, such as `{example}`")
