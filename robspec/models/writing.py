"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from robspec.models.errors import UnwritableOutput


def write_whole(path: Path, content: bytes) -> None:
    """Write a file next to its place and move it there when complete.

    Args:
        path: the file to create or replace.
        content: its bytes.

    Raises:
        UnwritableOutput: E0214; an older file is as it was, and nothing half-written is left.
    """
    temporary = None
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UnwritableOutput(
            str(path),
            f"it cannot be written: {error.strerror or error}",
            "create its folder, or choose another path",
        ) from error
