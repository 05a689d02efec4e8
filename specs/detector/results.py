"""Train the detector of these scenes and its unconstrained twin, attack both, and write the table and the pictures.

    python specs/detector/results.py             # draw, train from the tracked configurations, measure, rewrite
    python specs/detector/results.py --measure   # measure the shipped archives alone

Certified: robspec's own worst case, with the constant it proves from each archive. Attacked: what projected gradient
steps left inside the same ball, once to make objects vanish and once to fabricate some; the detector's boxes move as
they do. Where matches are by overlap, what is certified takes boxes to stay where they are, so that an attack may go
below it; by location nothing is taken for granted.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from robspec.models.loading import LoadedModel
from robspec.semantics.norm import L2
from robspec.train.detection import opened
from robspec.verify import seen
from robspec.verify.backend import choose
from robspec.verify.constant import Established
from robspec.verify.descent import descend
from robspec.verify.run import check

FOLDER = Path(__file__).resolve().parent
MODELS = ("lipschitz", "twin")
BUDGETS = ("0.05", "0.1", "0.2")
STEPS = 10
RESTING = 0.02
"""Logits beyond the threshold that an attack aims at."""
AIMED = 6
"""How many detections are fabricated at once."""
PICTURED, PICTURED_EPS = (0, 3, 6, 7), "0.2"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
TRAINED, SEED, SIDE, MOST = 1000, 1_000_000, 64, 6
SHOWN, SHOWN_SEED = 24, 1000
COLOURS = ("white", "cyan", "yellow")
OVERLAP = "nms greedy 0.6\n  match overlap 0.5\n  boxes frozen"
LOCATION = "nms none\n  match location\n  strides 4, 8, 16"
SPEC = """language 1
model {
  input   image [3, 64, 64] in [0, 1]
  output  scores [3, 336], boxes [4, 336]
  classes runway, aeroplane, balloon
}
detector {
  threshold sigmoid 0.5
  %s
}
data scenes {
  images "images/*.png"
  objects coco "objects.json"
}
"""
PROPERTY = """property %s_%d {
  metric %s
  norm l2
  budget %s
  require worst_case >= 0.01
}
"""
RECALL, PRECISION = "pooled recall", "mean_average_precision(0.5)"


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one budget; shares of all objects, and mean average precisions.

    Args:
        name: of the archive.
        eps: l2, of the change to one image.
        located: certified recall, by location.
        found: certified recall, by overlap.
        precise: certified mAP@50.
        vanished: attacked to make objects vanish: recall and mAP@50.
        fabricated: attacked to fabricate: mAP@50, and wrong detections per image.
    """

    name: str
    eps: str
    located: float
    found: float
    precise: float
    vanished: tuple[float, float]
    fabricated: tuple[float, float]

    def line(self) -> str:
        """Write the row of the table: what is certified is rounded down."""
        certified = " | ".join(f"{math.floor(v * 1000) / 1000:.3f}" for v in (self.located, self.found, self.precise))
        attacked = " | ".join(f"{v:.3f}" for v in (*self.vanished, self.fabricated[0]))
        return f"| {self.name} | {self.eps} | {certified} | {attacked} | {self.fabricated[1]:.1f} |"


def program_of(match: str, metrics: Sequence[str]) -> Program:
    """Compile the specification of a way of matching, one property per metric over all budgets."""
    text = SPEC % match
    for n, metric in enumerate(metrics):
        text += "".join(PROPERTY % (f"p{n}", k, metric, eps) for k, eps in enumerate(("0", *BUDGETS)))
    program, diagnostics = compile_text(text)
    if program is None:
        raise SystemExit(str(diagnostics))
    return program


def certified(program: Program, model: LoadedModel, established: Established, data: Dataset) -> list[list[float]]:
    """Values of each metric, at 0 and at each budget."""
    report = check(program, model, data, choose("auto"), established)
    values = [float(Fraction(result.images[0].certified[0] or 0)) for result in report.properties]
    size = 1 + len(BUDGETS)
    return [values[k : k + size] for k in range(0, len(values), size)]


