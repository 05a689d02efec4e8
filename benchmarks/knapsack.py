"""Time the knapsack kernels against the straightforward torch implementation and the memory floor, in one run.

Equality comes first: on small shapes every backend must equal the integer reference; on each timed shape the
straightforward count must lie between the kernel's answers at budgets smaller and larger by that implementation's own
rounding error. The floor is one pass over the logits that computes next to nothing: torch.amax over the classes on
the CPU, a read at the measured bandwidth of a device copy on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from robspec.kernels.knapsack import Backend, Items, LogitsBatch, backends
from robspec.kernels.knapsack.budget import Budget

NORM = Fraction(2)
EPS = Fraction(1, 16)
"""Largest budget per square root of a pixel: about a quarter of random pixels flip."""


@dataclass(frozen=True, slots=True)
class Case:
    """One shape and number of budgets."""

    images: int
    classes: int
    side: int
    budgets: int

    @property
    def gigabytes(self) -> float:
        """Size of the float32 logits."""
        return self.images * self.classes * self.side**2 * 4 / 2**30

    def reaches(self) -> list[Fraction]:
        """The asked budgets, ascending."""
        return [EPS * self.side * (m + 1) / self.budgets for m in range(self.budgets)]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: milliseconds as (median, least), None where nothing was."""

    case: Case
    device: str
    floor: tuple[float, float]
    kernel: tuple[float, float]
    straightforward: tuple[float, float]


def budgets_for(reaches: list[Fraction], pixels: int) -> list[Budget]:
    """Convert budgets for a model of Lipschitz constant 1."""
    return [Budget.of(reach, Fraction(1), NORM, pixels, single=False) for reach in reaches]


def straightforward(logits: torch.Tensor, labels: torch.Tensor, reaches: list[float]) -> torch.Tensor:
    """Count flips as published code does: two largest logits, sort, running sum, search; float32 throughout."""
    top = logits.topk(2, dim=1)
    margin = top.values[:, 0] - top.values[:, 1]
    cost = torch.where(top.indices[:, 0] == labels, margin * margin / 2, torch.inf)
    running = cost.flatten(1).sort(dim=1).values.cumsum(dim=1)
    limits = torch.tensor([reach * reach for reach in reaches], device=logits.device)
    return torch.searchsorted(running, limits.expand(len(running), -1).contiguous(), right=True)


def make(case: Case, device: str, seed: int = 0) -> LogitsBatch:
    """Draw logits, and labels that the prediction meets on about nine pixels in ten."""
    generator = torch.Generator().manual_seed(seed)
    shape = (case.images, case.classes, case.side, case.side)
    logits = torch.randn(shape, generator=generator)
    labels = logits.argmax(1)
    wrong = torch.rand(labels.shape, generator=generator) < 0.1
    labels = torch.where(wrong, (labels + 1) % case.classes, labels)
    return LogitsBatch(logits.to(device), labels.to(device), Items.CORRECT, 255)


def check_small(chosen: list[Backend]) -> int:
    """Compare every backend with the integer reference on small shapes; returns how many answers were compared."""
    compared = 0
    for case in (Case(1, 2, 5, 3), Case(2, 19, 17, 5), Case(1, 150, 8, 2)):
        batch = make(case, "cpu", seed=case.classes)
        ask = budgets_for(case.reaches(), case.side**2)
        expected = backends()["reference"].prepare(batch)
        flips, wanted = expected.flips(ask), expected.items[:, None] // 2
        for backend in chosen:
            got = backend.prepare(batch)
            same = np.array_equal(got.flips(ask), flips) and np.array_equal(
                got.radii(wanted, Fraction(1), NORM), expected.radii(wanted, Fraction(1), NORM)
            )
            if not same:
                raise SystemExit(f"{backend.name} differs from the reference on {case}; nothing was timed")
            compared += flips.size + wanted.size
    return compared


def check_large(backend: Backend, batch: LogitsBatch, case: Case) -> None:
    """Bracket the straightforward count: n additions in float32 err by at most n 2^-24, relatively."""
    pixels = case.side**2
    error = Fraction(pixels + 8, 2**24)
    low = [reach * (1 - error) for reach in case.reaches()]
    high = [reach * (1 + error) for reach in case.reaches()]
    prepared = backend.prepare(batch)
    asked = [max(reach, Fraction(0)) for reach in low] + high
    least, most = np.split(prepared.flips(budgets_for(asked, pixels)), 2, axis=1)
    if batch.labels is None:
        raise ValueError("labels are needed")
    count = straightforward(batch.logits, batch.labels, [float(r) for r in case.reaches()]).cpu().numpy()
    if not ((least <= count) & (count <= most)).all():
        raise SystemExit(f"{backend.name} and the straightforward implementation differ on {case}")


