"""One image of 10,000 locations and 80 classes: recall, precision, mislabelled objects, average precision.

Every class of a smaller image is first compared with the reference, in plain Python: equal integers, or no figure.
Then a small network on random images of 640 x 640: what a certificate of recall and false positives adds to a forward
pass and the suppression that anybody runs after it.

    python -m benchmarks.detection --images 100
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.bounds.scene import Scene, threshold_of
from robspec.bounds.scene import kept as suppressed
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import Objects, Pipeline, Reach, cpu, reference
from robspec.kernels.knapsack import backends
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2

CLASSES, LEVELS = 80, ((80, 8), (50, 16), (33, 32))
DETECTOR = Detector("sigmoid", Fraction(3, 10), Fraction(3, 5), "overlap", Fraction(1, 2), 1, "frozen")
EPS = Fraction(1, 4)
ONE = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)


def image(levels: tuple[tuple[int, int], ...], count: int, seed: int) -> Scene:
    """Objects of all sizes, each with a cluster of locations that fire; background scores around -5."""
    rng = np.random.default_rng(seed)
    centres = []
    for side, stride in levels:
        y, x = np.mgrid[:side, :side]
        centres.append(np.stack([x.ravel() * stride, y.ravel() * stride, np.full(x.size, stride)], 1))
    places = np.concatenate(centres).astype(np.float64)
    size = places[:, 2:] * rng.uniform(2, 6, (len(places), 2))
    found = np.concatenate([places[:, :2] - size / 2, places[:, :2] + size / 2], 1)
    scores = rng.normal(-5, 1, (CLASSES, len(places)))
    chosen = rng.choice(len(places), count, replace=False)
    objects, classes = found[chosen], rng.integers(0, CLASSES, count)
    for box, k in zip(objects, classes, strict=True):
        middle = (box[:2] + box[2:]) / 2
        near = np.argsort(np.abs(places[:, :2] - middle).max(1))[:12]
        found[near] = box + rng.normal(0, 0.05, (len(near), 4)) * (box[2] - box[0])
        scores[k, near] = rng.normal(1.5, 1, len(near))
    none = np.zeros(count, dtype=np.bool_)
    single = scores.astype(np.float32).astype(np.float64)
    return Scene(single, found.astype(np.float32).astype(np.float64), None, Objects(objects, classes, none, none))


def checked() -> None:
    """Compare arrays and reference on every class of a small image."""
    for rho in (Fraction(0), Fraction(1, 8)):
        scene = image(((8, 8), (4, 16)), 6, 1)
        line = Pipeline(threshold_of(DETECTOR), DETECTOR.nms, DETECTOR.overlap or Fraction(1, 2))
        reach = Reach.of(EPS * 4, Fraction(1), Fraction(2), scene.scores.size, rho)
        for k in range(CLASSES):
            given = (scene.scores[k], scene.boxes, scene.objects, k, line, reach)
            if cpu.read(*given) != reference.read(*given):  # type: ignore[arg-type]
                raise SystemExit(f"class {k}: arrays and reference differ")


def metric(name: str) -> Metric:
    """A metric of all classes, as the compiler hands it over."""
    from robspec.lower import compile_text

    text = f"""language 1
