"""What one image of 2048 x 1024 with 19 classes takes of a processor, part by part, for docs/explanation/sizing.md.

    python -m benchmarks.sizing [--repeat 5]

A drawn scene stands for the image, drawn regions for the mask, noise for the logits; CPU time of one thread, the
least of the repetitions.
"""

from __future__ import annotations

import argparse
import io
import pickle
import platform
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from robspec.data.content import digest
from robspec.kernels.knapsack import Items, LogitsBatch, backends
from robspec.kernels.knapsack.budget import Budget
from robspec.session.answer import packed, unpacked
from robspec.session.worker import Task

HEIGHT, WIDTH, CLASSES = 1024, 2048, 19


def png(pixels: np.ndarray) -> bytes:
    """Encode."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def smooth(rng: np.random.Generator, channels: int, every: int) -> np.ndarray:
    """Noise whose detail is `every` pixels wide, [H, W, channels], about 0."""
    small = torch.from_numpy(rng.normal(size=(1, channels, HEIGHT // every, WIDTH // every)))
    large = torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bilinear")
    return large[0].permute(1, 2, 0).numpy()


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene, uint8 [H, W, 3], and classes of its pixels, uint8 [H, W]."""
    rng = np.random.default_rng(seed)
    scene = np.clip(128 + 60 * smooth(rng, 3, 16) + rng.normal(0, 3, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    return scene, ((np.abs(smooth(rng, 1, 64)[..., 0]) * 7).astype(np.int64) % CLASSES).astype(np.uint8)


def least(work: Callable[[], object], repeat: int) -> float:
    """Milliseconds of the processor."""
    work()
    took = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took) * 1e3


def main() -> None:
    """Print a row for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    scene, classes = drawn(0)
    regions = classes.astype(np.int64)
    image, mask = png(scene), png(classes)
    pixels = torch.from_numpy(scene).permute(2, 0, 1).float() / 255
    logits = torch.from_numpy(rng.normal(size=(1, CLASSES, HEIGHT, WIDTH)).astype(np.float32))
    labels, cpu = torch.from_numpy(regions)[None], backends()["cpu"]
    budget = Budget.of(Fraction(1), Fraction(20), Fraction(2), HEIGHT * WIDTH, single=False)
    ranked, sent = cpu.rank(logits), packed([logits.numpy()])
    task = Task(pixels[None].numpy(), False, names=("scene.png",), labels=labels.numpy())

    def one_class() -> object:
        given = LogitsBatch(logits, labels, Items.CLASS, inside=(1,), water=True, ranked=ranked)
        return cpu.prepare_class(given).lists(0, budget, budget)

    parts: dict[str, Callable[[], object]] = {
        f"image decoded, {len(image) / 2**20:.1f} MiB": lambda: np.asarray(Image.open(io.BytesIO(image))),
        f"mask decoded, {len(mask) / 2**20:.1f} MiB": lambda: np.asarray(Image.open(io.BytesIO(mask))),
        "pixels to float32": lambda: (torch.from_numpy(scene).permute(2, 0, 1).float() / 255).contiguous(),
        "digest of the pixels": lambda: digest(pixels),
        "batch named, every bit of it": lambda: task.tie(""),
        "batch pickled": lambda: pickle.dumps(task),
        f"logits packed, {logits.nbytes / 2**20:.0f} MiB": lambda: packed([logits.numpy()]),
        "logits unpacked": lambda: unpacked(sent),
        "pixel accuracy, one budget": lambda: cpu.prepare(LogitsBatch(logits, labels, Items.CORRECT)).flips([budget]),
        "ranks of all classes": lambda: cpu.rank(logits),
        "one class of a mean": one_class,
    }
    table = Table("part", "ms")
    for name, work in parts.items():
        table.add_row(name, f"{least(work, repeat):.1f}")
    Console().print(table)
    Console().print(f"{platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
