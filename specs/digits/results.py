"""Train a one-class model of each digit, and its unconstrained twin; certify, attack, and write the table.

    python specs/digits/results.py                # everything, into docs/how-to/one-class-models.md
    python specs/digits/results.py --digits 3 8   # some digits, printed alone

The images are scikit-learn's digits, 8 x 8. They are shuffled once: 60 % train, 15 % validate, 25 % test. A model
learns from the training images of its digit and nothing else; the table is about the test images, which nothing was
chosen by. Every test image of another digit is an anomaly, and the anomalies are attacked.

Certified: the exact worst case of the area under the ROC curve over all scores within L eps, with the constant L
that is proved from the exported network. Attacked: projected gradient steps on the score of each anomaly, in the
same ball.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from robspec.kernels.scores import Shifts, backends
from robspec.train.config import read_config
from robspec.train.run import train
from robspec.train.scoring import ScoreModel, aurocs, open_scores

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parents[1] / "docs" / "how-to" / "one-class-models.md"
PARTS = {"train": 0.60, "val": 0.15, "test": 0.25}
BUDGETS = (Fraction(1, 10), Fraction(1, 4), Fraction(1, 2))
STEPS = 30
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
TWIN = (("[data]", "lipschitz = false\n\n[data]"), ("alpha = 0.5", "alpha = 1"))

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One digit's areas under the ROC curve on the test images, exact.

    Args:
        name: of the digit.
        clean: of the Lipschitz network.
        certified: of it, by budget.
        attacked: of it, by budget.
        twin_clean: of its twin.
        twin_attacked: of its twin, by budget.
    """

    name: str
    clean: Fraction
    certified: tuple[Fraction, ...]
    attacked: tuple[Fraction, ...]
    twin_clean: Fraction
    twin_attacked: tuple[Fraction, ...]

    def line(self) -> str:
        """Write the row of the table: what is certified rounded down, what was measured to the nearest."""
        pairs = zip(self.certified, self.attacked, strict=True)
        ours = [f"{_shown(c, math.floor)} / {_shown(a)}" for c, a in pairs]
        twin = [_shown(a) for a in self.twin_attacked]
        return f"| {' | '.join([self.name, _shown(self.clean), *ours, _shown(self.twin_clean), *twin])} |"


def _shown(value: Fraction, rounded: Callable[[Fraction], int] = round) -> str:
    return f"{rounded(value * 1000) / 1000:.3f}"


def draw(folder: Path) -> None:
    """Write each image as an 8-bit PNG into PART/DIGIT/."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    edges = np.cumsum([round(share * len(order)) for share in PARTS.values()])[:-1]
    for part, chosen in zip(PARTS, np.split(order, edges), strict=True):
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True, exist_ok=True)
        for k in chosen:
            image = np.round(digits.images[k] * 255 / 16).astype(np.uint8)
            Image.fromarray(image).save(folder / part / str(digits.target[k]) / f"{k:04d}.png")


def images(folder: Path, part: str) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Read a part's images, [N, 1, 8, 8], and their digits."""
    paths = sorted((folder / part).glob("*/*.png"))
    arrays = [np.asarray(Image.open(path), dtype=np.float32) / 255 for path in paths]
    return torch.from_numpy(np.stack(arrays))[:, None], np.array([int(path.parent.name) for path in paths])


def fitted(folder: Path, digit: int, *, twin: bool, epochs: int | None) -> ScoreModel:
    """Train, export and prove one network."""
    text = (FOLDER / "digit.toml").read_text(encoding="utf-8").replace("DIGIT", str(digit))
    for old, new in TWIN if twin else ():
        if text.count(old) != 1:
            raise SystemExit(f"digit.toml has no single {old!r} to make the twin from")
        text = text.replace(old, new)
    if epochs is not None:
        text = "".join(
            f"epochs = {epochs}\n" if "epochs" in line else line for line in text.splitlines(keepends=True)
        )
    name = f"{digit}{'-twin' if twin else ''}"
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    done = train(read_config(path), folder / "runs" / name, None, _Quiet(), fresh=True)
    return open_scores(done.folder / "model.pt2")


