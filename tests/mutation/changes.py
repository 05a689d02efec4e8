"""Makes every change that mutmut knows, side by side in a copy of the project; one is chosen when the tests run."""

from __future__ import annotations

import ast
import difflib
import json
import re
import shutil
import subprocess
import textwrap
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

    `changes.json` in the copy holds the difference of each change by module and name, `alike.json` why some of them
    make no difference.
    """
    from mutmut.mutation.file_mutation import mutate_file_contents

    copied(project, copy)
    made: dict[str, dict[str, str]] = {}
    same: dict[str, str] = {}
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
            reason = alike(before, after)
            if reason:
                same[f"{module}.{name}"] = reason
    (copy / "changes.json").write_text(json.dumps({module: found for module, found in made.items() if found}))
    (copy / "alike.json").write_text(json.dumps(same))


def renewed(project: Path, copy: Path, part: str) -> None:
    """Copy the project anew around the files of a part that were changed already.

    Args:
        project: its root, under git.
        copy: what `change` made of the same files.
        part: the folder.
    """
    kept = [*(copy / part).glob("*.py"), copy / "changes.json", copy / "alike.json"]
    texts = {path: path.read_bytes() for path in kept}
    copied(project, copy)
    for path, text in texts.items():
        path.write_bytes(text)


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


def alike(before: str, after: str) -> str:
    """Tell why two texts of a function answer the same, as far as that can be read off.

    Args:
        before: the function, indented as it may be.
        after: the same with one change, under another name.

    Returns:
        The reason, empty where none is known.
    """
    changed = difference(before, after)
    for keyword, (callee, reason) in _ASSERTIONS.items():
        if f"{keyword}=" not in changed:
            continue
        trees = [ast.parse(textwrap.dedent(text)) for text in (before, after)]
        if len({ast.dump(_Without(callee, keyword).visit(tree)) for tree in trees}) == 1:
            return reason
    return ""


_ASSERTIONS = {
    "strict": ("zip", "zip(strict=) raises where lengths differ, which is an error in robspec and caught nowhere"),
    "invalid": ("errstate", "numpy.errstate only keeps numpy from warning"),
    "divide": ("errstate", "numpy.errstate only keeps numpy from warning"),
    "over": ("errstate", "numpy.errstate only keeps numpy from warning"),
    "mmap_mode": ("load", "an array that is read whole or mapped holds the same numbers"),
}
"""Keywords that change no answer, by name: of which function, and why."""


class _Without(ast.NodeTransformer):
    """Takes one keyword out of the calls of a function, and the name of what is defined."""

    def __init__(self, callee: str, keyword: str) -> None:
        self._callee = callee
        self._keyword = keyword

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if "__mutmut_" in node.name:
            node.name = ""
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == self._callee:
            node.keywords = [k for k in node.keywords if k.arg != self._keyword]
        return self.generic_visit(node)


def difference(before: str, after: str) -> str:
    """The lines in which two texts differ, indented."""
    rows = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    return "\n".join(f"    {row}" for row in rows if not row.startswith("@@"))
