"""Measure clean and certified accuracy of the shipped archive, independently of robspec's own kernels.

    python specs/runway/certify.py

A pixel that is right by d = z_y - z_j costs an attack at least d^2 / 2 of the logits' budget (L eps)^2, so
the most that can be flipped are the cheapest ones whose costs sum to the budget. Plain float64, for a README;
what `robspec check` reports is rounded soundly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from robspec.models.loading import load

LIPSCHITZ = 1.0001
BUDGETS = (0.25, 0.5, 1.0, 2.0)
GAMMAS = (0.75, 0.5)


def costs(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What flipping each correct pixel costs, ascending.

    Args:
        logits: [2, H, W].
        labels: [H, W].

    Returns:
        One cost per correct pixel.
    """
    margin = np.where(labels == 0, logits[0] - logits[1], logits[1] - logits[0])
    return np.sort(margin[margin > 0] ** 2 / 2)


def measure(folder: Path) -> dict[str, float]:
    """Run the archive on the shipped scenes.

    Args:
        folder: this one.

    Returns:
        Figures by name, as the README's table has them.
    """
    model = load(folder / "runway.pt2")
    files = sorted((folder / "images").glob("*.png"))
    images = np.stack([np.asarray(Image.open(f)) for f in files])
    labels = np.stack([np.asarray(Image.open(folder / "masks" / f.name)) for f in files]).astype(np.int64)
    logits = model.logits(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).double().numpy()
    ascending = [costs(z, y) for z, y in zip(logits, labels, strict=True)]
    pixels = labels[0].size
    found = {"clean accuracy, mean": float(np.mean([len(c) / pixels for c in ascending]))}
    for eps in BUDGETS:
        kept = [(len(c) - np.searchsorted(np.cumsum(c), (LIPSCHITZ * eps) ** 2, "right")) / pixels for c in ascending]
        found[f"certified accuracy at eps {eps:g}, mean"] = float(np.mean(kept))
        found[f"certified accuracy at eps {eps:g}, worst image"] = float(np.min(kept))
    for gamma in GAMMAS:
        radii = []
        for c in ascending:
            flips = int(np.ceil(len(c) - gamma * pixels))
            radii.append(float(np.sqrt(c[:flips].sum()) / LIPSCHITZ) if flips > 0 else 0.0)
        found[f"radius to accuracy {gamma:g}, median"] = float(np.median(radii))
        found[f"radius to accuracy {gamma:g}, worst image"] = float(np.min(radii))
    return found


if __name__ == "__main__":
    for label, value in measure(Path(__file__).parent).items():
        print(f"| {label} | {value:.4f} |")
