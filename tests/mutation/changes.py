"""Makes every change that mutmut knows, side by side in a copy of the project; one is chosen when the tests run."""

from __future__ import annotations

import difflib
import json
import re
import shutil
import subprocess
from pathlib import Path

DECORATORS = re.compile(r"^ *@(compiled\(.*\)|cache|lru_cache\(.*\))\n", re.MULTILINE)
"""mutmut changes no function with a decorator; without these, functions answer the same, only slower."""


def change(project: Path, copy: Path, part: str, skipped: list[str]) -> None:
    """Copy the project, and change the files of a part.

    Args:
        project: its root, under git.
        copy: where to; replaced.
        part: a folder of Python files, relative to the root.
        skipped: names of files that are not changed.
    """
    from mutmut.mutation.file_mutation import mutate_file_contents

    copied(project, copy)
    made: dict[str, dict[str, str]] = {}
    for path in sorted((copy / part).glob("*.py")):
        if path.name in skipped:
            continue
        changed = mutate_file_contents(str(path), DECORATORS.sub("", path.read_text()))
        path.write_text(changed.code)
        module = f"{part}/{path.stem}".replace("/", ".").removesuffix(".__init__")
        made[module] = {}
        lines = changed.code.splitlines()
        spans = changed.line_span_by_function_name
        for name in changed.mutant_names:
            before, after = (
                "\n".join(lines[spans[n].start : spans[n].end])
                for n in (f"{name.rpartition('__mutmut_')[0]}__mutmut_orig", name)
            )
            made[module][f"{module}.{name}"] = difference(before, after)
    (copy / "changes.json").write_text(json.dumps({module: found for module, found in made.items() if found}))


def copied(project: Path, copy: Path) -> None:
    """Copy what git knows of or would add, and replace what was there."""
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.split("\0"):
        if name and (project / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, copy / name, follow_symlinks=False)


def difference(before: str, after: str) -> str:
    """The lines in which two texts differ, indented."""
    rows = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    return "\n".join(f"    {row}" for row in rows if not row.startswith("@@"))
