"""`--cross-check` of what cells of coarse logits certify: an integer program must find nothing that they exclude."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from robspec.bounds.context import Coarse, Context
from robspec.ir.plans import OverCounts
from robspec.ir.types import Degraded, Metric, WorstCaseQuery
from robspec.oracle import cells, pooled
from robspec.oracle.cells import Found, Nodes
from robspec.oracle.compare import BELOW, NO_TOLERANCE, Comparison, shown
from robspec.oracle.scene import value
from robspec.semantics.constant import Constant
from robspec.semantics.norm import decimal_text
from robspec.verify.case import Case
from robspec.verify.conditions import meets
from robspec.verify.evaluate import PooledEvaluator
from robspec.verify.result import Value

_INSIDE = 1 - Fraction(1, 10**9)
"""Of a radius, so much of it is certified beyond doubt."""


def nodes_of(coarse: Coarse, image: int) -> Nodes:
    """Take one image out of a batch of coarse logits."""
    z = coarse.logits[image].detach().cpu().to(torch.float64)
    rows, columns = coarse.grid.rows, coarse.grid.columns
    down = np.array(rows.cells)[:, None] + np.arange(rows.span)
    along = np.array(columns.cells)[:, None] + np.arange(columns.span)
    of = down[:, None, :, None] * columns.nodes + along[None, :, None, :]
    weights = np.array(rows.weights)[:, None, :, None] * np.array(columns.weights)[None, :, None, :]
    pixels = len(rows.cells) * len(columns.cells)
    return Nodes(z.reshape(len(z), -1).T.numpy(), of.reshape(pixels, -1), weights.reshape(pixels, -1))


def by_cells(
    case: Case, nodes: Nodes, certified: Value | None, ordinary: Value | None
) -> Iterator[tuple[None, Comparison]]:
    """Look for pixels that make what is certified false; for nothing where full-size logits certify as much.

    Args:
        case: a whole image, with the constant of its coarse logits.
        nodes: these.
        certified: what is certified.
        ordinary: what full-size logits alone certify, which is compared by itself.
    """
    constant = case.constant
    if certified is None or ordinary is None or constant.coarse is None:
        return
    scene = replace(case.pieces[0].scene(case.ignore, case.q), logits=nodes.pixels())
    began = time.perf_counter()
    claim = _claim(case, certified, ordinary, lambda m: value(m, scene, scene.predicted))
    if claim is None or not cells.is_covered(claim.metric):
        return
    found = cells.worst(claim.metric, scene, nodes, _reach(constant, claim.eps), claim.said)
    yield None, _compared(case, claim, certified, found, time.perf_counter() - began)


def together_by_cells(
    case: Case, batches: Sequence[Context], nodes: Sequence[Nodes]
) -> Iterator[tuple[None, Comparison]]:
    """Do the same of a pooled metric over several images, whose bound is asked for of exactly these.

    Args:
        case: the images, with the constant of their coarse logits.
        batches: each of them, before the up-sampling.
        nodes: the same.
    """
    began = time.perf_counter()
    alone = replace(case.constant, coarse=None, coarse_rounding=Fraction(0))
    certified, ordinary = (_pooled_bound(case, batches, constant) for constant in (case.constant, alone))
    if certified is None or ordinary is None:
        return
    scenes = [
        replace(piece.scene(case.ignore, case.q), logits=n.pixels())
        for piece, n in zip(case.pieces, nodes, strict=True)
    ]
    claim = _claim(case, certified, ordinary, lambda m: pooled.clean_value(m, scenes))
    if claim is None or claim.metric.weighted or not isinstance(claim.metric.plan, OverCounts):
        return
    found = cells.worst_together(claim.metric, scenes, nodes, _reach(case.constant, claim.eps))
    yield None, _compared(case, claim, certified, found, time.perf_counter() - began)


def _pooled_bound(case: Case, batches: Sequence[Context], constant: Constant) -> Value | None:
    channels = int(batches[0].given.shape[1])
    pools = PooledEvaluator([(case.prop, constant)], (channels, *batches[0].shape[1:]))
    try:
        for context in batches:
            pools.add(context)
        return pools.answer(case.prop.name)[0].certified[0]
    finally:
        pools.close()


@dataclass(frozen=True, slots=True)
class _Claim:
    """What cells are said to certify beyond full-size logits.

    Args:
        metric: of which.
        eps: within which budget.
        said: what the metric is worth at least, or the threshold that it does not meet.
        what: in words.
    """

    metric: Metric
    eps: Fraction
    said: Fraction
    what: str


def _claim(
    case: Case, certified: Value, ordinary: Value, clean_value: Callable[[Metric], Fraction | None]
) -> _Claim | None:
    """Put what is certified as a claim that pixels may refute; None where there is none to refute."""
    query, constant = case.prop.query, case.constant
    if isinstance(query, WorstCaseQuery):
        metric, eps, said = query.metric, query.budgets[0], Fraction(certified)
        better = _better(metric, said, Fraction(ordinary))
        return _Claim(metric, eps, said, f"worst case at eps = {decimal_text(eps)}") if better else None
    (objective,) = query.objectives
    if not isinstance(objective, Degraded) or certified == math.inf:
        return None
    clean = clean_value(objective.metric)
    if clean is None or (constant.rounding and objective.threshold.slope):
        return None
    better = ordinary != math.inf and certified > ordinary
    eps, said = Fraction(certified) * _INSIDE, objective.threshold.at(clean)
    return _Claim(objective.metric, eps, said, "radius") if better else None


def _reach(constant: Constant, eps: Fraction) -> Fraction:
    if constant.coarse is None:
        raise ValueError("nothing is known of coarse logits")
    return constant.coarse * eps + constant.coarse_rounding


def _compared(case: Case, claim: _Claim, certified: Value, found: Found | None, seconds: float) -> Comparison:
    query = case.prop.query
    agreed: bool | None = None
    method = note = "the integer program was not solved"
    text = "not solved"
    if found is not None:
        text = shown(found.value)
        method = f"integer program over energies of nodes, {found.pixels} pixels"
        if isinstance(query, WorstCaseQuery):
            agreed = not _better(claim.metric, claim.said, found.value)
        else:
            (objective,) = query.objectives
            agreed = not (isinstance(objective, Degraded) and meets(objective, found.value, claim.said))
            text = f"{text} at the radius"
        note = "" if agreed else "the bound by cells is UNSOUND: pixels that nodes within reach give up are worse"
        if agreed and not found.complete:
            note = f"only the {cells.MOST} cheapest pixels were looked at"
    told = (f"{case.subject.part}: {claim.what}, by cells", method, BELOW, NO_TOLERANCE, shown(certified), text)
    return Comparison(case.subject.image, case.subject.property, *told, agreed, seconds, note)


def _better(metric: Metric, one: Fraction, other: Fraction) -> bool:
    return one < other if metric.lower_is_better else one > other
