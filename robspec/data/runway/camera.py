"""A pinhole camera on a landing approach.

The world: x along the runway from its threshold, y to the right, z up, metres. The camera looks along the runway,
turned by yaw (to the right), pitch (up) and roll (clockwise), in this order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
AIMING_POINT = 300.0
"""Metres from the threshold to the point an approach leads to."""


@dataclass(frozen=True, slots=True)
class Approach:
    """Where the aircraft is and how it is turned.

    Args:
        slant: distance to the aiming point, metres.
        lateral: angle of the approach right of the extended centre line, degrees.
        vertical: angle of the approach above the ground, degrees.
        yaw: degrees, to the right.
        pitch: degrees, up.
        roll: degrees, clockwise.
        view: horizontal and vertical field of view, degrees.
    """

    slant: float
    lateral: float
    vertical: float
    yaw: float
    pitch: float
    roll: float
    view: float

    @property
    def position(self) -> Array:
        """The camera in the world."""
        level, side = math.radians(self.vertical), math.radians(self.lateral)
        towards = [-math.cos(level) * math.cos(side), math.cos(level) * math.sin(side), math.sin(level)]
        return np.asarray(np.array([AIMING_POINT, 0.0, 0.0]) + self.slant * np.array(towards))

    @property
    def axes(self) -> Array:
        """Rows: right, down and forward of the camera, in the world."""
        yaw, pitch, roll = (math.radians(v) for v in (self.yaw, self.pitch, self.roll))
        ahead = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
        right = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
        down = np.cross(right, ahead)
        cos, sin = math.cos(roll), math.sin(roll)
        return np.stack([cos * right + sin * down, cos * down - sin * right, ahead])

    def focal(self, size: int) -> float:
        """Focal length in pixels of an image of this side."""
        return size / (2 * math.tan(math.radians(self.view) / 2))

    def project(self, points: Array, size: int) -> Array | None:
        """See points of the world.

        Args:
            points: [N, 3], metres.
            size: side of the image.

        Returns:
            [N, 2], x and y in pixels; None when one of them is not in front of the camera.
        """
        seen = (points - self.position) @ self.axes.T
        if not bool((seen[:, 2] > 1.0).all()):
            return None
        return np.asarray(size / 2 + self.focal(size) * seen[:, :2] / seen[:, 2:])

    def rays(self, size: int, finer: int = 1) -> Array:
        """Directions of the centres of pixels, or of finer ones: [size * finer, size * finer, 3], forward part 1."""
        at = ((np.arange(size * finer) + 0.5) / finer - size / 2) / self.focal(size)
        x, y = np.meshgrid(at, at)
        return np.asarray(np.stack([x, y, np.ones_like(x)], axis=-1) @ self.axes)
