"""Draws one approach: image, mask, corners, and the geometry they follow from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robspec.data.polygon import Corners, in_order
from robspec.data.runway.camera import Approach, Array
from robspec.data.runway.light import Light
from robspec.data.runway.surface import Runway, fields, noise
from robspec.data.runway.traffic import Craft

NAUTICAL_MILE = 1852.0
_FINER = 3
_TRIES = 1000
_MARGIN = 0.02
_NOWHERE = -1e9
"""The length of a runway that no point is on."""
_GRASS = np.array(
    [[0.20, 0.30, 0.13], [0.29, 0.33, 0.15], [0.36, 0.32, 0.19], [0.25, 0.36, 0.20], [0.42, 0.37, 0.25]]
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One drawn approach.

    Args:
        image: uint8 [size, size, 3].
        mask: uint8 [size, size], 1 where the line of sight through the centre of the pixel meets the runway.
        corners: of the runway, pixels, going round.
        approach: the aircraft.
        runway: its runway.
        light: sun and air.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    corners: Corners
    approach: Approach
    runway: Runway
    light: Light


def draw(seed: int, size: int = 128) -> Scene:
    """Draw the scene of a seed.

    Args:
        seed: at least 0; decides everything but the resolution.
        size: height and width in pixels.

    Returns:
        The scene; the whole runway is within the image, as in LARD.

    Source: the approach cone of LARD (Ducoffe et al. 2023), nearer its runway, for small images.
    """
    return drawn(seed, size)


def drawn(seed: int, size: int, *, bare: bool = False, aircraft: Sequence[Craft] = ()) -> Scene:
    """Draw the scene of a seed with what is in the air, or without its runway.

    Args:
        seed: as for `draw`.
        size: height and width in pixels.
        bare: leave the runway out: the ground is drawn as it is elsewhere, and the mask is empty.
        aircraft: drawn over the rest, in this order; they do not change the mask.

    Returns:
        The scene; its corners and runway are those of the runway left out, too.
    """
    rng = np.random.default_rng(seed)
    runway, light, approach, corners = _setting(rng, size)
    ground = int(rng.integers(1 << 40))
    rays = approach.rays(size, _FINER)
    there = Runway(_NOWHERE, runway.width) if bare else runway
    colours = _colours(rays, approach, there, light, ground, rng)
    if aircraft:
        at = (np.arange(size * _FINER) + 0.5) / (size * _FINER)
        across, down = np.meshgrid(at, at)
        for craft in aircraft:
            colours = craft.paint(colours, across, down, light, approach.view)
    image = colours.reshape(size, _FINER, size, _FINER, 3).mean(axis=(1, 3)) + rng.normal(0, 0.006, (size, size, 3))
    stored = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Scene(stored, _mask(approach, there, size), corners, approach, runway, light)


def mask(seed: int, size: int) -> npt.NDArray[np.uint8]:
    """Give the mask of the scene of a seed without drawing it."""
    runway, _, approach, _ = _setting(np.random.default_rng(seed), size)
    return _mask(approach, runway, size)


def _setting(rng: np.random.Generator, size: int) -> tuple[Runway, Light, Approach, Corners]:
    runway = Runway(length=float(rng.uniform(1400, 3200)), width=float(rng.choice([30.0, 45.0, 45.0, 60.0])))
    hour, azimuth, clearness = rng.uniform(6.3, 17.7), rng.uniform(-math.pi, math.pi), rng.uniform(3.7, 4.6)
    light = Light(float(hour), float(azimuth), 10 ** float(clearness))
    return runway, light, *_approach(rng, runway, size)


def _mask(approach: Approach, runway: Runway, size: int) -> npt.NDArray[np.uint8]:
    x, y, hit = _ground(approach.rays(size), approach.position)
    return np.asarray(hit & runway.covers(x, y)).astype(np.uint8)


def _approach(rng: np.random.Generator, runway: Runway, size: int) -> tuple[Approach, Corners]:
    """An approach from which the whole runway is in the image."""
    for _ in range(_TRIES):
        approach = Approach(
            slant=float(rng.uniform(0.28, 1.1)) * NAUTICAL_MILE,
            lateral=float(rng.uniform(-4, 4)),
            vertical=float(rng.uniform(2.2, 3.8)),
            yaw=float(rng.uniform(-10, 10)),
            pitch=float(rng.uniform(-8, 0)),
            roll=float(rng.uniform(-10, 10)),
            view=float(rng.uniform(20, 32)),
        )
        seen = approach.project(runway.corners, size)
        least, most = _MARGIN * size, (1 - _MARGIN) * size
        if seen is None or not bool(((seen >= least) & (seen <= most)).all()):
            continue
        corners = in_order([(float(x), float(y)) for x, y in seen])
        if corners is not None:
            return approach, corners
    raise AssertionError("no approach shows the runway")  # a thousand tries, of which a fifth succeed


def _ground(rays: Array, position: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Where lines of sight meet the ground: x, y in metres, and whether they do."""
    hit = rays[..., 2] < -1e-9
    reach = np.where(hit, -position[2] / np.where(hit, rays[..., 2], -1.0), 0.0)
    return position[0] + reach * rays[..., 0], position[1] + reach * rays[..., 1], hit


