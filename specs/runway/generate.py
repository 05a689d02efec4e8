"""Draw runway scenes: a marked runway in perspective on textured terrain, under haze; and their masks.

    python specs/runway/generate.py --count 24 --seed 1000 --out specs/runway

Image `k` depends on `seed + k` alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
_FINER = 3
_GROUNDS = (
    (0.30, 0.42, 0.20),
    (0.42, 0.40, 0.22),
    (0.24, 0.36, 0.22),
    (0.50, 0.42, 0.28),
    (0.36, 0.44, 0.28),
)


def scene(seed: int, size: int = 64) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw one scene.

    Args:
        seed: decides everything about it.
        size: height and width in pixels.

    Returns:
        The image, uint8 [size, size, 3], and its mask, uint8 [size, size]: 1 on the runway, 0 elsewhere.
    """
    rng = np.random.default_rng(seed)
    fine = size * _FINER
    rows, columns = np.mgrid[0:fine, 0:fine] + 0.5
    y, x = rows / fine, columns / fine
    horizon = rng.uniform(0.12, 0.30)
    roll = rng.uniform(-0.06, 0.06)
    depth = y - horizon - roll * (x - 0.5)
    below = depth > 0

    start, end = rng.uniform(0.02, 0.06), rng.uniform(0.62, 0.95)
    centre_far, centre_near = rng.uniform(0.35, 0.65), rng.uniform(0.32, 0.68)
    half_far, half_near = rng.uniform(0.020, 0.035), rng.uniform(0.17, 0.27)
    along = np.clip((depth - start) / (end - start), 0, 1)
    centre = centre_far + (centre_near - centre_far) * along
    half = half_far + (half_near - half_far) * along
    across = (x - centre) / half
    on = below & (depth >= start) & (depth <= end) & (np.abs(across) <= 1)

    colour = np.where(below[..., None], _terrain(rng, x, y, depth), _sky(rng, y, horizon))
    asphalt = rng.uniform(0.62, 0.80) + rng.uniform(-0.02, 0.02, 3)
    surface = asphalt + 0.03 * _noise(rng, fine, 24)[..., None]
    colour = np.where(on[..., None], np.where(_markings(rng, across, along)[..., None], 0.97, surface), colour)

    haze = rng.uniform(0.05, 0.35) * np.exp(-np.clip(depth, 0, None) / rng.uniform(0.10, 0.30))
    veil = np.where(below, haze, haze.max() * 0.5)[..., None]
    colour = colour + (np.array((0.80, 0.84, 0.88)) - colour) * veil
    colour = colour * rng.uniform(0.92, 1.06) + rng.normal(0, 0.006, colour.shape)

    image = colour.reshape(size, _FINER, size, _FINER, 3).mean(axis=(1, 3))
    mask = on.reshape(size, _FINER, size, _FINER).mean(axis=(1, 3)) >= 0.5
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask.astype(np.uint8)


def _markings(rng: np.random.Generator, across: Array, along: Array) -> npt.NDArray[np.bool_]:
    """Centre line, edge lines and the threshold's bars, foreshortened like the runway."""
    distance = 1.0 / (along + 0.12)
    dashes = (distance * rng.uniform(5.0, 8.0) + rng.uniform()) % 1.0 < 0.55
    centre_line = (np.abs(across) < 0.035) & dashes
    edge_lines = (np.abs(across) > 0.90) & (np.abs(across) < 0.96)
    bars = (along > 0.86) & (along < 0.95) & (np.abs(across) > 0.12) & (np.abs(across) < 0.82)
    bars &= (np.abs(across) * 7) % 1.0 < 0.55
    return np.asarray(centre_line | edge_lines | bars)


def _terrain(rng: np.random.Generator, x: Array, y: Array, depth: Array) -> Array:
    ground = np.array(_GROUNDS[rng.integers(len(_GROUNDS))]) + rng.uniform(-0.04, 0.04, 3)
    fine = x.shape[0]
    texture = 0.06 * _noise(rng, fine, 5) + 0.04 * _noise(rng, fine, 13) + 0.02 * _noise(rng, fine, 40)
    angle = rng.uniform(0, np.pi)
    stripes = np.sin((np.cos(angle) * x + np.sin(angle) * y) / (0.03 + 0.15 * np.clip(depth, 0, None)) * 3.0)
    return np.asarray(ground + (texture + rng.uniform(0, 0.03) * stripes)[..., None])


def _sky(rng: np.random.Generator, y: Array, horizon: float) -> Array:
    top = np.array((0.40, 0.58, 0.84)) + rng.uniform(-0.06, 0.06, 3)
    low = np.array((0.72, 0.78, 0.86))
    mix = np.clip(y / horizon, 0, 1)[..., None]
    clouds = np.clip(_noise(rng, y.shape[0], 6), 0, None)[..., None] * rng.uniform(0, 0.12)
    return np.asarray(top + (low - top) * mix + clouds)


def _noise(rng: np.random.Generator, fine: int, cells: int) -> Array:
    """Smooth noise of about unit size: a random grid, interpolated."""
    grid = rng.normal(size=(cells + 1, cells + 1))
    at = np.linspace(0, cells, fine, endpoint=False)
    whole = at.astype(int)
    part = at - whole
    part = part * part * (3 - 2 * part)
    rows = grid[whole] * (1 - part)[:, None] + grid[whole + 1] * part[:, None]
    return np.asarray(rows[:, whole] * (1 - part) + rows[:, whole + 1] * part)


def write(out: Path, count: int, seed: int, size: int) -> None:
    """Write images and masks as PNG files of one stem each.

    Args:
        out: the folder that receives images/ and masks/.
        count: number of scenes.
        seed: of the first scene.
        size: height and width in pixels.
    """
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for k in range(count):
        image, mask = scene(seed + k, size)
        Image.fromarray(image).save(out / "images" / f"{k:03d}.png", optimize=True)
        Image.fromarray(mask).save(out / "masks" / f"{k:03d}.png", optimize=True)


def main() -> None:
    """Read the command line and write the scenes."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    write(given.out, given.count, given.seed, given.size)


if __name__ == "__main__":
    main()
