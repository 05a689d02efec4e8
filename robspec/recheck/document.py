"""The certificate as JSON: assembled, written down, read back, compared field by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from robspec.recheck.errors import BadCertificate

SCHEMA = "robspec-certificate"
SCHEMA_VERSION = 3
MOST = 256 << 20
Difference: TypeAlias = tuple[str, str, str]
"""Path of a field, what is written, what was derived."""


@dataclass(frozen=True, slots=True)
class Settled:
    """In place of a part that was derived, compared and dropped.

    Args:
        written: what it was compared with.
        found: where they differ.
    """

    written: Any
    found: tuple[Difference, ...]


def canonical(document: dict[str, Any]) -> str:
    """The one text of a document that its digest is of: sorted keys, no blanks, `digest` left out."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of the canonical text."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def dumps(document: dict[str, Any]) -> str:
    """The file of a certificate, with its digest."""
    return json.dumps({**document, "digest": digest(document)}, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def read(path: Path) -> dict[str, Any]:
    """Read a certificate that has not been altered since it was written.

    Args:
        path: the file; at most 256 MiB.

    Returns:
        Its content.

    Raises:
        BadCertificate: E0802, missing, no certificate, another version of the format, or altered.
    """
    try:
        if path.stat().st_size > MOST:
            raise BadCertificate(str(path), "the file is too large", "name a certificate")
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)
        return verified(found, str(path))
    except OSError as error:
        raise BadCertificate(
            str(path), f"it cannot be opened: {error.strerror or error}", "check the path and its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadCertificate(str(path), "it is no readable JSON", "name a certificate") from error


def verified(found: Any, where: str) -> dict[str, Any]:
    """Check the format and the digest of a certificate.

    Raises:
        BadCertificate: E0802.
    """
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise BadCertificate(where, "it is no certificate", "`robspec check --certificate FILE` writes one")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise BadCertificate(where, "it is of another version of the format", "use the robspec that wrote it")
    if found.get("digest") != digest(found):
        raise BadCertificate(where, "it was altered: its digest is not that of its content", "check again")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def differences(written: Any, derived: Any, at: str = "") -> Iterator[Difference]:
    """List the fields in which a certificate is not what was derived.

    Args:
        written: the certificate, or a part of it.
        derived: the same part, derived anew; a claim in place of a field that rounding leaves room for.
        at: path of the part.

    Returns:
        Path, what is written, what was derived.
    """
    if isinstance(derived, Settled):
        if derived.written is written:
            yield from derived.found
        else:
            yield at, _shown(written), "another part was compared"
    elif hasattr(derived, "expected"):
        yield from differences(written, derived.expected(written), at)
    elif hasattr(derived, "holds"):
        if not derived.holds(written):
            yield at, _shown(written), str(derived)
    elif isinstance(derived, dict) and isinstance(written, dict):
        for key in sorted(set(derived) | set(written)):
            if key not in written or key not in derived:
                there = "absent" if key not in written else _shown(written[key])
                yield f"{at}.{key}", there, "present" if key in derived else "absent"
            else:
                yield from differences(written[key], derived[key], f"{at}.{key}" if at else key)
    elif isinstance(derived, list) and isinstance(written, list):
        if len(written) != len(derived):
            yield at, f"{len(written)} entries", f"{len(derived)} entries"
        for i, (one, other) in enumerate(zip(written, derived, strict=False)):
            yield from differences(one, other, f"{at}[{i}]")
    elif type(written) is not type(derived) or written != derived:
        yield at, _shown(written), _shown(derived)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:77]}..."