def milliseconds(run: Callable[[], object], device: str) -> float:
    """Time one run, the device idle before and after."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began)


def measure(backend: Backend, case: Case, device: str, rounds: int) -> Row:
    """Check and time one case; every round runs each candidate once, so that load strikes all alike."""
    batch = make(case, device)
    check_large(backend, batch, case)
    logits, labels = batch.logits, batch.labels
    if labels is None:
        raise ValueError("labels are needed")
    reaches = [float(r) for r in case.reaches()]
    ask = budgets_for(case.reaches(), case.side**2)
    if device == "cuda":
        copy = torch.empty_like(logits)
        floor: Callable[[], object] = lambda: copy.copy_(logits)  # noqa: E731
    else:
        floor = lambda: torch.amax(logits, 1)  # noqa: E731
    candidates: dict[str, Callable[[], object]] = {
        "floor": floor,
        "kernel": lambda: backend.prepare(batch).flips(ask),
        "straightforward": lambda: straightforward(logits, labels, reaches),
    }
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, run in candidates.items():
            elapsed = milliseconds(run, device)
            if turn:
                taken[name].append(elapsed)
    if device == "cuda":
        # A copy reads and writes: half of its time reads the logits once.
        taken["floor"] = [t / 2 for t in taken["floor"]]
    found = {name: (statistics.median(t), min(t)) for name, t in taken.items()}
    return Row(case, device, found["floor"], found["kernel"], found["straightforward"])


def cases(quick: bool) -> Iterator[Case]:
    """All shapes, or a few small ones."""
    for classes in (19,) if quick else (2, 19, 150):
        for side in (256, 512) if quick else (256, 512, 1024, 2048):
            for images in (1,) if quick else (1, 8):
                for budgets in (1, 50):
                    yield Case(images, classes, side, budgets)


def machine() -> dict[str, str]:
    """Describe the machine and the versions that matter."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((s.split(":")[1].strip() for s in info.read_text().splitlines() if "model name" in s), model)
    found = {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    for package in ("torch", "numba", "triton", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def table(rows: list[Row]) -> Table:
    """Lay the rows out, one per case, the CPU's columns first."""
    shown = Table(title="Pixel accuracy: kernel against memory floor and straightforward implementation")
    for name in ("B", "K", "side", "budgets"):
        shown.add_column(name, justify="right")
    for device in ("cpu", "gpu"):
        for name in ("floor ms", "kernel ms", "kernel / floor", "straightforward / kernel"):
            shown.add_column(f"{device} {name}", justify="right")
    found = {(row.case, row.device): row for row in rows}
    for case in dict.fromkeys(row.case for row in rows):
        cells = [str(case.images), str(case.classes), str(case.side), str(case.budgets)]
        for device in ("cpu", "cuda"):
            row = found.get((case, device))
            if row is None:
                cells += [""] * 4
                continue
            cells += [
                f"{row.floor[0]:.2f} ({row.floor[1]:.2f})",
                f"{row.kernel[0]:.2f} ({row.kernel[1]:.2f})",
                f"{row.kernel[0] / row.floor[0]:.2f}",
                f"{row.straightforward[0] / row.kernel[0]:.1f}",
            ]
        shown.add_row(*cells)
    return shown


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knapsack", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few small shapes, three rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--memory", type=float, default=4.0, help="skip shapes whose logits exceed this, in GiB [4]")
    parser.add_argument("--rounds", type=int, help="how often each candidate runs [3 with --quick, else 7]")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (3 if options.quick else 7)
    notes: list[str] = []
    devices = [("cpu", backends()["cpu"])]
    if torch.cuda.is_available():
        devices.append(("cuda", backends()["triton"]))
    else:
        notes.append("no CUDA device is there: the GPU columns are empty")
    compared = check_small([backend for _, backend in devices])
    notes.append(f"equal to the integer reference in {compared} answers on small shapes")
    wanted = list(cases(options.quick))
    kept = [case for case in wanted if case.gigabytes <= options.memory]
    notes += [
        f"skipped B={case.images} K={case.classes} side={case.side} budgets={case.budgets}: "
        f"{case.gigabytes:.1f} GiB of logits, limit {options.memory:g}"
        for case in wanted
        if case.gigabytes > options.memory
    ]
    todo = [(device, backend, case) for device, backend in devices for case in kept]
    progress = Console(stderr=True)
    rows = [
        measure(backend, case, device, rounds)
        for device, backend, case in track(todo, "timing", console=progress, disable=not progress.is_terminal)
    ]
    if options.json:
        json.dump({"machine": machine(), "notes": notes, "rows": [asdict(row) for row in rows]}, sys.stdout)
        sys.stdout.write("\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 190)
    console.print(table(rows))
    console.print("milliseconds: median (least) of interleaved rounds; ratios of medians")
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    for note in notes:
        console.print(note)


if __name__ == "__main__":
    main()
