"""Tries changes of Triton kernels, which are read from their source text: a process of its own for each.

`python -m tests.mutation.apart --every 20` tries one change of every twenty, in a copy of the project.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.mutation.changes import copied, difference

KERNELS = Path("kernels/knapsack/_triton_kernels.py")
TESTS = [f"tests/kernels/test_{name}.py" for name in ("triton", "triton_ranked", "knapsack", "one_class")]
WORK = Path("build/mutants/triton")
DECORATOR = "@triton.jit\n"
LIMIT = 300.0
"""Seconds after which a change is taken to run without end."""


def variants(source: str) -> Iterator[tuple[str, str, str]]:
    """Change a file of decorated functions.

    Args:
        source: its text.

    Yields:
        Name, difference and whole text of every change.
    """
    from mutmut.mutation.file_mutation import mutate_file_contents

    changed = mutate_file_contents(str(KERNELS), source.replace(DECORATOR, ""))
    lines = changed.code.splitlines(keepends=True)
    spans = changed.line_span_by_function_name
    for name in changed.mutant_names:
        mangled = name.rpartition("__mutmut_")[0]
        before, after = (
            "".join(lines[spans[n].start - 1 : spans[n].end]).replace(n, mangled.removeprefix("x_"), 1).strip()
            for n in (f"{mangled}__mutmut_orig", name)
        )
        if source.count(before) != 1:
            raise RuntimeError(f"{name} is not found where it was")
        yield name, difference(before, after), source.replace(before, after)


def main() -> int:
    """Try a sample and print what was left over.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.apart", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try one change of so many")
    asked = parser.parse_args()
    copy = WORK / "copy"
    copied(Path(), copy)
    source = KERNELS.read_text()
    environment = {**os.environ, "PYTHONPATH": str(copy.resolve()), "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    chosen = "triton or backends or class or lists"
    run = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen, *TESTS]
    tried = list(variants(source))[:: asked.every]
    left = 0
    for n, (name, changes, text) in enumerate(tried):
        (copy / KERNELS).write_text(text)
        try:
            done = subprocess.run(run, cwd=copy, env=environment, capture_output=True, timeout=LIMIT, check=False)
            outcome = "unnoticed" if done.returncode == 0 else "noticed"
        except subprocess.TimeoutExpired:
            outcome = "endless"
        with (WORK / "results.jsonl").open("a") as out:
            out.write(json.dumps([name, outcome]) + "\n")
        print(f"{n + 1} of {len(tried)}: {name} {outcome}", flush=True)
        if outcome == "unnoticed":
            left += 1
            print(changes, flush=True)
    print(f"{len(tried)} changes tried, {len(tried) - left} noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
