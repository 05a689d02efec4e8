"""Whole runs of `robspec check`: what memory they take, what an edit costs, what workers and actors gain.

    python -m benchmarks.runs memory FOLDER [--images 100 1000 10000]
    python -m benchmarks.runs edit FOLDER [--images 60]
    python -m benchmarks.runs ray FOLDER [--images 240]
    python -m benchmarks.runs workers [--earlier ../earlier] [--images 200] [--metric mean_iou]
    python -m benchmarks.runs reading [--earlier ../earlier] [--images 40] [--ray | --kept]

FOLDER holds `images`, `masks` and an archive for 256 x 256 pixels of two classes; it is read, linked to again and
again under other names, and nothing of it is kept. `workers` asks about noise and a network drawn for it, of 19
classes; `reading` about drawn scenes of 2048 x 1024, with as small a network: `--ray` with actors for workers,
`--kept` with a store, of two classes, as it keeps no more of this size, and then again. Every run has one thread for
each process, and must come to the same answers before a figure counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import _TWO, HERE, MODEL, PROPERTY, WIDE, project

_TWO_CLASSES = MODEL.format(side=256, classes=2, names="background, polyp")
_FEW = 4
"""Scenes that are drawn, and images of a run beside which a longer one is looked at."""
_DEAR = """property p {{
  metric  {metric}
  norm    l2
  budget  0.1 to 2 points 20
  require {required} >= 0.01
}}
"""


@dataclass(frozen=True)
class Run:
    """What one command took.

    Args:
        wall: seconds.
        cpu: seconds of the process and those it started and waited for.
        memory: the peak of the process itself, MiB.
        report: what it said, without its seconds.
        seconds: what it said of them.
    """

    wall: float
    cpu: float
    memory: int
    report: dict[str, Any]
    seconds: dict[str, float]


def check(
    model: Path,
    spec: Path,
    *options: object,
    cache: Path,
    root: Path = HERE,
    watch: Callable[[int], None] = lambda _: None,
) -> Run:
    """Check as users do, in a process of its own.

    Args:
        model: the archive.
        spec: the specification.
        options: further ones.
        cache: of proofs and compiled kernels.
        root: the checkout, with its environment.
        watch: given the process id in a thread beside it.
    """
    out = spec.parent / "report.json"
    one = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    env = {**os.environ, **one, "XDG_CACHE_HOME": str(cache)}
    python = root / ".venv" / "bin" / "python" if root != HERE else Path(sys.executable)
    asked = ("-q", "--format", "json", "--output", out, "--allow", "unknown")
    words = [str(python), "-P", "-m", "robspec", "check", str(model), str(spec), *map(str, (*options, *asked))]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=told)  # noqa: S603
        threading.Thread(target=watch, args=(process.pid,), daemon=True).start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        if os.waitstatus_to_exitcode(status) not in (0, 1, 3):
            told.seek(0)
            raise SystemExit(f"{' '.join(words)}\n{told.read().decode()}")
    report = json.loads(out.read_text(encoding="utf-8"))
    seconds = report.pop("seconds")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, report, seconds)


def refuse_other(found: Run, expected: Run, what: str) -> None:
    """Stop where two runs come to different answers.

    Raises:
        SystemExit: they do.
    """
    if found.report != expected.report:
        raise SystemExit(f"{what}: another report than it should be")


def memory(given: argparse.Namespace, folder: Path, archive: Path) -> Table:
    """Peak memory for ever more images; the same few, so that their logits are known after the first of them."""
    table = Table("images", "peak, MiB", "CPU s", title="accuracy and intersection over union, logits kept")
    both = "".join(PROPERTY.format(name=f"p{i}", metric=m, budget="0.5") for i, m in enumerate(_TWO))
    few: list[Any] = []
    # A proof and a forward pass take more memory than all else: every batch there is, before anything is measured.
    length = len(list((given.folder / "images").glob("*.png")))
    period, counts = math.lcm(length, 8), sorted(given.images or [100, 1000, 10_000])
    for count in sorted({period, *(min(n, period + n % period) for n in counts)}):
        warm = project(folder, f"warm{count}", given.folder, count, _TWO_CLASSES, both)
        check(archive, warm, "--store", folder / "logits.sqlite", cache=folder / "cache")
    for count in counts:
        spec = project(folder, f"n{count}", given.folder, count, _TWO_CLASSES, both)
        run = check(archive, spec, "--store", folder / "logits.sqlite", cache=folder / "cache")
        values = [[(i["clean"], i["certified"]) for i in p["images"]] for p in run.report["properties"]]
        few = few or values
        for found, known in zip(values, few, strict=True):
            if any(value != known[n % length] for n, value in enumerate(found) if n % length < len(known)):
                raise SystemExit(f"{count} images: an image is worth something else than before")
        table.add_row(f"{count:,}", str(run.memory), f"{run.cpu:.1f}")
    return table


def edit(given: argparse.Namespace, folder: Path, archive: Path) -> Table:
    """A check whose eps alone was edited, so that logits and proof are known."""
    table = Table("", "wall s", "CPU s", title=f"{given.images[0]} images, eps edited, medians of {given.rounds}")
    asked = [PROPERTY.format(name="p", metric="pixel_accuracy", budget=b) for b in ("0.5", "0.25")]
    for name, options in (("as not told", ()), ("--arithmetic exact", ("--arithmetic", "exact"))):
        place = folder / (options[-1] if options else "real")
        place.mkdir()
        spec = project(place, "edited", given.folder, given.images[0], _TWO_CLASSES, asked[0])
        store = ("--store", place / "logits.sqlite", *options)
        check(archive, spec, *store, cache=folder / "cache")
        expected = None
        runs = []
        for round_ in range(given.rounds):
            spec.write_text(_TWO_CLASSES + asked[(round_ + 1) % 2], encoding="utf-8")
            runs.append(check(archive, spec, *store, cache=folder / "cache"))
            if expected is None:
                expected = check(archive, spec, "--no-store", *options, cache=folder / "cache")
                refuse_other(runs[0], expected, "after an edit")
        table.add_row(name, *(f"{statistics.median(getattr(r, part) for r in runs):.2f}" for part in ("wall", "cpu")))
    return table


def ray(given: argparse.Namespace, folder: Path, archive: Path) -> Table:
    """Actors of a Ray cluster that is started for the check; once one of two is killed on the way."""
    title = f"{given.images[0]} images, nothing kept, medians of {given.rounds}"
    table = Table("", "check s", "command s", title=title)
    both = "".join(PROPERTY.format(name=f"p{i}", metric=m, budget="0.5") for i, m in enumerate(_TWO))
    spec = project(folder, "ray", given.folder, given.images[0], _TWO_CLASSES, both)
    options = ("--no-store", "--arithmetic", "exact")
    killed: list[int] = []

    def kill(pid: int) -> None:
        while os.path.exists(f"/proc/{pid}"):
            actors = [p for p in descendants(pid) if command(p).startswith("ray::Holder.answer")]
            if len(actors) > 1:
                time.sleep(1.0)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(actors[0], signal.SIGKILL)
                    killed.append(actors[0])
                return
            time.sleep(0.05)

    cases: dict[str, tuple[tuple[object, ...], Callable[[int], None]]] = {
        "one process": ((), lambda _: None),
        "an actor beside the first process": (("--ray", "auto", "--workers", 1), lambda _: None),
        "two actors": (("--ray", "auto", "--workers", 2), lambda _: None),
        "two actors, one killed": (("--ray", "auto", "--workers", 2), kill),
    }
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    check(archive, spec, *options, cache=folder / "cache")
    for _ in range(given.rounds):
        for name, (more, watch) in cases.items():
            runs[name].append(check(archive, spec, *options, *more, cache=folder / "cache", watch=watch))
            refuse_other(runs[name][-1], runs["one process"][0], name)
    if len(killed) != given.rounds:
        raise SystemExit(f"{len(killed)} actors were killed, not {given.rounds}")
    for name, found in runs.items():
        total = statistics.median(r.seconds["total"] for r in found)
        table.add_row(name, f"{total:.1f}", f"{statistics.median(r.wall for r in found):.1f}")
    return table


def workers(given: argparse.Namespace, folder: Path) -> Table:
    """Bounds that take longer than the forward pass, by one process and by workers."""
    title = f"{given.images[0]} images, {given.metric}, medians of {given.rounds}"
    table = Table("", "command s", "of the first", "check s", "of the first", title=title)
    archive = folder / "wide.pt2"
    subprocess.run([sys.executable, "-c", WIDE, str(archive), "19", "256"], check=True)  # noqa: S603
    head = MODEL.format(side=256, classes=19, names=", ".join(f"c{i}" for i in range(19)))
    required = "worst_case" if given.metric.startswith("pooled") else "mean(worst_case)"
    asked = _DEAR.format(metric=given.metric, required=required)
    spec = project(folder, "dear", None, given.images[0], head, asked)
    options = ("--no-store", "--arithmetic", "exact")
    builds = {"now": HERE} if given.earlier is None else {"earlier": given.earlier.resolve(), "now": HERE}
    cases = {
        f"{build}, {name}": (root, more)
        for name, more in (
            ("one process", ()),
            ("1 worker", ("--workers", 1)),
            ("2 workers", ("--workers", 2)),
        )
        for build, root in builds.items()
    }
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for root in builds.values():
        check(archive, spec, *options, root=root, cache=folder / root.name)
    for _ in range(given.rounds):
        for name, (root, more) in cases.items():
            runs[name].append(check(archive, spec, *options, *more, root=root, cache=folder / root.name))
            refuse_other(runs[name][-1], next(iter(runs.values()))[0], name)
    first: list[float] = []
    for name, found in runs.items():
        both = [statistics.median(part) for part in zip(*((r.wall, r.seconds["total"]) for r in found), strict=True)]
        first = first or both
        table.add_row(name, *(t for s, f in zip(both, first, strict=True) for t in (f"{s:.1f}", f"{s / f:.2f}")))
    return table


def reading(given: argparse.Namespace, folder: Path) -> Table:
    """Large images and next to nothing else: who decodes them, and what is left to the first process.

    What an image takes is what many take more than a few, over how many more they are: starting takes seconds.
    """
    from benchmarks import sizing

    counts, columns = (_FEW, given.images[0]), ("wall", "CPU of all", "CPU of the first process")
    title = f"ms an image of {sizing.WIDTH} x {sizing.HEIGHT}, {counts[1]} beside {_FEW}, medians of {given.rounds}"
    table = Table("", *columns, title=title)
    archive, classes = folder / "large.pt2", 2 if given.kept else sizing.CLASSES
    drawn = WIDE.replace("side, side", f"{sizing.HEIGHT}, {sizing.WIDTH}")
    subprocess.run([sys.executable, "-c", drawn, str(archive), str(classes), "0"], check=True)  # noqa: S603
    specs = {count: _scenes(folder, count, classes) for count in counts}
    builds = {"now": HERE} if given.earlier is None else {"earlier": given.earlier.resolve(), "now": HERE}
    expected: dict[int, Run] = {}
    taken: dict[str, list[tuple[float, ...]]] = {}

    def one(count: int, workers_: int, place: Path, store: Path) -> tuple[float, float, float]:
        spent = [0.0]

        def watch(pid: int) -> None:
            while (seconds := processor(pid)) is not None:
                spent[0] = max(spent[0], seconds)
                time.sleep(0.02)

        kept = ("--store", store) if given.kept else ("--no-store",)
        beside = ("--workers", workers_, *(("--ray", "auto") if given.ray else ())) if workers_ else ()
        options = (*kept, "--arithmetic", "exact", *beside)
        run = check(archive, specs[count], *options, root=place, cache=folder / place.name, watch=watch)
        refuse_other(run, expected.setdefault(count, run), f"{workers_} workers")
        return run.wall, run.cpu, spent[0]

    for place in builds.values():
        one(_FEW, 0, place, folder / "first.sqlite")
    for _ in range(given.rounds):
        for workers_ in (0, 1, 2):
            for build, place in builds.items():
                with tempfile.TemporaryDirectory(dir=folder) as stores:
                    for stage in (", new", ", known") if given.kept else ("",):
                        few, many = (one(n, workers_, place, Path(stores) / f"{n}.sqlite") for n in counts)
                        each = tuple((m - f) * 1e3 / (counts[1] - _FEW) for f, m in zip(few, many, strict=True))
                        name = f"{build}, {workers_ or 'no'} {'actors' if given.ray else 'workers'}{stage}"
                        taken.setdefault(name, []).append(each)
    for name, rows in taken.items():
        table.add_row(name, *(f"{statistics.median(part):.0f}" for part in zip(*rows, strict=True)))
    return table


def _scenes(folder: Path, count: int, classes: int) -> Path:
    """Write a specification about drawn scenes: a few, and these again and again with their rows moved on."""
    from benchmarks import sizing

    root = folder / f"large{count}"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for k in range(_FEW):
        for part, pixels in zip(("images", "masks"), sizing.drawn(k), strict=True):
            held = pixels if part == "images" else pixels % classes
            for n in range(k, count, _FEW):
                (root / part / f"{n:04d}.png").write_bytes(sizing.png(np.roll(held, n // _FEW, axis=0)))
    names = ", ".join(f"c{i}" for i in range(classes))
    head = MODEL.format(side=0, classes=classes, names=names).replace("0, 0]", f"{sizing.HEIGHT}, {sizing.WIDTH}]")
    spec = root / "asked.rspec"
    spec.write_text(head + PROPERTY.format(name="p", metric="pixel_accuracy", budget="0.5"), encoding="utf-8")
    return spec


def processor(pid: int) -> float | None:
    """Seconds of the processor that a process itself has taken; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have."""
    found, left = [], [pid]
    while left:
        for task in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = list(map(int, task.read_text().split()))
                found += children
                left += children
    return found


def command(pid: int) -> str:
    """What a process calls itself; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "edit", "ray", "workers", "reading"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--metric", default="mean_iou")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--kept", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.what == "workers":
            given.images = given.images or [200]
            table = workers(given, folder)
        elif given.what == "reading":
            given.images = given.images or [40]
            table = reading(given, folder)
        elif given.folder is None:
            parser.error("which folder?")
        else:
            given.folder = given.folder.resolve()
            archive = sorted(given.folder.glob("*.pt2"))[0]
            if given.what == "memory":
                table = memory(given, folder, archive)
            else:
                given.images = given.images or [60 if given.what == "edit" else 240]
                table = (edit if given.what == "edit" else ray)(given, folder, archive)
    console = Console(width=100)
    console.print(table)
    console.print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
