"""Compiling to machine code, kept between runs for exactly the sources it was made of.

numba looks only at the file of the function it compiles; functions here call those of other files. A kernel kept from
before a change in one of them would answer as the old one did, so what is kept is filed under a digest of them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import uuid4

import platformdirs
from numba import njit
from numba.core import config

_CONFIG: Any = config
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(
    *, inline: Literal["never", "always"] = "never", freedom: frozenset[str] = frozenset()
) -> Callable[[_Function], _Function]:
    """Compile a function when it is first called: IEEE arithmetic, no contraction, no lock, no errors on division.

    Args:
        inline: "always" to paste the function into its callers.
        freedom: what the compiler may take for granted beyond IEEE arithmetic, as LLVM calls it; only where no answer
            depends on it: a maximum of numbers is the same in any order.

    Returns:
        A decorator.
    """

    def decorate(function: _Function) -> _Function:
        folder = _folder()
        before = _CONFIG.CACHE_DIR
        if folder:
            _CONFIG.CACHE_DIR = folder
        try:
            compile_kept: Any = njit(
                inline=inline,
                cache=bool(folder),
                error_model="numpy",
                fastmath=set(freedom),
                nogil=True,
            )
            made: Any = compile_kept(function)
        finally:
            _CONFIG.CACHE_DIR = before
        if folder and hasattr(made, "stats") and not _kept_apart(made, folder):
            compile_it: Any = njit(inline=inline, error_model="numpy", fastmath=set(freedom), nogil=True)
            made = compile_it(function)
        return made  # type: ignore[no-any-return]

    return decorate


def to_compile(*functions: Any) -> bool:
    """Tell whether some function would first have to be compiled, which takes seconds.

    Args:
        functions: as `compiled` gives them.
    """
    return any(not made.signatures and not _kept(made) for made in functions if hasattr(made, "signatures"))


def _kept(made: Any) -> bool:
    """Whether machine code of a function is kept from an earlier run."""
    path = getattr(getattr(getattr(made, "_cache", None), "_cache_file", None), "_index_path", None)
    return path is not None and Path(path).exists()


def _kept_apart(made: Any, folder: str) -> bool:
    """Name the files of a function so that no other process names any alike; tell whether that can be done."""
    if not Path(made.stats.cache_path).is_relative_to(folder):
        # Where it cannot write there, numba goes on to folders that no digest names.
        return False
    # Two processes that save at once would both number their files from 1, and the index of one could name the code
    # of the other, made for arrays of another layout.
    files = getattr(getattr(made, "_cache", None), "_cache_file", None)
    pattern = getattr(files, "_data_name_pattern", "")
    if "{number:d}" not in pattern:
        return False
    files._data_name_pattern = pattern.replace("{number:d}", f"{{number:d}}-{uuid4().hex}")  # type: ignore[union-attr]
    return True


@cache
def _folder() -> str:
    """Where machine code is kept, created; empty where nothing can be written, and nothing is kept."""
    folder = Path(platformdirs.user_cache_dir("robspec")) / "kernels" / digest(Path(__file__).parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder)


def digest(folder: Path) -> str:
    """Digest the names and texts of all Python files of a folder and those below it.

    Args:
        folder: of the kernels.

    Returns:
        SHA-256 in hexadecimal.
    """
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(text)} ".encode() + text)
    return found.hexdigest()
