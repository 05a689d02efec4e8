"""Property that smoothing does not answer.

Smoothing certifies in l2 that the class a noisy classifier most often gives an item
stays, item by item; of a detector, whether each score reaches the threshold. So it
answers worst cases of metrics that count decisions, and radii where the threshold is a
number: not those of ranked scores, of the n best classes, of boxes, which are not
smoothed and under noise are many (a detector has to `match location`), nor thresholds
relative to the clean value, which nobody knows of a smoothed classifier. The
probability of its error is stated for the images at hand, so `with confidence` is
refused. One pooled number is asked at one budget. A budget larger than what `tau`
certifies, sigma * quantile(tau), leaves nothing certified.

Source: Cohen, Rosenfeld and Kolter 2019; Fischer, Baader and Vechev 2021; of detectors
Chiang, Curry, Abdelkader, Kumar, Dickerson and Goldstein 2020.

Example::

    norm   linf
    budget 0.5
    by     smoothing { sigma 0.25 samples 100 alpha 0.001 tau 0.75 }

Mend::

    norm   l2
    budget 0.15
    by     smoothing { sigma 0.25 samples 100 alpha 0.001 tau 0.75 }
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.semantics.norm import directed_text
from robspec.semantics.normal import quantile_down
from robspec.syntax import ast, write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every property by smoothing."""
    for block in spec.properties:
        by = spec.statement(block, ast.By)
        if by is None or by.method.id != "smoothing":
            continue
        norm = spec.statement(block, ast.NormStatement)
        if norm is not None and norm.norm.name != "l2" and not _is_two(spec, norm.norm):
            message = f"smoothing certifies distances in l2, not in {write.norm(norm.norm)}"
            yield error(__name__, norm.norm.span, message, "write `norm l2`, or leave out `by smoothing`")
        yield from _metrics(spec, block)
        yield from _question(spec, block, by)
        for requirement in spec.requirements(block):
            if requirement.confidence is not None:
                message = "smoothing speaks of these images with a probability of its own, not of a population"
                yield error(__name__, requirement.confidence.span, message, "leave out `with confidence`")


def _is_two(spec: Spec, norm: ast.NormName) -> bool:
    """Whether it is `l(2)`."""
    return norm.exponent is not None and spec.value(norm.exponent) == 2


def _metrics(spec: Spec, block: ast.Property) -> Iterator[Diagnostic]:
    task, match = spec.task, spec.of_detector(ast.Match)
    by_overlap = match is not None and match.name.id == "overlap"
    for use in spec.metric_uses(block):
        metric = spec.derived(use)
        if metric is None or task is None:
            continue
        if task.objects and by_overlap:
            message = (
                "smoothing certifies scores one by one, and a match by overlap looks at boxes, which it leaves out"
            )
            mend = "write `match location`, `nms none` and `strides`, or leave out `by smoothing`"
            yield error(__name__, use.span, message, mend)
        elif task.scores or metric.rank > 1:
            message = f"smoothing certifies decisions for a class, and `{write.metric(use)}` counts something else"
            yield error(__name__, use.span, message, "leave out `by smoothing`")


def _question(spec: Spec, block: ast.Property, by: ast.By) -> Iterator[Diagnostic]:
    budget, degraded = spec.statement(block, ast.Budget), spec.statement(block, ast.Degraded)
    if budget is not None:
        if spec.pooled(block) and isinstance(budget.value, ast.Sweep):
            message = "smoothing answers a pooled metric at one budget"
            yield error(__name__, budget.span, message, "write a property for each budget")
        yield from _reach(spec, budget, by)
    if degraded is not None and spec.pooled(block):
        message = "smoothing answers a pooled metric at a budget, and not for its radius"
        yield error(__name__, degraded.span, message, "write `budget eps` in place of `degraded when`")
    for comparison in _comparisons(degraded):
        swept = ast.Number(Fraction(0), "0") if isinstance(comparison.right, ast.Sweep) else None
        outcome = spec.conditions.outcome(comparison, spec.metric_of(block), swept)
        threshold = getattr(outcome, "threshold", None)
        if threshold is not None and threshold.slope != 0:
            message = "the clean value of a smoothed classifier is not known, so no threshold can follow from it"
            yield error(__name__, comparison.span, message, "compare with a number")


def _comparisons(degraded: ast.Degraded | None) -> Iterator[ast.Comparison]:
    waiting = [] if degraded is None else [degraded.condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Comparison):
            yield node
        else:
            waiting.extend(node.parts)


def _reach(spec: Spec, budget: ast.Budget, by: ast.By) -> Iterator[Diagnostic]:
    settings = {s.name.id: spec.value(s.value) for s in by.settings}
    sigma, tau = settings.get("sigma"), settings.get("tau")
    sweep = isinstance(budget.value, ast.Sweep)
    points = spec.points(budget.value) if isinstance(budget.value, ast.Sweep) else (spec.value(budget.value),)
    known = [p for p in points or () if p is not None]
    if sigma is None or tau is None or not known or not Fraction(1, 2) <= tau < 1 or not 0 < sigma < 10**13:
        return
    reach = sigma * quantile_down(tau)
    if min(known) > reach:
        text = directed_text(reach, 6, up=False)
        message = f"a budget of {shown(min(known))} is beyond {text}, all that tau certifies at this sigma"
        mend = f"{'sweep from' if sweep else 'write'} at most {text}, or leave out `tau`"
        yield error(__name__, budget.span, message, mend)
