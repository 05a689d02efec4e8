"""What is found out once and kept in the user's cache directory: small entries, each under a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import platformdirs


def directory(kind: str) -> Path:
    """Where entries of one kind are kept."""
    return Path(platformdirs.user_cache_dir("robspec")) / kind


def kept(path: Path) -> dict[str, Any] | None:
    """Read what was kept; None where it cannot be read, or its checksum does not match."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        payload = entry["payload"]
        if hashlib.sha256(payload.encode()).hexdigest() != entry["checksum"]:
            return None
        fields = json.loads(payload)
        return fields if isinstance(fields, dict) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(path: Path, fields: dict[str, Any]) -> None:
    """Keep fields under a checksum, whole or not at all; a folder that cannot be written to keeps nothing."""
    payload = json.dumps(fields)
    entry = json.dumps({"checksum": hashlib.sha256(payload.encode()).hexdigest(), "payload": payload})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:
        return
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(entry)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
