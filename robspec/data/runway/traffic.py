"""Aeroplanes and balloons near the line of sight: silhouettes, and what they look like in the air between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robspec.data.runway.light import Light

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
AEROPLANE, BALLOON = "aeroplane", "balloon"
_SPAN, _HEIGHT = 34.0, 26.0
"""Metres: an airliner from wing tip to wing tip, a balloon with its basket."""


@dataclass(frozen=True, slots=True)
class Craft:
    """One aircraft in an image.

    Args:
        kind: `AEROPLANE`, seen from behind, or `BALLOON`.
        x: of its middle, as a share of the image's side.
        y: of its middle.
        half: half of its span or height, as a share of the side.
        bank: radians, clockwise.
        colour: its main colour, RGB in [0, 1].
        second: of stripes, fin and basket.
    """

    kind: str
    x: float
    y: float
    half: float
    bank: float
    colour: tuple[float, float, float]
    second: tuple[float, float, float]

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a square that holds it, as shares of the side."""
        return self.x - self.half, self.y - self.half, self.x + self.half, self.y + self.half

    def covers(self, x: Array, y: Array) -> Mask:
        """Whether points of the image, as shares of its side, are on it."""
        return self._parts(x, y)[0]

    def paint(self, colours: Array, x: Array, y: Array, light: Light, view: float) -> Array:
        """Draw it.

        Args:
            colours: [..., 3], what is seen without it.
            x: points of the image as shares of its side, [...].
            y: the same.
            light: sun and air.
            view: field of view, degrees; with its size in the image it says how far away it is.

        Returns:
            [..., 3].
        """
        on, other = self._parts(x, y)
        size = _SPAN if self.kind == AEROPLANE else _HEIGHT
        distance = size / (2 * self.half * 2 * math.tan(math.radians(view) / 2))
        shade = 1.1 - 0.35 * np.clip((y - self.y) / self.half, -1, 1)[..., None]
        own = np.where(other[..., None], np.array(self.second), np.array(self.colour)) * light.sun * shade
        seen = light.through_air(own, np.full(x.shape, distance))
        return np.where(on[..., None], seen, colours)

    def _parts(self, x: Array, y: Array) -> tuple[Mask, Mask]:
        """Where it is, and where it has its second colour."""
        cos, sin = math.cos(self.bank), math.sin(self.bank)
        right, down = (x - self.x) / self.half, (y - self.y) / self.half
        u, v = cos * right + sin * down, cos * down - sin * right
        if self.kind == BALLOON:
            envelope = (u / 0.72) ** 2 + ((v + 0.26) / 0.70) ** 2 <= 1
            basket = (np.abs(u) <= 0.17) & (v >= 0.60) & (v <= 0.92)
            ropes = (np.abs(u) <= 0.30 - 0.22 * (v - 0.30)) & (v > 0.30) & (v < 0.60)
            stripes = (np.floor((u + 3) / 0.29) % 2 == 0) & ~basket
            return np.asarray(envelope | basket | ropes), np.asarray(basket | stripes)
        body = u**2 + (v + 0.02) ** 2 <= 0.17**2
        wings = (np.abs(v - 0.06 + 0.16 * np.abs(u)) <= 0.095 - 0.02 * np.abs(u)) & (np.abs(u) <= 0.95)
        fin = (np.abs(u) <= 0.075) & (v <= 0) & (v >= -0.50)
        tail = (np.abs(v + 0.20) <= 0.06) & (np.abs(u) <= 0.36)
        engines = (np.abs(u) - 0.36) ** 2 + (v - 0.10) ** 2 <= 0.085**2
        return np.asarray(body | wings | fin | tail | engines), np.asarray(fin | engines)


def pick(rng: np.random.Generator, kind: str) -> Craft:
    """Draw an aircraft somewhere, wholly within the image.

    Args:
        rng: decides everything.
        kind: `AEROPLANE` or `BALLOON`.
    """
    low, high = (0.11, 0.22) if kind == AEROPLANE else (0.09, 0.19)
    half = float(np.exp(rng.uniform(math.log(low), math.log(high))))
    x, y = rng.uniform(half, 1 - half, 2)
    bank = float(rng.uniform(-0.4, 0.4)) if kind == AEROPLANE else float(rng.uniform(-0.08, 0.08))
    if kind == AEROPLANE:
        colour = rng.uniform(0.68, 0.95) + rng.uniform(-0.04, 0.04, 3)
        second = rng.choice(np.array([[0.15, 0.2, 0.5], [0.6, 0.1, 0.12], [0.2, 0.2, 0.22]]))
    else:
        hue = rng.choice(np.array([[0.9, 0.2, 0.15], [0.95, 0.7, 0.1], [0.2, 0.35, 0.85], [0.6, 0.15, 0.6]]))
        colour, second = hue + rng.uniform(-0.05, 0.05, 3), np.array([0.95, 0.92, 0.85]) - 0.6 * (rng.random() < 0.3)
    first, other = (tuple(float(c) for c in np.clip(v, 0, 1)) for v in (colour, second))
    return Craft(kind, float(x), float(y), half, bank, first, other)  # type: ignore[arg-type]
