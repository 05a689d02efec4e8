"""One run at a time in a folder: an operating system's lock, which a process that dies leaves open."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from robspec.models.errors import UnwritableOutput
from robspec.train.errors import FolderInUse

NAME = ".lock"
_TRIES = 16
"""How often a folder or a lock may be taken away by a run that ends while this one begins."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while something is written there.

    The folder is created if missing. Whoever fails leaves none behind that was not there and holds nothing.

    Args:
        folder: of the run.

    Raises:
        FolderInUse: E0707, another run holds it.
        UnwritableOutput: E0214, it cannot be created or locked.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        handle = _held(folder)
    except BlockingIOError:
        what = "another process trains in this folder, and both would share one checkpoint and one count of steps"
        raise FolderInUse(str(folder), what, "wait until it has ended, or name another --out") from None
    except OSError as error:
        if missing:
            with suppress(OSError):
                (folder / NAME).unlink()
        _remove(missing)
        what = f"it cannot be used: {error.strerror or error}"
        raise UnwritableOutput(str(folder), what, "name another --out") from error
    try:
        yield
    except BaseException:
        _release(handle, folder / NAME)
        _remove(missing)
        raise
    _release(handle, folder / NAME)


def _held(folder: Path) -> int:
    """Open and lock the file of a folder; what was removed in between is made again."""
    for _ in range(_TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue
        try:
            _lock(handle)
            if _is(handle, folder / NAME):
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
    raise BlockingIOError(errno.EAGAIN, "other runs come and go in it")


def _is(handle: int, path: Path) -> bool:
    """Whether a path still names the file that was opened: a lock on one that was removed keeps nobody out."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _release(handle: int, path: Path) -> None:
    if sys.platform == "win32":
        os.close(handle)
        with suppress(OSError):  # of a run that has opened it since
            path.unlink()
    else:
        # Removed while it is locked: whoever opened it before finds out by `_is`.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _remove(folders: list[Path]) -> None:
    """Remove folders that are empty, the innermost first."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, "it is locked") from error
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
