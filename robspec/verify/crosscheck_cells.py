"""`--cross-check` of what cells of coarse logits certify: an integer program must find nothing that they exclude."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from robspec.bounds.context import Coarse
from robspec.ir.types import Degraded, Metric, WorstCaseQuery
from robspec.oracle import cells
from robspec.oracle.cells import Nodes
from robspec.oracle.compare import BELOW, NO_TOLERANCE, Comparison, shown
from robspec.oracle.scene import value
from robspec.semantics.norm import decimal_text
from robspec.verify.case import Case
from robspec.verify.conditions import meets
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
    query, constant = case.prop.query, case.constant
    if certified is None or ordinary is None or constant.coarse is None:
        return
    scene = replace(case.pieces[0].scene(case.ignore, case.q), logits=nodes.pixels())
    began = time.perf_counter()
    if isinstance(query, WorstCaseQuery):
        metric, eps = query.metric, query.budgets[0]
        said, what = Fraction(certified), f"worst case at eps = {decimal_text(eps)}"
        better = _better(metric, said, Fraction(ordinary))
    else:
        (objective,) = query.objectives
        if not isinstance(objective, Degraded) or certified == math.inf:
            return
        metric, eps, what = objective.metric, Fraction(certified) * _INSIDE, "radius"
        clean = value(metric, scene, scene.predicted)
        if clean is None or (constant.rounding and objective.threshold.slope):
            return
        said = objective.threshold.at(clean)
        better = ordinary != math.inf and certified > ordinary
    if not better or not cells.is_covered(metric):
        return
    found = cells.worst(metric, scene, nodes, constant.coarse * eps + constant.coarse_rounding, said)
    agreed: bool | None = None
    method = note = "the integer program was not solved"
    text = "not solved"
    if found is not None:
        text = shown(found.value)
        method = f"integer program over energies of nodes, {found.pixels} pixels"
        if isinstance(query, WorstCaseQuery):
            agreed = not _better(metric, said, found.value)
        else:
            (objective,) = query.objectives
            agreed = not (isinstance(objective, Degraded) and meets(objective, found.value, said))
            text = f"{text} at the radius"
        note = "" if agreed else "the bound by cells is UNSOUND: pixels that nodes within reach give up are worse"
        if agreed and not found.complete:
            note = f"only the {cells.MOST} cheapest pixels were looked at"
    subject, seconds = case.subject, time.perf_counter() - began
    told = (f"{subject.part}: {what}, by cells", method, BELOW, NO_TOLERANCE, shown(certified), text)
    yield None, Comparison(subject.image, subject.property, *told, agreed, seconds, note)


def _better(metric: Metric, one: Fraction, other: Fraction) -> bool:
    return one < other if metric.lower_is_better else one > other
