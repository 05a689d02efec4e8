"""JSON files that robspec has written and reads again: sized, parsed, and of the right kind, or one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robspec.errors import RobspecError


def read(
    path: Path, schema: str, version: int, refused: type[RobspecError], most: int, written: str
) -> dict[str, Any]:
    """Read a document.

    Args:
        path: the file.
        schema: what its `schema` must be.
        version: what its `schema_version` must be.
        refused: the error of any other file.
        most: bytes it may have.
        written: how such files come about, for the mend.

    Returns:
        The document; nothing in it but schema and version has been looked at.

    Raises:
        RobspecError: of the class `refused`.
    """
    where = str(path)
    try:
        if path.stat().st_size > most:
            raise refused(where, f"the file is larger than {most >> 20} MiB", written)
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refused(where, f"it cannot be read as JSON: {error}", written) from error
    if not isinstance(found, dict) or found.get("schema") != schema:
        raise refused(where, f"it is no {schema}", written)
    if found.get("schema_version") != version:
        said = str(found.get("schema_version"))[:20]
        raise refused(where, f"it is of version {said}, this robspec reads {version}", "check again")
    return found
