"""What an attack must spend at a pixel to bring a class level with all others (MATH.md section 2), three times.

As a closed form in doubles, to choose what is worth solving; in exact rationals, to verify what a solver found; and
as a conic program, the definition itself. For every norm the cost of leaving or entering a set of classes is the
least cost over the classes on the other side: whoever is level with the best of a side is level with all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.oracle import solver
from robspec.oracle.scene import FloatArray, IntArray, Scene
from robspec.oracle.solver import cp


def table(scene: Scene) -> FloatArray:
    """Price every class at every pixel in doubles.

    Args:
        scene: the image.

    Returns:
        [N, classes]: the least ||a||_q^q (||a|| for infinity) after which the class is level with the largest logit;
        0 for the predicted class, right to a relative 1e-12.
    """
    z = scene.logits
    if z.shape[1] == 1:
        to_the_other = _power(np.abs(z[:, 0]), scene.q)
        found = np.zeros((len(z), 2))
        found[np.arange(len(z)), 1 - scene.predicted] = to_the_other
        return found
    gaps: FloatArray = z.max(axis=1, keepdims=True) - z
    if scene.q == 1:
        return gaps
    if scene.q is None:
        halves: FloatArray = gaps / 2
        return halves
    found = np.empty_like(z)
    for k in range(z.shape[1]):
        above = np.sort(np.maximum(z - z[:, [k]], 0), axis=1)[:, ::-1]
        # The common level t the others are lowered to and k is raised to is the largest of these means.
        level = (np.cumsum(above, axis=1) / np.arange(2, z.shape[1] + 2)).max(axis=1, keepdims=True)
        found[:, k] = level[:, 0] ** 2 + (np.maximum(above - level, 0) ** 2).sum(axis=1)
    return found


def _power(distance: FloatArray, q: int | None) -> FloatArray:
    return distance * distance if q == 2 else distance


def exact(pixel: Sequence[float], target: int, q: int | None) -> Fraction:
    """Price one class at one pixel in exact rationals.

    Args:
        pixel: its logits.
        target: the class to be brought level with the largest.
        q: exponent of the norm, None for infinity.

    Returns:
        The least ||a||_q^q (||a|| for infinity), exact; 0 for the class that is predicted.
    """
    z = [Fraction(v) for v in pixel]
    if len(z) == 1:
        return Fraction(0) if (z[0] > 0) == (target == 1) else abs(z[0]) ** (q or 1)
    gaps = sorted((v - z[target] for v in z if v > z[target]), reverse=True)
    if not gaps:
        return Fraction(0)
    if q != 2:
        return gaps[0] if q == 1 else gaps[0] / 2
    if len(gaps) == 1:
        return gaps[0] * gaps[0] / 2
    level = max(sum(gaps[:m], Fraction(0)) / (m + 1) for m in range(1, len(gaps) + 1))
    return level**2 + sum(((g - level) ** 2 for g in gaps if g > level), Fraction(0))


def conic(scene: Scene, targets: IntArray) -> FloatArray | None:
    """Price one class at every pixel by solving min ||a||_q subject to (z + a)_target >= (z + a)_j for every j.

    Args:
        scene: the image; few pixels, all solved in one program, which is separable.
        targets: [N], a class for each.

    Returns:
        [N], ||a||_q^q (||a|| for infinity), to the solver's accuracy; None when it fails.
    """
    z = scene.logits
    pixels, classes = z.shape
    # Each pixel is solved in units of its own largest gap, so that one tolerance fits all.
    if classes == 1:
        unit = np.abs(z[:, 0])
        sign = np.where(targets == 1, 1.0, -1.0)
    else:
        unit = z.max(axis=1) - z[np.arange(pixels), targets]
        sign = np.zeros(pixels)
    scale = np.where(unit > 0, unit, 1.0)
    a = cp.Variable((pixels, classes))
    moved = z / scale[:, None] + a
    if classes == 1:
        constraints = [cp.multiply(sign, moved[:, 0]) >= 0]
        raised = sign * z[:, 0] >= 0
    else:
        chosen = np.eye(classes)[targets]
        at_target = cp.reshape(cp.sum(cp.multiply(chosen, moved), axis=1), (pixels, 1), order="C")
        constraints = [at_target @ np.ones((1, classes)) >= moved]
        raised = unit <= 0
    lengths: Any
    if scene.q == 1:
        lengths = cp.sum(cp.abs(a), axis=1)
    elif scene.q == 2:
        lengths = cp.norm(a, 2, axis=1)
    else:
        lengths = cp.max(cp.abs(a), axis=1)
    problem = cp.Problem(cp.Minimize(cp.sum(lengths)), constraints)
    if not solver.relax(problem):
        return None
    found = _power(np.asarray(lengths.value, dtype=np.float64).reshape(pixels) * scale, scene.q)
    return np.where(raised, 0.0, found)
