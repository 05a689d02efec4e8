"""Bounds for several values together: disjoint selections of one parent, and branches that share an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import torch

from robspec.lipschitz import directed, joining
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import default_axes
from robspec.lipschitz.stencil import Stencil, compose, diagonal, identity
from robspec.lipschitz.values import Piece, Step, Value, View
from robspec.semantics.norm import Norm


def joint(values: Sequence[Value], anchor: Value, norm: Norm) -> float:
    """Bound the distance of all values together, as one long vector.

    Args:
        values: values that know the anchor.
        anchor: where distances start.
        norm: r.

    Returns:
        The smaller of (sum L_i^r)^(1/r) and, where every value depends on its own disjoint selection of one
        parent, the largest relative bound times the parent's.

    Source: MATH.md section 5.
    """
    best = directed.stack((value.known[anchor] for value in values), norm)
    pieces = [[key for key in value.known if key.step.piece is not None] for value in values]
    for candidate in pieces[0]:
        piece = candidate.step.piece
        if piece is None or anchor not in piece.parent.known:
            continue
        grouped = _by_piece(values, pieces, piece.parent)
        if grouped is None:
            continue
        largest = max(directed.stack(gains, norm) for gains in grouped.values())
        best = min(best, directed.mul(largest, piece.parent.known[anchor]))
    return best


def _by_piece(
    values: Sequence[Value], pieces: Sequence[Sequence[Value]], parent: Value
) -> dict[tuple[range, ...], list[float]] | None:
    """Group relative bounds by selection of one parent; None where the selections overlap or are missing."""
    grouped: dict[tuple[range, ...], list[float]] = {}
    found: dict[tuple[range, ...], Piece] = {}
    for value, keys in zip(values, pieces, strict=True):
        for key in reversed(keys):
            piece = key.step.piece
            if piece is not None and piece.parent is parent:
                found[piece.region] = piece
                grouped.setdefault(piece.region, []).append(value.known[key])
                break
        else:
            return None
    apart = all(a.disjoint(b) for a, b in combinations(found.values(), 2))
    return grouped if apart else None


def views(value: Value, like: Stencil | None) -> list[tuple[Value, Stencil, tuple[str, ...]]]:
    """List the exact linear relations of a value: its recorded one, and the identity to itself.

    Args:
        value: the value.
        like: a stencil whose layout the identity should take, None for the default layout.
    """
    source = value.source
    found = []
    if source.step.view is not None:
        found.append((source.step.view.anchor, source.step.view.stencil, source.step.view.members))
    if len(value.shape) >= 2 or like is not None:
        axes = like.output_axes if like is not None else default_axes(value, 1)
        if all(0 <= axis < len(value.shape) for axis in axes):
            sides = tuple(value.shape[axis] for axis in axes[1:])
            found.append((source, identity(value.shape[axes[0]], sides, axes), ()))
    return found


def common_sum(call: Call, step: Step, left: tuple[Value, float], right: tuple[Value, float]) -> Step:
    """Add the exact linear form of a weighted sum of two values to a step, where they share an anchor."""
    layouts = [v.source.step.view.stencil for v, _ in (left, right) if v.source.step.view is not None]
    if not layouts:
        return step
    for anchor, first, first_members in views(left[0], layouts[0]):
        for other, second, second_members in views(right[0], layouts[0]):
            if anchor is not other:
                continue
            scaled = weighted(first, left[1])
            summed = None if scaled is None else joining.total(scaled, second, right[1])
            if summed is not None:
                members = (*first_members, *second_members, call.node.name)
                return replace(step, view=View(anchor, summed, members))
    return step


def common_stack(call: Call, step: Step, values: Sequence[Value], channel: int) -> Step:
    """Add the exact linear form of a concatenation along the channels to a step, where all values share an
    anchor.
    """
    layouts = [v.source.step.view.stencil for v in values if v.source.step.view is not None]
    if not layouts or layouts[0].output_axes[0] != channel:
        return step
    options = [views(value, layouts[0]) for value in values]
    for anchor, _, _ in options[0]:
        chosen = [next((o for o in option if o[0] is anchor), None) for option in options]
        found = [option for option in chosen if option is not None]
        if len(found) < len(values):
            continue
        stacked = joining.concatenate([stencil for _, stencil, _ in found])
        if stacked is not None:
            members = (*(name for _, _, names in found for name in names), call.node.name)
            return replace(step, view=View(anchor, stacked, members))
    return step


def weighted(stencil: Stencil, factor: float) -> Stencil | None:
    """Multiply a stencil by one exact factor."""
    if factor == 1.0:
        return stencil
    factors = torch.full((stencil.channels_out,), factor, dtype=torch.float64)
    return compose(diagonal(factors, stencil.outputs, stencil.output_axes), stencil)


def residual_parts(skip: Value, back: Value) -> tuple[Value, Stencil, Stencil, Stencil] | None:
    """Recognise skip = A x + a and back = B s(C x + c) + b with s entrywise, slopes in [0, 1].

    Args:
        skip: the branch that may be linear in x.
        back: the branch behind the activation.

    Returns:
        x, A, B, C; None where the two values do not have this form.
    """
    behind = back.source.step.view
    if behind is None or not behind.anchor.step.monotone:
        return None
    before = behind.anchor.step.inputs[0].source.step.view
    if before is None:
        return None
    for anchor, stencil, _ in views(skip, before.stencil):
        if anchor is before.anchor:
            return anchor, stencil, behind.stencil, before.stencil
    return None
