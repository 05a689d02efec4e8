"""Change a part of the code in every way mutmut knows; list what no test sees: `make mutants OF=robspec/bounds`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.mutation.changes import change, renewed

TESTS = {
    "robspec/function": [
        "tests/function",
        *(f"tests/models/test_{name}.py" for name in ("conduct", "export", "hostile", "loading")),
        *(f"tests/lipschitz/test_{name}.py" for name in ("programs", "traps")),
    ],
    "robspec/lower": [
        *("tests/lower", "tests/golden", "tests/cli/test_metrics.py", "tests/docs/test_language_reference.py"),
    ],
    "robspec/bounds": ["tests/bounds", *(f"tests/tasks/test_{name}.py" for name in ("detection", "ranking"))],
    "robspec/lipschitz/rules": [
        f"tests/lipschitz/test_{name}.py"
        for name in (
            "contractions",
            "linear_rules",
            "nonlinear_rules",
            "refusals",
            "rules_by_hand",
            "stencil",
            "traps",
        )
    ],
    "robspec/lipschitz": [
        f"tests/lipschitz/test_{name}.py"
        for name in (
            "batch_by_hand",
            "batch_size",
            "extreme_weights",
            "programs",
            "reachable",
            "refusals",
            "rounding",
            "traps",
        )
    ],
    "robspec/kernels/scores": ["tests/kernels/test_scores.py"],
    "robspec/kernels/knapsack": [
        *(
            f"tests/kernels/test_{name}.py"
            for name in (
                *("budget", "chunks", "direct", "knapsack", "nearest", "one_class", "running", "tiered", "whole"),
            )
        ),
        "tests/kernels/test_reference.py",
    ],
}
"""What tests each part; errors and everything beyond a part have tests of their own, which would notice more."""
SKIPPED = ["_jit.py", "_triton_classes.py", "_triton_kernels.py", "_triton_launch.py", "triton_cuda.py"]
"""Compiling, which is off, and Triton, whose kernels are read from their source text."""
WORK = Path("build/mutants")


def main() -> int:
    """Change, try and count.

    Returns:
        0 when every change asked for was tried.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("part", choices=TESTS, help="what to change")
    parser.add_argument("--only", nargs="*", default=[], help="names of files, such as macro.py")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of tests for each change: first those that run it"
    )
    parser.add_argument("--again", action="store_true", help="try what was left over again, with these seconds")
    parser.add_argument("--most", type=int, default=0, help="changes to try, a fair sample; all of them if 0")
    parser.add_argument("--tests", nargs="*", default=[], help="look to these tests rather than to those of the part")
    asked = parser.parse_args()
    work = WORK / asked.part.replace("/", ".")
    copy = work / "copy"
    results = (work / "results.jsonl").resolve()
    sources, known = digest(asked.part), work / "sources"
    # Making the changes takes a minute or two.
    by, made = f"{sources} {digest('tests/mutation')}", work / "made"
    if made.exists() and made.read_text() == by:
        renewed(Path(), copy, asked.part)
    else:
        made.unlink(missing_ok=True)
        change(Path(), copy, asked.part, SKIPPED)
        made.write_text(by)
    if not known.exists() or known.read_text() != sources:
        # Changes are known by number: those of other sources are others.
        results.unlink(missing_ok=True)
        known.write_text(sources)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy.resolve()),
        "ROBSPEC_HYPOTHESIS": "mutants",
        "NUMBA_DISABLE_JIT": "1",
        "OMP_NUM_THREADS": "1",
        "MUTANT_UNDER_TEST": "none",
    }
    options = [str(results), str(asked.seconds), "again" if asked.again else ""]
    options += [",".join(asked.only), str(asked.most)]
    run = [sys.executable, "-m", "tests.mutation.trial", *options, *(asked.tests or TESTS[asked.part])]
    code = subprocess.run(run, cwd=copy, env=environment, check=False).returncode
    if results.exists():
        report(work, results)
    return code


def digest(part: str) -> str:
    """SHA-256 of the files of a part."""
    found = hashlib.sha256()
    for path in sorted(Path(part).glob("*.py")):
        found.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()


def report(work: Path, results: Path) -> None:
    """Print how many changes of each file were noticed, and write down those that were not."""
    changes: dict[str, dict[str, str]] = json.loads((work / "copy" / "changes.json").read_text())
    last = {name: outcome for name, outcome, *_ in map(json.loads, results.read_text().splitlines())}
    every = {name: diff for made in changes.values() for name, diff in made.items()}
    print("\n| module | changes | tried | noticed | alike | score | without those alike |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for module, made in (changes | {"all": every}).items():
        found = Counter(last.get(name, "not tried") for name in made)
        noticed, tried = found["noticed"] + found["endless"], len(made) - found["not tried"]
        scores = " | ".join(f"{100 * noticed / n:.1f} %" if n else "" for n in (tried, tried - found["alike"]))
        print(f"| `{module}` | {len(made)} | {tried} | {noticed} | {found['alike']} | {scores} |")
    left = [f"{name}\n{diff}\n" for name, diff in every.items() if last.get(name) in ("unnoticed", "no test")]
    (work / "left.txt").write_text("".join(left))
    print(f"{len(left)} left over, in {work / 'left.txt'}")


if __name__ == "__main__":
    sys.exit(main())
