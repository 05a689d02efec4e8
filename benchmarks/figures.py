"""An earlier build and this one, command by command, interleaved: CPU seconds of whole runs, started as users do.

    git worktree add ../earlier COMMIT        # with an environment of its own in ../earlier/.venv
    python -m benchmarks.figures ../earlier FOLDER [--rounds 3] [--only warm]

FOLDER holds `images`, `masks` and an archive for 256 x 256 pixels; it is read, and nothing of it is kept. Every build
has a cache of its own, one thread, and must come to the same verdicts and numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parents[1]
MODEL = """language 1
model {{
  input   image [3, {side}, {side}] in [0, 1]
  output  logits [{classes}, {side}, {side}]
  classes {names}
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
  require mean(worst_case) >= 0.01
}}
"""
LOOP = """
import sys, torch, numpy as np
from pathlib import Path
from PIL import Image
model = torch.export.load(sys.argv[1]).module()
double = len(sys.argv) > 3
model = model.double() if double else model
torch.set_num_threads(1)
paths = sorted(Path(sys.argv[2]).glob("*.png"))
with torch.no_grad():
    for start in range(0, len(paths), 8):
        pixels = np.stack([np.asarray(Image.open(p)) for p in paths[start : start + 8]])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        model(images.double() if double else images)
"""
WIDE = """
import sys, torch
from torch import nn
torch.manual_seed(0)
net = nn.Conv2d(3, int(sys.argv[2]), 1).eval()
side = int(sys.argv[3])
batch = {0: torch.export.Dim("batch", min=1, max=64)}
torch.export.save(torch.export.export(net, (torch.rand(2, 3, side, side),), dynamic_shapes=(batch,)), sys.argv[1])
"""
UNET = """
import sys, torch
from torch import nn
torch.manual_seed(0)


def block(i, o):
    steps = (nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    return nn.Sequential(*steps, nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, widths):
        super().__init__()
        before = (3, *widths)
        self.down = nn.ModuleList(block(i, o) for i, o in zip(before, widths))
        pairs = list(zip(widths, widths[1:]))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2) for i, o in pairs)
        self.join = nn.ModuleList(block(2 * i, i) for i, _ in pairs)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x):
        kept = []
        for n, down in enumerate(self.down):
            x = down(nn.functional.max_pool2d(x, 2) if n else x)
            kept.append(x)
        for up, join, skip in zip(self.up, self.join, kept[-2::-1]):
            x = join(torch.cat([skip, up(x)], 1))
        return self.head(x)