def attack(model: ScoreModel, clean: Tensor, eps: float) -> Scores:
    """Search the l2 ball around each image for a low score.

    Args:
        model: gives scores.
        clean: [N, C, H, W]; every image tried is clipped to [0, 1] and within the ball.
        eps: the ball's radius.

    Returns:
        The least score met on each image, float64 [N].
    """
    least = model.scores(clean)
    generator = torch.Generator().manual_seed(0)
    for start in ("image", "random"):
        change = torch.zeros_like(clean)
        if start == "random":
            change = _inside(torch.randn(clean.shape, generator=generator), eps)
        for k in range(STEPS):
            tried = (clean + change).clamp(0, 1).requires_grad_()
            (slope,) = torch.autograd.grad(model.differentiable(tried).sum(), tried)
            size = slope.flatten(1).norm(dim=1).clamp_min(1e-20)[:, None, None, None]
            step = 2.5 * eps / STEPS * (2 if k < STEPS // 2 else 0.5)
            change = _inside((clean + change - step * slope / size).clamp(0, 1) - clean, eps)
            if k % 5 == 4:
                least = np.minimum(least, model.scores((clean + change).clamp(0, 1)))
    return least


def _inside(change: Tensor, eps: float) -> Tensor:
    """Shrink what lies outside the ball, with room for rounding."""
    size = change.double().flatten(1).norm(dim=1)[:, None, None, None]
    return (change * (eps * (1 - 1e-6) / size.clamp_min(1e-20)).clamp_max(1)).float()


def measure(folder: Path, digit: int, epochs: int | None) -> Row:
    """Train a network and its twin on one digit, and measure both on the test images."""
    every, labels = images(folder, "test")
    normal, anomalous = every[labels == digit], every[labels != digit]
    found = []
    for twin in (False, True):
        model = fitted(folder, digit, twin=twin, epochs=epochs)
        inside, outside = model.scores(normal), model.scores(anomalous)
        clean, *certified = aurocs(outside, inside, model.constant, (Fraction(0), *BUDGETS))
        attacked = [_clean(attack(model, anomalous, float(eps)), inside) for eps in BUDGETS]
        if any(a < c for a, c in zip(attacked, certified, strict=True)):
            raise SystemExit(f"digit {digit}: an attack went below a certified bound: do not trust either")
        print(f"digit {digit}{' twin' if twin else ''}: proved L <= {model.constant.text}", flush=True)
        found.append((clean, tuple(certified), tuple(attacked)))
    (clean, certified, attacked), (twin_clean, _, twin_attacked) = found
    return Row(str(digit), clean, certified, attacked, twin_clean, twin_attacked)


def _clean(outside: Scores, inside: Scores) -> Fraction:
    value = backends()["cpu"].read(outside, inside).auroc(Shifts())
    if value is None:
        raise SystemExit("a side is empty")
    return value


def _mean(rows: Sequence[Row]) -> Row:
    def each(values: Callable[[Row], tuple[Fraction, ...]]) -> tuple[Fraction, ...]:
        columns = zip(*map(values, rows), strict=True)
        return tuple(sum(column, Fraction(0)) / len(rows) for column in columns)

    (clean, twin), certified = each(lambda r: (r.clean, r.twin_clean)), each(lambda r: r.certified)
    return Row("mean", clean, certified, each(lambda r: r.attacked), twin, each(lambda r: r.twin_attacked))


def written(rows: Sequence[Row], seconds: float) -> str:
    """Write the table and how it was made."""
    budgets = [f"{float(eps):g}" for eps in BUDGETS]
    head = [
        "normal digit",
        "clean",
        *(f"within {e}" for e in budgets),
        "twin: clean",
        *(f"within {e}" for e in budgets),
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(row.line() for row in [*rows, _mean(rows)])]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    took = f"{seconds / 60:.1f} minutes of processor time in one thread"
    lines += ["", f"Measured on {_processor()} with {cores} cores: {took}; torch {torch.__version__},"]
    lines += [f"Python {platform.python_version()}."]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


class _Quiet:
    """Says nothing while training."""

    def line(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show nothing."""
        yield lambda _: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print, and put a whole table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, nargs="*", choices=range(10), default=list(range(10)))
    parser.add_argument("--epochs", type=int, help="instead of those of digit.toml; nothing is put into the page")
    parser.add_argument(
        "--build", type=Path, default=FOLDER.parents[1] / "build" / "digits", help="where runs are kept"
    )
    given = parser.parse_args(arguments)
    draw(given.build)
    began = time.process_time()
    rows = [measure(given.build, digit, given.epochs) for digit in given.digits]
    table = written(rows, time.process_time() - began)
    print(table)
    if len(rows) < 10 or given.epochs is not None:
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
