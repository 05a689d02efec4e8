"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from robspec.verify.errors import OutputPathError


def check_free(out: Path) -> None:
    """Make sure that a folder can be written, before any work is done.

    Raises:
        OutputPathError: E0602, it exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputPathError(str(out), "it exists already and is not empty", "name a new folder")


def write_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder next to its place and move it there when complete.

    Args:
        out: must not exist, or be an empty folder.
        fill: given a new, empty folder.

    Raises:
        OutputPathError: E0602, it cannot be written; nothing half-written is left.
    """
    check_free(out)
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise OutputPathError(str(out), f"cannot write: {error.strerror}", "choose another folder") from error
    try:
        fill(made)
        mask = os.umask(0)
        os.umask(mask)
        made.chmod(0o777 & ~mask)
        made.replace(out)
    except OSError as error:
        raise OutputPathError(str(out), f"cannot write: {error.strerror}", "choose another folder") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
