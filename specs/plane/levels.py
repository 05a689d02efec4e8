"""Learn the signed distance to toy sets of the plane and draw its level sets; needs matplotlib and scikit-learn.

    python specs/plane/levels.py --out levels.png

Each set is drawn by scikit-learn and scaled into the unit square. The network is trained on its points alone and
exported, and its Lipschitz constant L is proved. An attack that moves a point by eps changes its score by L eps at
most. Drawn is the score over L: on each line, points that an attack must move at least that far to the boundary.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import make_blobs, make_circles, make_moons

from robspec.train.config import read_config
from robspec.train.run import train
from robspec.train.scoring import ScoreModel, open_scores

FOLDER = Path(__file__).resolve().parent
TRAINED, HELD_OUT = 400, 200
LEVELS = (-0.05, 0.0, 0.05, 0.1, 0.2)

Points = npt.NDArray[np.float64]
SETS: dict[str, Callable[[int, int], Points]] = {
    "two moons": lambda count, seed: make_moons(count, noise=0.05, random_state=seed)[0],
    "two circles": lambda count, seed: make_circles(count, noise=0.03, factor=0.45, random_state=seed)[0],
    "blobs": lambda count, seed: make_blobs(
        count, centers=[[-1, -0.8], [1.1, -0.5], [0, 1]], cluster_std=0.18, random_state=seed
    )[0],
}


@dataclass(frozen=True)
class Learned:
    """A set and the network learned from it.

    Args:
        name: of the set.
        points: held out, in the unit square, [N, 2].
        model: gives scores.
        inside: the share of the held-out points with a score of at most 0.
        slopes: the length of the gradient over L at a grid of points, 10th percentile and median.
    """

    name: str
    points: Points
    model: ScoreModel
    inside: float
    slopes: tuple[float, float]


def scaled(points: Points, reference: Points) -> Points:
    """Bring points to where their reference fills the middle of the unit square."""
    low, high = reference.min(axis=0), reference.max(axis=0)
    return np.clip(0.5 + (points - (low + high) / 2) / (1.6 * (high - low).max()), 0, 1)


def learn(name: str, folder: Path, epochs: int | None = None) -> Learned:
    """Draw a set, train on it, export and prove.

    Args:
        name: of the set.
        folder: where points and run are kept.
        epochs: instead of those of plane.toml.

    Returns:
        The network and how it does.
    """
    reference = SETS[name](TRAINED, 0)
    parts = {
        "train": scaled(reference, reference),
        "val": scaled(SETS[name](HELD_OUT, 1), reference),
        "uniform": np.random.default_rng(2).random((HELD_OUT, 2)),
    }
    stem = name.replace(" ", "-")
    for part, points in parts.items():
        (folder / stem / part).mkdir(parents=True, exist_ok=True)
        for k, point in enumerate(points.astype(np.float32)):
            np.save(folder / stem / part / f"{k:04d}.npy", point[:, None, None])
    text = (FOLDER / "plane.toml").read_text(encoding="utf-8").replace("SET", stem)
    if epochs is not None:
        text = text.replace("epochs = 60", f"epochs = {epochs}")
    (folder / f"{stem}.toml").write_text(text, encoding="utf-8")
    done = train(read_config(folder / f"{stem}.toml"), folder / "runs" / stem, None, _Quiet(), fresh=True)
    model = open_scores(done.folder / "model.pt2")
    grid = as_images(_grid(40)).requires_grad_()
    (slope,) = torch.autograd.grad(model.differentiable(grid).sum(), grid)
    sizes = slope.flatten(1).norm(dim=1).numpy() / float(model.constant.value)
    inside = float((model.scores(as_images(parts["val"])) <= 0).mean())
    return Learned(name, parts["val"], model, inside, (float(np.quantile(sizes, 0.1)), float(np.median(sizes))))


def as_images(points: Points) -> torch.Tensor:
    """Write points [N, 2] as images [N, 2, 1, 1]."""
    return torch.from_numpy(points.astype(np.float32))[:, :, None, None]


def draw(learned: Sequence[Learned], path: Path) -> None:
    """Draw one panel per set: scores, their level sets, and the points held out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(learned), figsize=(5 * len(learned), 5), squeeze=False, layout="constrained"
    )
    side = 200
    axis = np.linspace(0, 1, side)
    for panel, one in zip(panels[0], learned, strict=True):
        scores = one.model.scores(as_images(_grid(side))).reshape(side, side) / float(one.model.constant.value)
        extent = float(np.abs(scores).max())
        panel.pcolormesh(
            axis, axis, scores, cmap="RdBu_r", vmin=-extent, vmax=extent, shading="auto", rasterized=True
        )
        lines = panel.contour(axis, axis, scores, levels=LEVELS, colors="black", linewidths=0.8)
        panel.contour(axis, axis, scores, levels=[0.0], colors="black", linewidths=2)
        panel.clabel(lines, fontsize=7)
        panel.scatter(*one.points.T, s=5, color="gold", edgecolors="black", linewidths=0.2)
        panel.set(title=f"{one.name}: proved L <= {one.model.constant.text}", aspect="equal", xticks=[], yticks=[])
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _grid(side: int) -> Points:
    axis = np.linspace(0, 1, side)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


class _Quiet:
    """Says nothing while training."""

    def line(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show nothing."""
        yield lambda _: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, learn each set, draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("levels.png"))
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--build", type=Path, default=FOLDER.parents[1] / "build" / "plane", help="where runs are kept"
    )
    given = parser.parse_args(arguments)
    learned = []
    for name in given.sets:
        one = learn(name, given.build, given.epochs)
        low, median = one.slopes
        print(
            f"{name}: proved L <= {one.model.constant.text}, {one.inside:.1%} of {HELD_OUT} points held out inside, "
            f"gradient over L {low:.3f} or more on 90 % of the square, median {median:.3f}",
            flush=True,
        )
        learned.append(one)
    draw(learned, given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