def attacked(program: Program, model: LoadedModel, data: Dataset, kind: str, eps: float) -> Tensor:
    """Search the l2 ball around each image.

    Args:
        program: by overlap.
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


def attained(
    program: Program, established: Established, model: LoadedModel, data: Dataset, images: Tensor
) -> list[float]:
    """The first property of each metric on other images in place of the data set's."""
    size, start, bounds = 1 + len(BUDGETS), 0, []
    constant = established.constants[0]
    for prop in program.properties[::size]:
        if not isinstance(prop.query, WorstCaseQuery):
            raise SystemExit("only worst cases are measured")
        bounds.append(open_dataset_bound(prop.query.metric, program.model.plane, constant))
    for batch in data.batches(8):
        given = images[start : start + len(batch.names)]
        start += len(batch.names)
        context = seen.context(program, choose("auto"), model, model.logits(given), replace(batch, images=given))
        for bound in bounds:
            bound.add(context)
    return [float(bound.clean() or 0) for bound in bounds]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one archive comes to.

    Args:
        rows: one per budget.
        clean: recall by overlap, mAP@50 and mAP@[50:95] of clean images.
        lipschitz: the proved constants of scores and of boxes.
        pictures: clean and attacked images, [n, C, H, W] each.
    """

    rows: tuple[Row, ...]
    clean: tuple[float, float, float]
    lipschitz: tuple[float, float]
    pictures: tuple[Tensor, Tensor]


def measure(name: str, data: Dataset) -> Measured:
    """Prove, certify and attack one shipped archive."""
    path = FOLDER / f"{name}.pt2"
    overlap, location = program_of(OVERLAP, [RECALL, PRECISION]), program_of(LOCATION, [RECALL])
    model, established = opened(path, overlap)
    placed, fixed = opened(path, location)
    located = certified(location, placed, fixed, data)[0]
    recall, precise = certified(overlap, model, established, data)
    whole = program_of(OVERLAP, ["mean_average_precision(0.5 to 0.95)"])
    images = torch.cat([batch.images for batch in data.batches(8)])
    coco = attained(whole, established, model, data, images)[0]
    first = attained(overlap, established, model, data, images)
    rows, shown = [], images
    for k, eps in enumerate(BUDGETS, start=1):
        gone = attacked(overlap, model, data, "vanishing", float(eps))
        made = attacked(overlap, model, data, "fabrication", float(eps))
        vanished = attained(overlap, established, model, data, gone)
        _, fabricated = attained(overlap, established, model, data, made)
        wrong = [fp for batch, part in _parts(data, made) for _, fp, _ in counts(overlap, model, batch, part)]
        pair = (fabricated, sum(wrong) / len(wrong))
        rows.append(Row(name, eps, located[k], recall[k], precise[k], (vanished[0], vanished[1]), pair))
        print(rows[-1].line(), flush=True)
        if eps == PICTURED_EPS:
            shown = gone
    proved = program_of(OVERLAP.replace("frozen", "proved"), [RECALL])
    boxes = opened(path, proved)[1].constants[0].boxes
    bounds = (float(established.constants[0].value), float(boxes or 0))
    chosen = list(PICTURED)
    return Measured(tuple(rows), (first[0], first[1], coco), bounds, (images[chosen], shown[chosen]))


def _parts(data: Dataset, images: Tensor) -> Iterator[tuple[Batch, Tensor]]:
    start = 0
    for batch in data.batches(8):
        yield batch, images[start : start + len(batch.names)]
        start += len(batch.names)


def picture(name: str, images: Tensor) -> Image.Image:
    """Draw detections on images, side by side, four times as large."""
    program = program_of(OVERLAP, [RECALL])
    model, _ = opened(FOLDER / f"{name}.pt2", program)
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


class _Console:
    """Prints lines; bars are left to `robspec train`."""

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Say what begins."""
        if total:
            print(f"{title}: {total}", flush=True)
        yield lambda _: None


def train_all(build: Path) -> None:
    """Draw scenes, train both models and put archives and cards beside this file.

    Args:
        build: where scenes and runs are kept; a run that was stopped goes on.
    """
    from robspec.train.config import read_config
    from robspec.train.run import train

    for folder, count, seed in ((build / "train", TRAINED, SEED), (build / "val", SHOWN, SHOWN_SEED)):
        if not (folder / "objects.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            crowded.write(folder, count, seed, SIDE, MOST)
    shutil.copytree(build / "val" / "images", FOLDER / "images", dirs_exist_ok=True)
    shutil.copyfile(build / "val" / "objects.json", FOLDER / "objects.json")
    for name in MODELS:
        shutil.copyfile(FOLDER / f"{name}.toml", build / f"{name}.toml")
        done = train(read_config(build / f"{name}.toml"), build / name, None, _Console())
        shutil.copyfile(done.folder / "model.pt2", FOLDER / f"{name}.pt2")
        shutil.copyfile(done.folder / "card.json", FOLDER / f"{name}.json")


def written(found: dict[str, Measured]) -> str:
    """Write both tables."""
    lines = [
        "| model | proved L of scores | of boxes, pixels | recall | mAP@50 | mAP@[50:95] |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        scores, boxes = (f"{v:.6f}" if v < 100 else f"{v:.2e}" for v in one.lipschitz)
        clean = " | ".join(f"{v:.3f}" for v in one.clean)
        lines.append(f"| {name} | {scores} | {boxes} | {clean} |")
    head = "| model | eps | certified recall, by location | by overlap | certified mAP@50 "
    head += "| vanishing: recall | mAP@50 | fabrication: mAP@50 | wrong per image |"
    lines += ["", head, "|---" * 9 + "|", *(row.line() for one in found.values() for row in one.rows)]
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
    data = open_dataset(program_of(OVERLAP, [RECALL]).data, program_of(OVERLAP, [RECALL]).model, FOLDER)
    found = {name: measure(name, data) for name in MODELS}
    strips = [picture(name, part) for name, one in found.items() for part in one.pictures]
    Image.fromarray(np.concatenate([np.asarray(s) for s in strips])).quantize(128).save(FOLDER / "attacked.png")
    table = written(found)
    print(table)
    page = FOLDER / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
