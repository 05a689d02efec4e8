"""Build, settle, export, load and prove a LipDeepLabV3 of any size, with the time and the memory of each step.

    python -m benchmarks.proofs XL [--side 64] [--classes 11] [--keep xl.pt2]

The weights are orthogonal and drawn from a fixed seed. It ends with status 1 where the proved constant is above
1.0001 times the design constant.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from robspec.lipschitz.prove import prove
from robspec.models.export import export_archive
from robspec.models.lipnets.deeplab import SIZES, LipDeepLabV3
from robspec.models.lipnets.kit import LayerKit
from robspec.models.loading import load
from robspec.semantics.norm import L2

TOLERATED = 1.0001


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Print the wall time and the processor time of a step, and the most memory held so far."""
    began, used = time.perf_counter(), time.process_time()
    yield
    wall, busy = time.perf_counter() - began, time.process_time() - used
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{step:8} {wall:8.1f} s  processor {busy:8.1f} s  most memory {most:6.2f} GiB", flush=True)


def main() -> int:
    """Print one line per step, the slowest nodes, and the proved constant.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--keep", type=Path, help="where to keep the archive; one that is there is proved as it is")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder) / "model.pt2"
        if not path.exists():
            write(path, given.size, given.classes, given.side)
        print(f"archive of {path.stat().st_size / 2**20:.0f} MiB", flush=True)
        with measured("load"):
            model = load(path)
        with measured("prove"):
            derivation = prove(model.program, input_norm=L2, output_norm=L2)
    for row in sorted(derivation.rows, key=lambda row: -row.seconds)[:8]:
        print(f"  {row.name:20} {row.rule:40} {row.bound:.9f} {row.running:.9f} {row.seconds:8.1f} s")
    print(f"{given.size}, {given.side} x {given.side}: proved {derivation.bound:.9f} of design 1")
    return int(derivation.bound > TOLERATED)


def write(path: Path, size: str, classes: int, side: int) -> None:
    """Build a network from its seed, settle it and write its archive."""
    torch.manual_seed(0)
    with measured("build"):
        network = LipDeepLabV3(classes, SIZES[size], kit=LayerKit()).eval()
    with measured("settle"):
        plain = network.settled()
    del network
    with measured("export"):
        path.write_bytes(export_archive(plain, None, (3, side, side), 8, size).archive)


if __name__ == "__main__":
    raise SystemExit(main())
