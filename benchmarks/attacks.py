"""What attacks find beside what is certified: a linear map whose worst case is known, the runway scenes, Kvasir.

    python -m benchmarks.attacks linear
    python -m benchmarks.attacks runway [--steps 20]
    python -m benchmarks.attacks kvasir FOLDER [--steps 3]

FOLDER holds `images`, `masks` and an archive for 256 x 256 pixels; it is read, and nothing of it is kept.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from robspec.api import check
from robspec.semantics.norm import L1, L2, LINF, Norm
from robspec.verify import attacks
from robspec.verify.attacks._hunt import Hunt, shortened
from robspec.verify.balls import sizes
from robspec.verify.result import PropertyResult

RUNWAY = Path(__file__).resolve().parents[1] / "specs" / "runway"
HEAD = """language 1
model {{
  input   image [3, {side}, {side}] in [0, 1]
  output  logits [2, {side}, {side}]
  classes background, {name}
}}
data scenes {{
  images "images/*.png"
  masks  "masks/*.png"
}}
"""
PROPERTY = """property {name} {{
  metric  {metric}
  norm    l2
  budget  {budget}
  require mean(worst_case) >= 0.0001
}}
"""
CLEAN = torch.linspace(0.2, 0.9, 16).reshape(1, 1, 4, 4)
LOST = 6
"""Pixels that an attack is to make wrong, the cheapest ones."""


class Pixels:
    """Logits 0 and x at each pixel x."""

    def logits(self, images: Tensor) -> Tensor:
        """Run it."""
        return torch.cat([torch.zeros_like(images), images], 1)

    def differentiable(self, images: Tensor) -> Tensor:
        """Run it."""
        return self.logits(images)


@dataclass(frozen=True)
class Positive:
    """The share of pixels above 0, minus a threshold."""

    threshold: float

    def margins(self, logits: Tensor) -> Tensor:
        """See `robspec.verify.goals.Goal`."""
        return logits[:, 1].flatten(1)

    def value(self, logits: Tensor) -> Tensor:
        """See `robspec.verify.goals.Goal`."""
        return (self.margins(logits) > 0).double().mean(1) - self.threshold

    def soft(self, logits: Tensor, scale: Tensor, chosen: Tensor) -> Tensor:
        """See `robspec.verify.goals.Goal`."""
        right = torch.sigmoid(self.margins(logits).double() / scale[:, None])
        return (right * chosen).mean(1) - self.threshold

    def rows(self, places: Tensor) -> Positive:
        """See `robspec.verify.goals.Goal`."""
        return self


def linear(console: Console) -> None:
    """Compare every method with the truth on a map whose pixels are independent, and the default on a larger one."""
    table = Table("norm", "method", "radius / true, 40 gradients", "160", "400", f"lost of {LOST} in a ball, 200")
    for norm in (L1, L2, LINF):
        wrong = torch.zeros_like(CLEAN)
        wrong.view(-1)[:LOST] = CLEAN.view(-1)[:LOST]
        true = float(sizes(wrong, norm))
        for name in attacks.names():
            method = attacks.load(name)
            search = method.search if method.smallest else attacks.load("bisection").search
            ratios = []
            for steps in (40, 160, 400):
                hunt = _hunt(norm, float("inf"), steps)
                found = shortened(hunt, search(hunt))
                met = bool(((found <= 0).sum() >= LOST).item())
                ratios.append(f"{float(sizes(found - CLEAN, norm)) / true:.4f}" if met else "-")
            lost = int((method.search(_hunt(norm, 1.01 * true, 200)) <= 0).sum())
            table.add_row(str(norm), name, *ratios, str(lost))
    console.print(table)
    table = Table("norm", "bisection on 192 pixels, lost", "radius / true, 40 gradients", "160", "400")
    clean = 0.2 + 0.7 * torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    for norm in (L1, L2, LINF):
        for lost in (12, 40, 96):
            ratios = []
            for steps in (40, 160, 400):
                hunt = _hunt(norm, float("inf"), steps, clean, lost)
                found = shortened(hunt, attacks.load("bisection").search(hunt))
                wrong = clean.flatten().sort().values[:lost].reshape(1, 1, 1, -1)
                ratio = float(sizes(found - clean, norm) / sizes(wrong, norm))
                ratios.append(f"{ratio:.4f}" if bool(((found <= 0).sum() >= lost).item()) else "-")
            table.add_row(str(norm), str(lost), *ratios)
    console.print(table)


def _hunt(norm: Norm, eps: float, steps: int, clean: Tensor = CLEAN, lost: int = LOST) -> Hunt:
    aim, radius = (torch.tensor([v], dtype=torch.float64) for v in (lost, eps))
    goal, start = Positive(1 - lost / clean.numel()), torch.zeros_like(clean)
    return Hunt(Pixels(), clean, start, goal, aim, norm, radius, steps, (-1.0, 1.0), lambda: False)


def runway(console: Console, steps: int) -> None:
    """Vanishing: runways that are no longer seen, at eps 1."""
    metrics = {"recall": "recall[runway]", "seen": "object_recall(0.5)[runway]"}
    blocks = "".join(PROPERTY.format(name=n, metric=m, budget="1") for n, m in metrics.items())
    table = Table("model", "metric", "clean", "certified", "attacked", "seconds")
    for model in ("standard", "slight", "strong"):
        spec = HEAD.format(side=64, name="runway") + blocks
        found, spent = _checked(RUNWAY / f"{model}.pt2", spec, RUNWAY, steps)
        for prop in found:
            clean, certified, attacked = _means(prop)
            name = escape(metrics[prop.source.name])
            table.add_row(model, name, f"{clean:.4f}", f"{certified:.4f}", f"{attacked:.4f}", f"{spent:.0f}")
    console.print(table)


def kvasir(console: Console, folder: Path, steps: int, count: int = 16) -> None:
    """Accuracy and IoU of the polyp at three budgets, on the first images."""
    with tempfile.TemporaryDirectory() as scratch:
        for part in ("images", "masks"):
            (Path(scratch) / part).mkdir()
        for image in sorted((folder / "images").glob("*.png"))[:count]:
            for part in ("images", "masks"):
                shutil.copy(folder / part / image.name, Path(scratch) / part)
        console.print("metric, eps: clean, certified, attacked")
        # Each on its own line as soon as it is known: one takes minutes.
        for metric in ("pixel_accuracy", "iou[polyp]"):
            for eps in ("0.1", "0.5", "1"):
                spec = HEAD.format(side=256, name="polyp") + PROPERTY.format(name="p", metric=metric, budget=eps)
                (prop,), spent = _checked(folder / "lipnet_deeplabv3_s_raw.pt2", spec, Path(scratch), steps)
                row = ", ".join(f"{v:.4f}" for v in _means(prop))
                console.print(f"{escape(metric)}, {eps}: {row} ({spent:.0f} s)")


def _checked(model: Path, spec: str, data: Path, steps: int) -> tuple[tuple[PropertyResult, ...], float]:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "asked.rspec"
        path.write_text(spec, encoding="utf-8")
        report = check(model, path, data=data, attack=steps, attack_all=True, witness_dir=Path(scratch) / "finds")
        return report.properties, time.perf_counter() - began


def _means(prop: PropertyResult) -> tuple[float, float, float]:
    rows = [(i.clean, i.certified[0], i.attained[0]) for i in prop.images]
    known = [tuple(Fraction(v) for v in row if v is not None) for row in rows if None not in row]
    return tuple(float(sum(column) / len(column)) for column in zip(*known, strict=True))  # type: ignore[return-value]


def main() -> None:
    """Run one comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["linear", "runway", "kvasir"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    if given.what == "linear":
        linear(console)
    elif given.what == "runway":
        runway(console, given.steps or 20)
    elif given.folder is None:
        parser.error("kvasir needs a folder")
    else:
        kvasir(console, given.folder, given.steps or 3)


if __name__ == "__main__":
    main()
