"""Train the detector of these scenes and its unconstrained twin, attack both, and write the table and the pictures.

    python specs/detector/results.py             # draw, train from the tracked configurations, measure, rewrite
    python specs/detector/results.py --measure   # measure the shipped archives alone

Certified: robspec's own worst case on these scenes, with the constant proved from each archive, as on its model card.
Attacked: what projected gradient steps left inside the same ball, once to make objects vanish and once to fabricate
some; the detector's boxes move as they do. What is certified takes boxes to stay where they are, so that an attack
may go below it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from robspec.bounds.dataset import open_dataset_bound
from robspec.bounds.scene import clean, cut_of, kept, totals
from robspec.data.dataset import Batch, Dataset, open_dataset
from robspec.data.runway import crowded
from robspec.ir.types import Program, WorstCaseQuery
from robspec.lower import compile_text
from robspec.models.loading import LoadedModel, load
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify import seen
from robspec.verify.backend import choose
from robspec.verify.descent import descend

FOLDER = Path(__file__).resolve().parent
MODELS = ("lipschitz", "twin")
BUDGETS = ("0.05", "0.1", "0.2")
STEPS = 8
RESTING = 0.02
"""Logits beyond the threshold that an attack aims at."""
AIMED = 6
"""How many detections are fabricated at once."""
PICTURED, PICTURED_EPS = (0, 3, 6, 7), "0.2"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
TRAINED, SEED, SIDE, MOST = 1000, 1_000_000, 64, 6
SHOWN, SHOWN_SEED = 24, 1000
COLOURS = ("white", "cyan", "yellow")
SPEC = """language 1
model {
  input   image [3, 64, 64] in [0, 1]
  output  scores [3, 336], boxes [4, 336]
  classes runway, aeroplane, balloon
}
detector {
  threshold sigmoid 0.5
  nms greedy 0.6
  match overlap 0.5
  boxes frozen
}
data scenes {
  images "images/*.png"
  objects coco "objects.json"
}
"""
PROPERTY = """property p%d {
  metric %s
  norm l2
  budget 0.1
  require worst_case >= 0.01
}
"""
RECALL, PRECISION, COCO = "recall", "mean_average_precision(0.5)", "mean_average_precision(0.5 to 0.95)"


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one budget; recalls are means over the images with objects.

    Args:
        name: of the archive.
        eps: l2, of the change to one image.
        certified: recall and mAP@50.
        vanished: attacked to make objects vanish: recall and mAP@50.
        fabricated: attacked to fabricate: mAP@50, and wrong detections per image.
    """

    name: str
    eps: str
    certified: tuple[float, float]
    vanished: tuple[float, float]
    fabricated: tuple[float, float]

    def line(self) -> str:
        """Write the row of the table: what is certified is rounded down."""
        cells = [f"{math.floor(v * 1000) / 1000:.3f}" for v in self.certified]
        cells += [f"{v:.3f}" for v in (*self.vanished, self.fabricated[0])]
        return f"| {self.name} | {self.eps} | {' | '.join(cells)} | {self.fabricated[1]:.1f} |"


def program_of(metrics: Sequence[str]) -> Program:
    """Compile a specification of these scenes with metrics of all images."""
    program, diagnostics = compile_text(SPEC + "".join(PROPERTY % pair for pair in enumerate(metrics)))
    if program is None:
        raise SystemExit(str(diagnostics))
    return program


def attacked(program: Program, model: LoadedModel, data: Dataset, kind: str, eps: float) -> Tensor:
    """Search the l2 ball around each image.

    Args:
        program: compiled.
        model: scores and boxes.
        data: images with objects.
        kind: "vanishing": whatever fires is pulled below the threshold; "fabrication": the highest scores that do not
            fire are lifted above it.
        eps: the ball's radius; every image tried is clipped to [0, 1].

    Returns:
        Of each image the worst that was met, the clean one included: fewest objects found, or most wrong detections
        less right ones.
    """
    detector = program.model.detector
    if detector is None:
        raise SystemExit("the specification has no detector")
    cut, worst = cut_of(detector), []
    for batch in data.batches(8):
        scores = model.logits(batch.images)
        fires = scores >= cut
        if kind == "vanishing":
            ways = -fires.to(scores.dtype)
        else:
            resting = scores.masked_fill(fires, -torch.inf).flatten(1)
            chosen = torch.zeros_like(resting).scatter_(1, resting.topk(AIMED, dim=1).indices, 1.0)
            ways = chosen.reshape(scores.shape)
        best, harms = batch.images.clone(), _harm(program, model, batch, batch.images, kind)
        for share in (1.0, 0.5):
            aims = ways if share == 1.0 else _nearest(ways, scores - cut, share)

            def loss(logits: Tensor, aims: Tensor = aims) -> Tensor:
                return torch.relu(RESTING - aims * (logits - cut))[aims != 0].sum()

            tried = descend(model, batch.images, loss, eps=eps, norm=L2, steps=STEPS, ends=(0.0, 1.0))
            for i, harm in enumerate(_harm(program, model, batch, tried, kind)):
                if harm > harms[i]:
                    best[i], harms[i] = tried[i], harm
        worst.append(best)
    return torch.cat(worst)


