"""Time of day: where the sun stands, the colours it gives, and the haze the air adds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_DAWN, _NOON, _HIGHEST = 6.0, 12.0, 62.0


@dataclass(frozen=True, slots=True)
class Light:
    """Sun and air.

    Args:
        hour: of the day, 6.3 to 17.7.
        azimuth: of the sun, radians, from the runway's direction to the right.
        visibility: metres at which contrast has fallen to a twentieth.
    """

    hour: float
    azimuth: float
    visibility: float

    @property
    def elevation(self) -> float:
        """Of the sun above the horizon, radians."""
        return math.radians(_HIGHEST) * math.sin(math.pi * (self.hour - _DAWN) / (2 * (_NOON - _DAWN)))

    @property
    def warmth(self) -> float:
        """1 with the sun at the horizon, 0 from 35 degrees up."""
        return max(0.0, 1 - self.elevation / math.radians(35))

    @property
    def sun(self) -> Array:
        """Colour that lights the ground."""
        strength = 0.55 + 0.5 * math.sin(self.elevation) ** 0.5
        return np.asarray(strength * (1 - self.warmth * np.array([0.0, 0.16, 0.36])))

    @property
    def horizon(self) -> Array:
        """Colour of the sky at the horizon, and of the haze."""
        clear, warm = np.array([0.74, 0.80, 0.87]), np.array([0.93, 0.70, 0.50])
        return np.asarray((clear + (warm - clear) * self.warmth) * (0.75 + 0.25 * math.sin(self.elevation)))

    def sky(self, rays: Array) -> Array:
        """Colours of the sky in the directions [..., 3]."""
        unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        zenith = np.array([0.26, 0.46, 0.78]) * (0.55 + 0.45 * math.sin(self.elevation))
        height = np.clip(unit[..., 2:] / 0.45, 0, 1) ** 0.6
        colours = self.horizon + (zenith - self.horizon) * height
        low = math.cos(self.elevation)
        towards = np.array([low * math.cos(self.azimuth), low * math.sin(self.azimuth), math.sin(self.elevation)])
        glow = np.clip(unit @ towards, 0, 1)[..., None]
        return np.asarray(colours + (0.25 * glow**24 + 0.5 * glow**400) * np.array([1.0, 0.92, 0.75]))

    def through_air(self, colours: Array, distance: Array) -> Array:
        """What is left of ground colours [..., 3] seen over distances [...] in metres."""
        clear = np.exp(-3.0 * distance / self.visibility)[..., None]
        return np.asarray(self.horizon + (colours - self.horizon) * clear)
