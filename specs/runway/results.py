"""Train the three models of the table and measure them: clean, certified and attacked IoU of the runway.

    python specs/runway/results.py             # train from the tracked configurations, measure, rewrite the table
    python specs/runway/results.py --measure   # measure the shipped archives alone

Certified: robspec's own worst case, with the constant it proves from each archive. Attacked: the worst that projected
gradient steps found inside the same ball. The truth lies between the two.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from robspec.data.dataset import Dataset, open_dataset
from robspec.lower import compile_text
from robspec.models.loading import LoadedModel, load
from robspec.verify.backend import choose
from robspec.verify.constant import establish
from robspec.verify.run import check

FOLDER = Path(__file__).resolve().parent
MODELS = ("standard", "slight", "strong")
TITLES = {"standard": "standard (unconstrained twin)", "slight": "slightly robust", "strong": "strongly robust"}
BUDGETS = ("0.25", "0.5", "1")
STEPS = 20
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
SPEC = """language 1
model {
  input   image [3, 64, 64] in [0, 1]
  output  logits [2, 64, 64]
  classes background, runway
}
data scenes {
  images "images/*.png"
  masks  "masks/*.png"
}
"""
PROPERTY = """property within_%s {
  metric  %s
  norm    l2
  budget  %s
  require mean(worst_case) >= 0.01
}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One model's figures, each a mean over the shipped scenes.

    Args:
        name: of the archive.
        lipschitz: the proved constant, rounded up.
        clean: IoU of the runway without attack.
        certified: by budget, a lower bound of the worst case, rounded down.
        attacked: by budget, what the attack left.
    """

    name: str
    lipschitz: float
    clean: float
    certified: tuple[float, ...]
    attacked: tuple[float, ...]

    def line(self) -> str:
        """Write the row of the table."""
        cells = [f"{c:.3f} / {a:.3f}" for c, a in zip(self.certified, self.attacked, strict=True)]
        return (
            f"| {TITLES[self.name]} | {_rounded_up(self.lipschitz)} | {self.clean:.3f} | " + " | ".join(cells) + " |"
        )


def measure(name: str) -> Row:
    """Prove, certify and attack one shipped archive.

    Args:
        name: of the archive, without suffix.

    Returns:
        Its row.
    """
    text = SPEC + "".join(PROPERTY % (eps.replace(".", "_"), "iou[runway]", eps) for eps in BUDGETS)
    program, diagnostics = compile_text(text)
    if program is None:
        raise SystemExit(str(diagnostics))
    model = load(FOLDER / f"{name}.pt2")
    data = open_dataset(program.data, program.model, FOLDER)
    established = establish(program, model.program, assume=None)
    report = check(program, model, data, choose("auto"), established)
    clean = [float(i.clean or 0) for i in report.properties[0].images]
    certified, attacked = [], []
    for result, eps in zip(report.properties, BUDGETS, strict=True):
        bounds = [float(Fraction(i.certified[0] or 0)) for i in result.images]
        found = attack(model, data, float(eps))
        wrong = [k for k, (bound, value) in enumerate(zip(bounds, found, strict=True)) if value < bound - 1e-9]
        if wrong:
            raise SystemExit(f"{name}: an attack went below a certified bound on images {wrong}: do not trust either")
        certified.append(_mean(bounds))
        attacked.append(_mean(found))
    bound = float(established.constants[0].value)
    return Row(name, bound, _mean(clean), tuple(certified), tuple(attacked))


def attack(model: LoadedModel, data: Dataset, eps: float) -> list[float]:
    """Search the l2 ball for images on which the runway is found worst.

    Args:
        model: the archive.
        data: images with masks.
        eps: the ball's radius; every image tried is clipped to [0, 1] and within it.

    Returns:
        The least IoU met on each image, the clean one included.
    """
    batch = next(iter(data.batches(len(data))))
    images, labels = batch.images, batch.labels
    if labels is None:
        raise SystemExit("the scenes have no masks")
    network: Callable[[Tensor], Tensor] = model.differentiable
    clean = model.logits(images)
    least = _iou(clean, labels)
    scale = _margins(clean, labels).abs().flatten(1).median(dim=1).values[:, None, None]
    generator = torch.Generator().manual_seed(0)
    for start in ("image", "random"):
        change = torch.zeros_like(images)
        if start == "random":
            change = _inside(torch.randn(images.shape, generator=generator), eps)
        for k in range(STEPS):
            tried = (images + change).clamp(0, 1).requires_grad_()
            margins = _margins(network(tried), labels)
            least = torch.minimum(least, _iou(margins.detach(), labels, signed=True))
            # Each pixel counts until it is wrong by about the typical margin, so that no step is wasted on it.
            (slope,) = torch.autograd.grad(torch.tanh(margins / scale).sum(), tried)
            size = slope.flatten(1).norm(dim=1).clamp_min(1e-20)[:, None, None, None]
            step = 2.5 * eps / STEPS * (2 if k < STEPS // 2 else 0.5)
            change = _inside((images + change - step * slope / size).clamp(0, 1) - images, eps)
        least = torch.minimum(least, _iou(model.logits((images + change).clamp(0, 1)), labels))
    return [float(v) for v in least]


def _inside(change: Tensor, eps: float) -> Tensor:
    """Shrink what lies outside the ball, with room for rounding."""
    size = change.double().flatten(1).norm(dim=1)[:, None, None, None]
    return (change * (eps * (1 - 1e-6) / size.clamp_min(1e-20)).clamp_max(1)).float()


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    difference = logits[:, 1] - logits[:, 0]
    return torch.where(labels == 1, difference, -difference)


def _iou(found: Tensor, labels: Tensor, *, signed: bool = False) -> Tensor:
    """IoU of the runway per image, from logits, or from margins that are positive where the pixel is right."""
    there = labels == 1
    seen = torch.where(there, found > 0, found < 0) if signed else found[:, 1] > found[:, 0]
    both = (seen & there).flatten(1).sum(dim=1).double()
    return both / (seen | there).flatten(1).sum(dim=1).clamp_min(1)


def _rounded_up(value: float) -> str:
    """Write a constant so that it is never shown smaller than it is."""
    if value < 1000:
        return f"{math.ceil(value * 10**6) / 10**6:.6f}"
    digits = 10 ** (math.floor(math.log10(value)) - 3)
    return f"{math.ceil(value / digits) * digits:.3e}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def train_all(build: Path) -> None:
    """Train every model of the table and put its archive and card beside this file.

    Args:
        build: where the runs are kept; a run that was stopped goes on.
    """
    sys.path.insert(0, str(FOLDER))
    from generate import scene

    from robspec.train.config import read_config
    from robspec.train.run import train
    from robspec.train.task import Printed

    for name in MODELS:
        done = train(read_config(FOLDER / f"{name}.toml"), build / name, scene, Printed())
        shutil.copyfile(done.folder / "model.pt2", FOLDER / f"{name}.pt2")
        shutil.copyfile(done.folder / "card.json", FOLDER / f"{name}.json")


def written(rows: list[Row]) -> str:
    """Write the table."""
    head = " | ".join(f"within {eps}" for eps in BUDGETS)
    rule = "|---" * (3 + len(BUDGETS)) + "|"
    return "\n".join([f"| model | proved L | clean | {head} |", rule, *(row.line() for row in rows)]) + "\n"


def main() -> None:
    """Read the command line; train unless told otherwise; measure, print, and put the table into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="leave the archives as they are")
    parser.add_argument(
        "--build", type=Path, default=FOLDER.parents[1] / "build" / "runway", help="where runs are kept"
    )
    given = parser.parse_args()
    if not given.measure:
        train_all(given.build)
    table = written([measure(name) for name in MODELS])
    print(table)
    page = FOLDER / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