def _nearest(ways: Tensor, gaps: Tensor, share: float) -> Tensor:
    """Aim at a share of the scores of each image, those nearest the threshold."""
    found = torch.zeros_like(ways)
    for i in range(len(ways)):
        places = torch.nonzero(ways[i].flatten())[:, 0]
        order = places[gaps[i].flatten()[places].abs().argsort()]
        chosen = order[: max(1, math.ceil(share * len(order)))] if len(order) else order
        found[i].view(-1)[chosen] = ways[i].flatten()[chosen]
    return found


def _harm(program: Program, model: LoadedModel, batch: Batch, images: Tensor, kind: str) -> list[tuple[int, int]]:
    found = []
    for tp, fp, _ in counts(program, model, batch, images):
        found.append((-tp, fp) if kind == "vanishing" else (fp - tp, fp))
    return found


def counts(program: Program, model: LoadedModel, batch: Batch, images: Tensor) -> list[tuple[int, int, int]]:
    """TP, FP and FN of other images in place of a batch's."""
    context = seen.context(program, choose("auto"), model, model.logits(images), replace(batch, images=images))
    detector, scenes = context.detections()
    return [totals(clean(scene, detector, range(len(program.model.classes)))) for scene in scenes]


def precisions(program: Program, model: LoadedModel, data: Dataset, images: Tensor) -> list[float]:
    """The metrics of a program on other images in place of the data set's."""
    nothing = Constant(Fraction(0), L2, L2, ConstantStatus.ASSUMED, "no attack is bounded")
    metrics = [prop.query.metric for prop in program.properties if isinstance(prop.query, WorstCaseQuery)]
    bounds = [open_dataset_bound(metric, program.model.plane, nothing) for metric in metrics]
    for batch, part in _parts(data, images):
        context = seen.context(program, choose("auto"), model, model.logits(part), replace(batch, images=part))
        for bound in bounds:
            bound.add(context)
    return [float(bound.clean() or 0) for bound in bounds]


def counted(program: Program, model: LoadedModel, data: Dataset, images: Tensor) -> tuple[float, float]:
    """Mean recall over images with objects, and wrong detections per image."""
    found = [one for batch, part in _parts(data, images) for one in counts(program, model, batch, part)]
    recalls = [tp / (tp + fn) for tp, _, fn in found if tp + fn]
    return sum(recalls) / len(recalls), sum(fp for _, fp, _ in found) / len(found)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one archive comes to.

    Args:
        rows: one per budget.
        clean: recall, mAP@50 and mAP@[50:95] of clean images, and wrong detections per image.
        lipschitz: the proved constant of the scores.
        pictures: clean and attacked images, [n, C, H, W] each.
    """

    rows: tuple[Row, ...]
    clean: tuple[float, float, float, float]
    lipschitz: float
    pictures: tuple[Tensor, Tensor]


def measure(name: str, data: Dataset, certified: Callable[[str, str], float]) -> Measured:
    """Attack one shipped archive.

    Args:
        name: of the archive.
        data: the scenes.
        certified: of a metric within a budget.
    """
    program, both = program_of([PRECISION]), program_of([PRECISION, COCO])
    model = load(FOLDER / f"{name}.pt2", detector=program.model.detector, boxes=True)
    images = torch.cat([batch.images for batch in data.batches(8)])
    precise, coco = precisions(both, model, data, images)
    recall, wrong = counted(program, model, data, images)
    rows, shown = [], images
    for eps in BUDGETS:
        gone = attacked(program, model, data, "vanishing", float(eps))
        made = attacked(program, model, data, "fabrication", float(eps))
        vanished = counted(program, model, data, gone)[0], precisions(program, model, data, gone)[0]
        fabricated = precisions(program, model, data, made)[0], counted(program, model, data, made)[1]
        pair = certified(RECALL, eps), certified(PRECISION, eps)
        rows.append(Row(name, eps, pair, vanished, fabricated))
        print(rows[-1].line(), flush=True)
        shown = gone if eps == PICTURED_EPS else shown
    chosen, clean_values = list(PICTURED), (recall, precise, coco, wrong)
    return Measured(tuple(rows), clean_values, certified("", ""), (images[chosen], shown[chosen]))


def from_card(name: str) -> Callable[[str, str], float]:
    """Look up what an archive's card says is certified of a metric, or its proved constant."""
    card = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))

    def certified(metric: str, eps: str) -> float:
        return float(card["metrics"][metric]["certified"][eps] if metric else card["lipschitz"]["bound"])

    return certified


