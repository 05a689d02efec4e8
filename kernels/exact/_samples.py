"""Loops over one sample after the other: what one gets depends on nothing of another, nor on where it lies.

Everything is IEEE arithmetic in an order that is written here; products of matrices, which libraries add up in orders
of their own, are not made here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robspec.kernels._jit import compiled

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
_TAYLOR = tuple(1 / math.factorial(k) for k in range(9, -1, -1))
_LEAST = -40.0
"""Exponents below count as this: e^-40 is below the last bit of one."""
_EXACT = 1 + 2.0**-20
"""More than sums of squares of fewer than 2^30 doubles are off by."""


@compiled()
def project(images: Any, order: Any, bound: float, unit: float, found: Any) -> None:
    """Shorten each image to a norm, and round its entries to integers.

    Args:
        images: float32 [B, N].
        order: int64 [N], where the entries of the result are in an image.
        bound: > 0, what the norm before rounding does not exceed.
        unit: a power of two, integers for one.
        found: float64 [B, N], receives integers; all 0 of an image without a finite norm.
    """
    for i in range(images.shape[0]):
        total = 0.0
        for k in range(order.size):
            value = np.float64(images[i, order[k]])
            total += value * value
        size = math.sqrt(total)
        scale = unit
        if size > bound:
            scale = unit * ((1.0 - 1e-9) * bound / size)
        if not size < np.inf:
            found[i] = 0.0
            continue
        for k in range(order.size):
            found[i, k] = np.rint(np.float64(images[i, order[k]]) * scale)


@compiled()
def sort(sums: Any, unit: float, size: int, found: Any, route: Any) -> None:
    """Bring sums of products back to integers of the same unit, and order groups of channels, the larger ones first.

    Args:
        sums: float64 [R, C].
        unit: a power of two, by which they are multiplied before they are rounded.
        size: of groups of neighbours, which are ordered the smaller ones first; 0 for pairs of halves.
        found: float64 [R, C], receives integers.
        route: int16 [R, C], receives the channel that each came from.
    """
    channels = sums.shape[1]
    half = channels // 2
    for r in range(sums.shape[0]):
        if size == 0:
            for c in range(half):
                one, other = np.rint(sums[r, c] * unit), np.rint(sums[r, c + half] * unit)
                larger = one >= other
                found[r, c] = one if larger else other
                found[r, c + half] = other if larger else one
                route[r, c] = c if larger else c + half
                route[r, c + half] = c + half if larger else c
            continue
        for c in range(channels):
            value = np.rint(sums[r, c] * unit)
            place = c
            while place % size and found[r, place - 1] > value:
                found[r, place], route[r, place] = found[r, place - 1], route[r, place - 1]
                place -= 1
            found[r, place], route[r, place] = value, c


@compiled()
def unsort(sums: Any, unit: float, route: Any, found: Any) -> None:
    """Bring sums of products back to integers, and each to the channel it came from.

    Args:
        sums: float64 [R, C].
        unit: see `sort`.
        route: int16 [R, C], of `sort`.
        found: float64 [R, C], receives integers.
    """
    for r in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            found[r, route[r, c]] = np.rint(sums[r, c] * unit)


@compiled()
def slopes(
    logits: Any, unit: float, labels: Any, order: Any, tau: float, margin: float, scale: float, found: Any
) -> None:
    """The gradient of cross-entropy of tau z, over tau, in the logits z of each place, as integers.

    Args:
        logits: float64 [B, P, K].
        unit: what they are multiplied by.
        labels: int64 [B, P], below 0 where nothing counts.
        order: int64 [P], where the labels of places are.
        tau: the temperature.
        margin: what the right logit is lowered by.
        scale: a power of two, integers for one.
        found: float64 [B, P, K], receives integers.
    """
    classes = logits.shape[2]
    for i in range(logits.shape[0]):
        for p in range(logits.shape[1]):
            label = labels[i, order[p]]
            if label < 0:
                found[i, p] = 0.0
                continue
            most = -np.inf
            for c in range(classes):
                value = logits[i, p, c] * unit
                if c == label:
                    value -= margin
                found[i, p, c] = value
                most = max(most, value)
            total = 0.0
            for c in range(classes):
                value = _exp(tau * (found[i, p, c] - most))
                found[i, p, c] = value
                total += value
            for c in range(classes):
                share = found[i, p, c] / total
                if c == label:
                    share -= 1.0
                found[i, p, c] = np.rint(share * scale)


@compiled()
def _exp(value: float) -> float:
    """The exponential of a number <= 0, to 2^-36 and by additions and multiplications alone."""
    value = max(value, _LEAST)
    power = np.rint(value * _LOG2E)
    rest = (value - power * _LN2_HIGH) - power * _LN2_LOW
    total = _TAYLOR[0]
    for k in range(1, 10):
        total = total * rest + _TAYLOR[k]
    return math.ldexp(total, int(power))


@compiled()
def add(gradients: Any, factor: float, limit: float, most: float, total: Any) -> None:
    """Cut the gradient of each sample off to integers, bring those beyond a limit below it, and add them up.

    Args:
        gradients: float64 [B, n].
        factor: what they are multiplied by first.
        limit: the l2 norm of integers that no sample exceeds.
        most: its square, rounded down.
        total: int64 [n], what they are added to.
    """
    for i in range(gradients.shape[0]):
        size, ratio = _squares(gradients[i], factor, 1.0), 1.0
        if not size * _EXACT <= most:
            ratio = limit / math.sqrt(size) / _EXACT
            if not _squares(gradients[i], factor, ratio) * _EXACT <= most:
                continue
        for k in range(total.size):
            total[k] += np.int64(np.trunc(np.trunc(gradients[i, k] * factor) * ratio))


@compiled()
def _squares(gradient: Any, factor: float, ratio: float) -> float:
    total = 0.0
    for k in range(gradient.size):
        value = np.trunc(np.trunc(gradient[k] * factor) * ratio)
        total += value * value
    return total
