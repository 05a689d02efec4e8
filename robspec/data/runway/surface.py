"""What the ground looks like: a runway with its markings, fields, and noise, all in metres of the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Runway:
    """A runway from x = 0 to `length`, `width` wide, about y = 0; metres."""

    length: float
    width: float

    @property
    def corners(self) -> Array:
        """[4, 3]: far left, far right, near right, near left."""
        half = self.width / 2
        return np.array(
            [[self.length, -half, 0], [self.length, half, 0], [0, half, 0], [0, -half, 0]], dtype=np.float64
        )

    def covers(self, x: Array, y: Array) -> Mask:
        """Whether ground points are on it, edges included."""
        return np.asarray((x >= 0) & (x <= self.length) & (np.abs(y) <= self.width / 2))

    def markings(self, x: Array, y: Array) -> Mask:
        """Whether ground points carry white paint: both ends alike, as the rules for runways lay it down."""
        away = np.minimum(x, self.length - x)  # from the nearer end
        side, half = np.abs(y), self.width / 2
        edges = (side > half - 1.8) & (side < half - 0.9)
        bars = (away > 6) & (away < 36) & (side > 1.8) & (side < half - 3) & ((side - 1.8) % 3.6 < 1.8)
        centre = (side < 0.45) & (away > 60) & (away % 50 < 30)
        aiming = (away > 300) & (away < 345) & (side > half * 0.24) & (side < half * 0.24 + 6)
        touchdown = (side > half * 0.24) & (side < half * 0.24 + 5) & (away > 140) & (away < 720)
        touchdown &= ((away % 150) < 22.5) & (np.abs(away - 322) > 60) & ((side - half * 0.24) % 2 < 1.4)
        return np.asarray(self.covers(x, y) & (edges | bars | centre | aiming | touchdown))


def noise(seed: int, x: Array, y: Array, *, coarse: float, octaves: int) -> Array:
    """Sum octaves of smooth noise, each of half the amplitude and period.

    Args:
        seed: decides it.
        x: ground points, metres.
        y: ground points, metres.
        coarse: period of the coarsest octave, metres.
        octaves: number of them.

    Returns:
        About -1 to 1, of the shape of x.
    """
    total, amplitude = np.zeros_like(x), 0.5
    for octave in range(octaves):
        period = coarse / 2**octave
        total += amplitude * _lattice(seed + 101 * octave, x / period, y / period)
        amplitude /= 2
    return total


def fields(seed: int, x: Array, y: Array, *, side: float) -> Array:
    """A value in [0, 1] for each field of a bent patchwork."""
    bend = 0.35 * side * noise(seed + 7, x, y, coarse=3 * side, octaves=2)
    rows = np.floor((y + bend) / side)
    columns = np.floor((x - bend) / (1.7 * side) + 0.5 * (rows % 2))
    return _hashed(seed, columns.astype(np.int64), rows.astype(np.int64))


def _lattice(seed: int, x: Array, y: Array) -> Array:
    column, row = np.floor(x), np.floor(y)
    u, v = x - column, y - row
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = column.astype(np.int64), row.astype(np.int64)
    low = _hashed(seed, i, j) * (1 - u) + _hashed(seed, i + 1, j) * u
    high = _hashed(seed, i, j + 1) * (1 - u) + _hashed(seed, i + 1, j + 1) * u
    return np.asarray(2 * (low * (1 - v) + high * v) - 1)


def _hashed(seed: int, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]) -> Array:
    """A number in [0, 1) for each cell, the same on every machine: integers alone are mixed."""
    with np.errstate(over="ignore"):
        mixed = i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= j.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= np.uint64(seed & 0xFFFFFFFFFFFF) * np.uint64(0x165667B19E3779F9)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) / 2.0**53)