def _parts(data: Dataset, images: Tensor) -> Iterator[tuple[Batch, Tensor]]:
    start = 0
    for batch in data.batches(8):
        yield batch, images[start : start + len(batch.names)]
        start += len(batch.names)


def picture(name: str, images: Tensor) -> Image.Image:
    """Draw detections on images, side by side, four times as large."""
    program = program_of([PRECISION])
    model = load(FOLDER / f"{name}.pt2", detector=program.model.detector, boxes=True)
    batch = Batch(tuple(map(str, range(len(images)))), images, None)
    context = seen.context(program, choose("auto"), model, model.logits(images), batch)
    detector, scenes = context.detections()
    tiles = []
    for image, scene in zip(images, scenes, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        tile = Image.fromarray(pixels).resize((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST)
        pen = ImageDraw.Draw(tile)
        for k, found in kept(scene, detector, range(len(COLOURS))).items():
            for box in found.boxes:
                pen.rectangle([float(4 * v) for v in box], outline=COLOURS[k], width=2)
        tiles.append(np.asarray(tile))
    return Image.fromarray(np.concatenate(tiles, axis=1))


def train_all(build: Path) -> None:
    """Draw scenes, train both models and put archives and cards beside this file.

    Args:
        build: where scenes and runs are kept; a run that was stopped goes on.
    """
    from robspec.train.config import read_config
    from robspec.train.run import train
    from robspec.train.task import Printed

    for folder, count, seed in ((build / "train", TRAINED, SEED), (build / "val", SHOWN, SHOWN_SEED)):
        if not (folder / "objects.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            crowded.write(folder, count, seed, SIDE, MOST)
    shutil.copytree(build / "val" / "images", FOLDER / "images", dirs_exist_ok=True)
    shutil.copyfile(build / "val" / "objects.json", FOLDER / "objects.json")
    for name in MODELS:
        shutil.copyfile(FOLDER / f"{name}.toml", build / f"{name}.toml")
        done = train(read_config(build / f"{name}.toml"), build / name, None, Printed())
        shutil.copyfile(done.folder / "model.pt2", FOLDER / f"{name}.pt2")
        shutil.copyfile(done.folder / "card.json", FOLDER / f"{name}.json")


def written(found: dict[str, Measured]) -> str:
    """Write both tables."""
    lines = ["| model | proved L of scores | recall | mAP@50 | mAP@[50:95] | wrong per image |", "|---" * 6 + "|"]
    for name, one in found.items():
        bound = f"{one.lipschitz:.6f}" if one.lipschitz < 100 else f"{one.lipschitz:.2e}"
        lines.append(f"| {name} | {bound} | {' | '.join(f'{v:.3f}' for v in one.clean)} |")
    head = "| model | eps | certified recall | certified mAP@50 | vanishing: recall | mAP@50 "
    head += "| fabrication: mAP@50 | wrong per image |"
    lines += ["", head, "|---" * 8 + "|", *(row.line() for one in found.values() for row in one.rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line; train unless told otherwise; measure, print, and put tables and pictures in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="leave the archives as they are")
    parser.add_argument(
        "--build", type=Path, default=FOLDER.parents[1] / "build" / "detector", help="where scenes and runs are kept"
    )
    given = parser.parse_args()
    if not given.measure:
        train_all(given.build)
    program = program_of([PRECISION])
    data = open_dataset(program.data, program.model, FOLDER)
    place({name: measure(name, data, from_card(name)) for name in MODELS})


def place(found: dict[str, Measured]) -> None:
    """Print the tables, and put them and the pictures where they belong."""
    strips = [picture(name, part) for name, one in found.items() for part in one.pictures]
    Image.fromarray(np.concatenate([np.asarray(s) for s in strips])).quantize(128).save(FOLDER / "attacked.png")
    table = written(found)
    print(table)
    page = FOLDER / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
