"""See the package."""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.private import audit, clipped, digits, runway, steps
from robspec.privacy.accountant import calibrated, epsilon
from robspec.verify.result import CheckReport

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "private-figures.md"
BUILD = ROOT / "build" / "private"
TARGETS = ("1", "3", "8")
SEEDS = 3


def digits_table() -> Iterator[str]:
    """Accuracy on the 449 test images, mean of three runs each: clean, certified, and what was asked of privacy."""
    digits.results.draw(BUILD)
    data = digits.Digits.read(BUILD, "train")
    yield f"| epsilon | network | trained | clean | {' | '.join(f'certified at {eps}' for eps in digits.BUDGETS)} |"
    yield "|---|---|---|---" + "|---" * len(digits.BUDGETS) + "|"
    for target in (*TARGETS, None):
        for shape in digits.SHAPES:
            reports = []
            for seed in range(SEEDS):
                folder = BUILD / f"{shape} {target}"
                digits.fit(shape, len(data.images), f"epsilon = {target}" if target else "", BUILD, folder, seed)
                reports.append(digits.checked(folder, BUILD, target))
            yield _row(target, shape, "by bounds" if target else "ordinary, not private", reports)
            if not clipped.installed():
                continue
            q = round(digits.SHARE * len(data.images)) / len(data.images)
            sigma = 0.0 if target is None else calibrated(float(target), q, digits.STEPS, digits.DELTA)
            reports = []
            for seed in range(SEEDS):
                folder = BUILD / f"{shape} {target} clipped"
                clipped.fit(shape, data, sigma, folder, seed)
                reports.append(digits.checked(folder, BUILD, None))
            yield _row(target, shape, "clipped, opacus" if target else "clipped, opacus, no noise", reports)


def _row(target: str | None, shape: str, trained: str, reports: list[CheckReport]) -> str:
    for report in reports:
        if report.privacy is not None and not report.privacy.label.startswith("PROVED"):
            raise SystemExit(f"{shape}, epsilon {target}: {report.privacy.label}")
    means = digits.averaged([digits.accuracies(report) for report in reports])
    return f"| {target or '-'} | {shape} | {trained} | {' | '.join(f'{mean:.3f}' for mean in means)} |"


def steps_table() -> Iterator[str]:
    """Seconds of processor time of a step, and how many ordinary steps it is worth."""
    yield "| network and batch | ordinary | by bounds | clipped, opacus | bounds / ordinary | clipped / ordinary |"
    yield "|---|---|---|---|---|---|"
    for channels, side, batch in (
        ((16,), 8, 512),
        ((16,), 32, 64),
        ((16,), 64, 16),
        ((16, 32), 64, 16),
        ((64, 64), 64, 8),
    ):
        found = steps.measure(channels, side, batch, 15)
        other = "-" if found.clipped is None else f"{1000 * found.clipped:.0f} ms"
        times = [f"{1000 * each:.0f} ms" for each in (found.ordinary, found.bounds)]
        ratios = [f"{ratio:.2f}" for ratio in found.ratios] + ["-"] * (2 - len(found.ratios))
        yield f"| {' | '.join([found.what, *times, other, *ratios])} |"
    if not clipped.installed():
        return
    yield ""
    yield f"Epsilon at delta {digits.DELTA:g} of Gaussian steps on Poisson samples, by each accountant:"
    yield ""
    yield "| sigma, q, steps | dp-accounting, PLD (ours) | opacus, PRV | opacus, RDP |"
    yield "|---|---|---|---|"
    for sigma, q, count in ((1.0, 0.01, 1000), (2.0, 0.0085, 2340), (4.0, 0.5, 40), (0.8, 0.1, 60)):
        ours, theirs = epsilon(sigma, q, count, digits.DELTA), clipped.epsilons(sigma, q, count)
        if not (abs(ours - theirs["PRV"]) <= 0.02 * max(1.0, ours) and ours <= theirs["RDP"]):
            raise SystemExit(f"the accountants disagree: {ours}, {theirs}")
        yield f"| {sigma:g}, {q:g}, {count} | {ours:.4f} | {theirs['PRV']:.4f} | {theirs['RDP']:.4f} |"


def audit_table() -> Iterator[str]:
    """What one run with canaries refutes; with the noise promised, and with a twentieth of it."""
    digits.results.draw(BUILD)
    data = digits.Digits.read(BUILD, "train")
    yield "| network | epsilon promised | noise | canaries | guesses | right | epsilon refuted, 95 % |"
    yield "|---|---|---|---|---|---|---|"
    for shape in digits.SHAPES:
        for target, weaker in (("1", 1.0), ("3", 1.0), ("8", 1.0), ("3", 20.0)):
            rng = np.random.default_rng(0)
            kept = {"canaries": 300, "steps": digits.STEPS, "delta": digits.DELTA, "rng": rng}
            found = audit.run(data, BUILD / "audit", f"epsilon = {target}", shape=shape, weaker=weaker, **kept)
            if (found.epsilon > float(target)) != (weaker > 1):
                raise SystemExit(f"{shape}, epsilon {target}, noise / {weaker:g}: {found}")
            noise = "as promised" if weaker == 1 else f"a {weaker:g}th of it, a planted fault"
            refuted = f"below {math.floor(100 * found.epsilon) / 100:.2f}" if found.epsilon else "none"
            told = f"{found.canaries} | {found.guesses} | {found.right} | {refuted}"
            yield f"| {shape} | {target} | {noise} | {told} |"


def runway_table() -> Iterator[str]:
    """See `runway.table`."""
    yield from runway.table(TARGETS, BUILD / "runway", ROOT / "specs" / "runway")


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "digits": digits_table,
    "runway": runway_table,
    "steps": steps_table,
    "audit": audit_table,
}


def main() -> None:
    """Make one table, print it, and put it between its marks in the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.private", description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--no-page", action="store_true", help="print alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in TABLES[given.table]():
        print(line, flush=True)
        lines.append(line)
    lines += ["", _machine()]
    print(lines[-1])
    if given.no_page:
        return
    begin, end = f"<!-- {given.table}: begin -->\n", f"<!-- {given.table}: end -->\n"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(
        before + begin + "\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2], encoding="utf-8"
    )


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    named = digits.results._processor()
    load = f", load {os.getloadavg()[2]:.0f}" if hasattr(os, "getloadavg") else ""
    return (
        f"Measured on {named} with {cores} shared cores{load}, one thread; torch {torch.__version__}, "
        f"Python {platform.python_version()}."
    )


if __name__ == "__main__":
    sys.exit(main())
