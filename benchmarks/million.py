"""A run of as many images as a fleet would check, without the network: what the reduction and the store take.

    python -m benchmarks.million [--images 1000000] [--side 8]

Small maps of logits stand for what the model would return; everything behind them is what `robspec check` does with
them: bounds of an image's metric and of a pooled one, verdicts, the JSON document. Beside it the store: the logits of
as many images, written as they come, and read again.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from robspec.data.dataset import Batch
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.report.json import document
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.store import Store
from robspec.store.remembering import Remembering
from robspec.verify.constant import Established
from robspec.verify.run import check

SPEC = """language 1
model {{
  input   image [2, {side}, {side}] in [-100, 100]
  output  logits [2, {side}, {side}]
  classes background, object
}}
data many {{
  images "*.npy"
  masks  "*.npy"
}}
property accurate {{
  metric  pixel_accuracy
  norm    l2
  budget  1
  require mean(worst_case) >= 0.5
}}
property together {{
  metric  pooled iou[object]
  norm    l2
  budget  1
  require worst_case >= 0.2
}}
"""
BATCH = 64


class Source:
    """Images whose pixels are the logits, drawn from their number."""

    def __init__(self, images: int, side: int) -> None:
        self._images, self._side = images, side

    def __len__(self) -> int:
        return self._images

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream them."""
        for start in range(0, self._images, size):
            count = min(size, self._images - start)
            generator = torch.Generator().manual_seed(start)
            shape = (count, 2, self._side, self._side)
            images = torch.randn(shape, generator=generator) * 3
            labels = (images[:, 1] + torch.randn(shape[:1] + shape[2:], generator=generator) > images[:, 0]).long()
            yield Batch(tuple(f"{start + i:09d}.npy" for i in range(count)), images, labels)


class Pixels:
    """The identity: the images are the logits."""

    def __init__(self, side: int) -> None:
        self.input_shape = self.output_shape = (2, side, side)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Give them back."""
        return images


def peak() -> float:
    """Most memory held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reduced(images: int, side: int) -> tuple[float, int]:
    """Check that many images; returns CPU seconds and the bytes of the JSON document."""
    program, _ = compile_text(SPEC.format(side=side))
    constant = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)
    began = time.process_time()
    established = Established((constant,) * len(program.properties))
    report = check(program, Pixels(side), Source(images, side), backends()["cpu"], established, batch_size=BATCH)
    text = json.dumps(document(report))
    return time.process_time() - began, len(text)


def stored(images: int, side: int, folder: Path) -> tuple[float, float, int]:
    """Write the logits of that many images and read them again; CPU seconds of each, and the bytes of the file."""
    path = folder / f"{images}.sqlite"
    times = []
    for _ in range(2):
        store = Store(path)
        kept = Remembering(Pixels(side), store, {"revision": "benchmark"})
        began = time.process_time()
        for batch in Source(images, side).batches(BATCH):
            kept.logits(batch.images)
        store.close()
        times.append(time.process_time() - began)
    return times[0], times[1], path.stat().st_size


def main() -> None:
    """Print a row for each power of ten."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    reduced(BATCH, given.side)
    columns = ("images", "reduction, s", "peak memory, MiB", "JSON, MiB", "store written, s", "read, s", "file, MiB")
    table = Table(*columns, title=f"maps of {given.side} x {given.side}, 2 classes, CPU seconds of one thread")
    with tempfile.TemporaryDirectory() as folder:
        count = 100
        while count <= given.images:
            spent, size = reduced(count, given.side)
            most = peak()
            written, read, file = stored(count, given.side, Path(folder))
            row = (f"{count}", f"{spent:.1f}", f"{most:.0f}", f"{size / 2**20:.1f}")
            row = (*row, f"{written:.1f}", f"{read:.1f}", f"{file / 2**20:.1f}")
            table.add_row(*row)
            print(*row, flush=True)  # the last takes an hour
            count *= 10
    Console().print(table)
    Console().print(f"{platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