def _colours(
    rays: Array, approach: Approach, runway: Runway, light: Light, seed: int, rng: np.random.Generator
) -> Array:
    x, y, hit = _ground(rays, approach.position)
    x, y = np.where(hit, x, 0.0), np.where(hit, y, 0.0)
    distance = np.hypot(np.hypot(x - approach.position[0], y - approach.position[1]), approach.position[2])
    # Beyond some tens of kilometres fields are finer than pixels: the haze has swallowed them.
    x, y = np.clip(x, -1e5, 1e5), np.clip(y, -1e5, 1e5)
    colours = _terrain(x, y, runway, seed, rng)
    asphalt = rng.uniform(0.30, 0.46) + rng.uniform(-0.015, 0.015, 3)
    worn = 0.05 * noise(seed + 3, x / 6, y, coarse=8, octaves=3) - 0.05 * np.exp(-((np.abs(y) - 4) ** 2) / 8)
    on, paint = runway.covers(x, y), runway.markings(x, y)
    colours = np.where(on[..., None], asphalt + worn[..., None], colours)
    colours = np.where(paint[..., None], rng.uniform(0.78, 0.95) + 0.5 * worn[..., None], colours)
    lit = light.through_air(colours * light.sun * 1.25, distance)
    return np.where(hit[..., None], lit, light.sky(rays))


def _terrain(x: Array, y: Array, runway: Runway, seed: int, rng: np.random.Generator) -> Array:
    tone = fields(seed, x, y, side=float(rng.uniform(140, 380)))
    place = tone * (len(_GRASS) - 1)
    low = np.floor(place).astype(int)
    part = (place - low)[..., None]
    colours = _GRASS[low] * (1 - part) + _GRASS[np.minimum(low + 1, len(_GRASS) - 1)] * part
    rough = noise(seed + 1, x, y, coarse=700, octaves=6) + 0.5 * noise(seed + 2, x, y, coarse=40, octaves=3)
    woods = noise(seed + 4, x, y, coarse=900, octaves=4) > 0.42
    colours = np.where(woods[..., None], np.array([0.10, 0.19, 0.10]), colours)
    mown = _strip(x, y, runway, seed)[..., None]
    colours = np.where(mown, _GRASS[3] * 1.15, colours)
    return np.asarray(colours * (1 + np.where(mown, 0.15, 0.35) * rough[..., None]))


def _strip(x: Array, y: Array, runway: Runway, seed: int) -> npt.NDArray[np.bool_]:
    """The mown grass about the runway."""
    edge = 60 + 15 * noise(seed + 5, x, y, coarse=200, octaves=2)
    return np.asarray((x > -200 - edge) & (x < runway.length + 200) & (np.abs(y) < runway.width / 2 + edge))