model {{
  input   image [3, 640, 640] in [0, 1]
  output  scores [{CLASSES}, 9], boxes [4, 9]
  classes {", ".join(f"c{k}" for k in range(CLASSES))}
}}
detector {{
  threshold sigmoid 0.3
  nms       greedy 0.6
  match     overlap 0.5
  boxes     frozen
}}
data d {{
  images "i/*.png"
  objects coco "a.json"
}}
property p {{
  metric {name}
  norm l2
  budget 1
  require %s
}}
"""
    for require in ("worst_case >= 0", "mean(worst_case) >= 0", "mean(worst_case) <= 1"):
        program, _ = compile_text(text % require)
        if program is not None:
            return program.properties[0].query.metric  # type: ignore[union-attr]
    raise SystemExit(f"{name} does not compile")


class Backbone(torch.nn.Module):
    """A plain detector: five strided stages of two convolutions, scores and boxes at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128, 128)
        self.stages = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Conv2d(a, b, 3, stride=2, padding=1),
                torch.nn.ReLU(),
                torch.nn.Conv2d(b, b, 3, padding=1),
                torch.nn.ReLU(),
            )
            for a, b in itertools.pairwise(widths)
        )
        self.score = torch.nn.ModuleList(torch.nn.Conv2d(c, CLASSES, 3, padding=1) for c in widths[3:])
        self.box = torch.nn.ModuleList(torch.nn.Conv2d(c, 4, 3, padding=1) for c in widths[3:])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores [B, K, N] and sizes [B, 4, N] in strides."""
        levels = []
        for stage in self.stages:
            images = stage(images)
            levels.append(images)
        scores = [head(x).flatten(2) for head, x in zip(self.score, levels[2:], strict=True)]
        return torch.cat(scores, 2), torch.cat(
            [head(x).flatten(2) for head, x in zip(self.box, levels[2:], strict=True)], 2
        )


def over_a_network(count: int) -> None:
    """Time forward passes, suppression and certificates of many images."""
    torch.manual_seed(0)
    network = Backbone().eval()
    asked = [metric("recall"), metric("false_positives")]
    spent = {"forward": 0.0, "suppression": 0.0, "certificates": 0.0}
    kept = 0
    for number in range(-1, count):
        if not number:
            # What came before has compiled everything.
            spent, kept = dict.fromkeys(spent, 0.0), 0
        pixels = torch.rand(1, 3, 640, 640)
        scene = image(LEVELS, 1 + number % 20, 2 + number)
        began = time.perf_counter()
        with torch.inference_mode():
            scores, _ = network(pixels)
        spent["forward"] += time.perf_counter() - began
        # A network that is not trained finds nothing: scores and boxes are those of a trained one.
        if scores.shape[2] < 8000:
            raise SystemExit("the network has fewer locations than are meant")
        began = time.perf_counter()
        kept += sum(len(found.scores) for found in suppressed(scene, DETECTOR, range(CLASSES)).values())
        spent["suppression"] += time.perf_counter() - began
        began = time.perf_counter()
        context = fresh(scene)
        for each in asked:
            open_bound(each, context, ONE).worst_case([EPS])
        spent["certificates"] += time.perf_counter() - began
    bare = spent["forward"] + spent["suppression"]
    shown = ", ".join(f"{name} {1e3 * taken / count:.1f}" for name, taken in spent.items())
    times = (bare + spent["certificates"]) / bare
    print(f"{count} images, {kept} detections; ms an image: {shown}; {times:.2f} times")


def fresh(scene: Scene) -> Context:
    """A context of one scene, about which nothing was asked before."""
    return Context(backends()["cpu"], torch.zeros(1, 1, 1, 1), None, None, scenes=(DETECTOR, (replace(scene),)))


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    given = parser.parse_args()
    checked()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; equal to the reference")
    for count in (10, 40):
        scene = image(LEVELS, count, 2)
        print(f"{scene.scores.shape[1]} locations, {CLASSES} classes, {count} objects, L eps = {float(EPS)}")
        for name in ("recall", "precision", "mislabelled"):
            asked = metric(name)
            taken = []
            for _ in range(7):
                context = fresh(scene)  # which knows nothing of the scene yet
                began = time.process_time()
                bound = open_bound(asked, context, ONE)
                value = bound.worst_case([EPS])[0][0]
                taken.append(time.process_time() - began)
            clean, middle, best = bound.clean()[0], 1e3 * sorted(taken)[3], 1e3 * min(taken)
            print(f"  {name}: {middle:.1f} ms of one core, best {best:.1f}; {clean} -> {value}")
        for name in ("average_precision(0.5)", "mean_average_precision(0.5 to 0.95)"):
            opened = open_dataset_bound(metric(name), (1, 1, 1), ONE)
            opened.add(fresh(scene))
            began = time.process_time()
            value = opened.worst_case([EPS])[0]
            print(f"  {name}: {time.process_time() - began:.2f} s of one core; {float(value or 0):.3f}")
            opened.close()
    over_a_network(given.images)


if __name__ == "__main__":
    main()