batch = {0: torch.export.Dim("batch", min=1, max=64)}
network = UNet((16, 32, 64, 128, 256)).eval()
torch.export.save(torch.export.export(network, (torch.rand(2, 3, 512, 512),), dynamic_shapes=(batch,)), sys.argv[1])
"""
PROOF = """
import json, sys, time, torch
torch.set_num_threads(1)
from pathlib import Path
from robspec.lipschitz.prove import prove
from robspec.models.loading import load
from robspec.semantics.norm import L2
program = load(Path(sys.argv[1])).program
began = time.process_time()
bound = prove(program, input_norm=L2, output_norm=L2).bound
Path(sys.argv[2]).write_text(json.dumps({"bound": bound, "seconds": time.process_time() - began}))
"""


@dataclass
class Build:
    """One checkout with its environment.

    Args:
        name: for the table.
        root: the checkout.
        cache: its own.
    """

    name: str
    root: Path
    cache: Path
    spent: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def run(self, *command: object, cache: Path | None = None) -> tuple[float, int]:
        """Run its Python; returns CPU seconds of the process and those it starts, and the peak of memory, MiB."""
        one = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        env = {**os.environ, **one, "XDG_CACHE_HOME": str(cache or self.cache)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # users have their modules compiled
        # Without -P the folder it is started in would come first, and every build be this one.
        words = [str(self.root / ".venv" / "bin" / "python"), "-P", *map(str, command)]
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
        _, told = process.stderr, process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) not in (0, 1, 3):
            raise SystemExit(f"{self.name}: {' '.join(words)}\n{told.decode()}")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024

    def check(
        self, model: Path, spec: Path, *rest: object, cache: Path | None = None, real: bool = False
    ) -> tuple[float, int, Any]:
        """Check; the same, and the report. A build that speaks of the reals is told not to, unless `real`."""
        if not real and (self.root / "robspec" / "session" / "covered.py").is_file():
            rest = (*rest, "--arithmetic", "exact")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "report.json"
            written = ("--format", "json", "--output", out, "--allow", "unknown")
            spent, memory = self.run("-m", "robspec", "check", model, spec, *rest, *written, cache=cache)
            return spent, memory, json.loads(out.read_text(encoding="utf-8"))


def answers(report: Any) -> Any:
    """What two builds must agree on: what is certified of every image at every point; six digits of a constant."""
    if "bound" in report:
        return f"{report['bound']:.6g}"
    return [[i["certified"] for i in p["images"]] for p in report["properties"]]


def project(folder: Path, name: str, source: Path | None, count: int, head: str, properties: str) -> Path:
    """Write a folder of images, masks and a specification; the images of `source`, again and again, or noise."""
    root = folder / name
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    side, rng = 256, np.random.default_rng(0)
    files = [] if source is None else sorted((source / "images").glob("*.png"))
    for n in range(count):
        for part in ("images", "masks"):
            path = root / part / f"{n:05d}.png"
            if files:
                os.symlink(source / part / files[n % len(files)].name, path)  # type: ignore[operator]
            else:
                shape, top = ((side, side, 3), 256) if part == "images" else ((side, side), 2)
                Image.fromarray(rng.integers(0, top, shape, dtype=np.uint8)).save(path)
    spec = root / "asked.rspec"
    spec.write_text(head + properties, encoding="utf-8")
    return spec


def main() -> None:
    """Print a row for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    data, archive = given.folder.resolve(), sorted(given.folder.resolve().glob("*.pt2"))[0]
    console = Console(width=118)
    table = Table("what", "earlier", "now", "earlier / now", title="CPU seconds of one thread, medians")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        builds = [Build("earlier", given.earlier.resolve(), folder / "a"), Build("now", HERE, folder / "b")]
        two = MODEL.format(side=256, classes=2, names="background, polyp")
        both = "".join(PROPERTY.format(name=f"p{i}", metric=m, budget="0.5") for i, m in enumerate(_TWO))
        ten = project(folder, "ten", data, 10, two, both)
        sixty = project(
            folder, "sixty", data, 60, two, PROPERTY.format(name="p", metric="pixel_accuracy", budget="0.5")
        )
        many = {
            f"{m}: {what}": project(folder, f"{i}{what.split()[0]}", data, 4, two, text(m))
            for i, m in enumerate(_TWO)
            for what, text in (("sweep of 100", _sweep), ("100 properties", _hundred))
        }
        wide = folder / "wide.pt2"
        subprocess.run([sys.executable, "-c", WIDE, str(wide), "150", "256"], check=True)  # noqa: S603
        names = ", ".join(f"c{i}" for i in range(150))
        head = MODEL.format(side=256, classes=150, names=names)
        mean = project(folder, "mean", None, 2, head, PROPERTY.format(name="p", metric="mean_iou", budget="0.05"))
        loop = folder / "loop.py"
        loop.write_text(LOOP, encoding="utf-8")
        runway = HERE / "specs" / "runway"

        def fresh(build: Build) -> tuple[float, int, Any]:
            empty = Path(tempfile.mkdtemp(dir=folder))
            try:
                return build.check(runway / "runway.pt2", runway / "runway.rspec", cache=empty)
            finally:
                shutil.rmtree(empty)

        unet, proof = folder / "unet.pt2", folder / "proof.py"
        proof.write_text(PROOF, encoding="utf-8")
        if given.only in _UNET:
            subprocess.run([sys.executable, "-c", UNET, str(unet)], check=True)  # noqa: S603

        def proving(build: Build) -> tuple[float, int, Any]:
            said = folder / "proof.json"
            spent, memory = build.run(proof, unet, said)
            return spent, memory, json.loads(said.read_text(encoding="utf-8"))

        bound: Callable[[Any], float] = lambda report: report["seconds"]["bound"]  # noqa: E731
        rows: list[tuple[str, Callable[[Build], tuple[float, int, Any]], Callable[[Any], float] | None]] = [
            ("warm check, 10 images", lambda b: b.check(archive, ten), None),
            ("warm check, 10 images, logits computed", lambda b: b.check(archive, ten, *_forgetful(b)), None),
            ("first check after an install", fresh, None),
            ("60 images", lambda b: b.check(archive, sixty, *_forgetful(b)), None),
            ("bare loop over them", lambda b: (*b.run(loop, archive, sixty.parent / "images"), None), None),
            ("60 images, as not told", lambda b: b.check(archive, sixty, *_forgetful(b), real=True), None),
            (
                "bare loop in float64",
                lambda b: (*b.run(loop, archive, sixty.parent / "images", "double"), None),
                None,
            ),
            (
                "mean_iou, 150 classes, 256 x 256, 2 images: bound",
                lambda b: b.check(wide, mean, *_forgetful(b)),
                bound,
            ),
            *(
                (f"{name}: bound", lambda b, s=spec: b.check(archive, s, *_forgetful(b)), bound)  # type: ignore[misc]
                for name, spec in many.items()
            ),
            (_UNET, proving, lambda found: found["seconds"]),
        ]
        for name, work, part in rows:
            if given.only not in name:
                continue
            for build in builds:
                build.found[name] = work(build)[2]  # compiles, fills the caches
            if (
                builds[0].found[name] is not None
                and "not told" not in name
                and answers(builds[0].found[name]) != answers(builds[1].found[name])
            ):
                console.print(f"{name}: the builds differ")
            for _ in range(given.rounds):
                for build in builds:
                    spent, _, report = work(build)
                    build.spent.setdefault(name, []).append(spent if part is None else part(report))
            before, after = (statistics.median(b.spent[name]) for b in builds)
            table.add_row(name, f"{before:.2f}", f"{after:.2f}", f"{before / after:.1f}")
            console.print(f"{name}: {before:.2f} {after:.2f}")
    console.print(table)
    console.print(f"{platform.machine()}, Python {platform.python_version()}")


_TWO = ("pixel_accuracy", "iou[polyp]")
_UNET = "proof of a U-Net, 16 to 256 channels, 512 x 512"


def _forgetful(build: Build) -> tuple[str, ...]:
    """Options that keep a build from remembering logits, where it does."""
    return ("--no-store",) if (build.root / "robspec" / "store").is_dir() else ()


def _budgets() -> list[str]:
    return [f"{0.02 * (i + 1):.2f}" for i in range(100)]


def _sweep(metric: str) -> str:
    return PROPERTY.format(name="p", metric=metric, budget="0.02 to 2 points 100")


def _hundred(metric: str) -> str:
    return "".join(PROPERTY.format(name=f"p{i}", metric=metric, budget=b) for i, b in enumerate(_budgets()))


if __name__ == "__main__":
    main()
