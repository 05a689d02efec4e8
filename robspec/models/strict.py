"""Reading foreign JSON: every value is asked for by type, and copied; nothing unexpected passes through."""

from __future__ import annotations

import json
import keyword
import re
from typing import Any, NoReturn

from robspec.models.errors import InconsistentArchive, ModelTooLarge, UnsafeArchive

MAX_JSON = 64 << 20
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}", re.ASCII)
_PLAIN = re.compile(r"[ -~]{0,4000}", re.ASCII)
# Names the code that torch.fx generates for a graph uses itself.
_RESERVED = frozenset({"self", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree", "builtins"})


def parse(blob: bytes, where: str) -> Any:
    """Parse JSON within bounds.

    Args:
        blob: the record.
        where: the file and record, for the error.

    Returns:
        The parsed value.

    Raises:
        ModelTooLarge: E0210.
        InconsistentArchive: E0212, not JSON.
    """
    if len(blob) > MAX_JSON:
        raise ModelTooLarge(where, f"the record is larger than {MAX_JSON >> 20} MiB", "check the file's origin")
    try:
        return json.loads(blob.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InconsistentArchive(where, f"it is not JSON: {error}", "export the model again") from error


def wrong(where: str, what: str) -> NoReturn:
    """Refuse a value that does not follow the format.

    Raises:
        InconsistentArchive: E0212, always.
    """
    raise InconsistentArchive(where, what, "export the model again with `robspec export`")


def unsafe(where: str, what: str) -> NoReturn:
    """Refuse a value that torch would unpickle or evaluate.

    Raises:
        UnsafeArchive: E0207, always.
    """
    raise UnsafeArchive(where, what, "export the model again with `robspec export`, which writes none")


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Take a JSON object."""
    if not isinstance(value, dict):
        wrong(where, f"expected an object, found {type(value).__name__}")
    return value


def sequence(value: Any, where: str, most: int = 1 << 20) -> list[Any]:
    """Take a JSON array of bounded length."""
    if not isinstance(value, list) or len(value) > most:
        wrong(where, f"expected a list of at most {most} entries, found {type(value).__name__}")
    return value


def integer(value: Any, where: str, low: int = -(2**63), high: int = 2**63 - 1) -> int:
    """Take an integer within bounds; a boolean is not one."""
    if type(value) is not int or not low <= value <= high:
        wrong(where, f"expected an integer in [{low}, {high}], found {str(value)[:80]!r}")
    return value


def boolean(value: Any, where: str) -> bool:
    """Take a boolean."""
    if not isinstance(value, bool):
        wrong(where, f"expected true or false, found {type(value).__name__}")
    return value


def number(value: Any, where: str) -> float | str:
    """Take a floating-point number, in torch's spelling where JSON has none."""
    if value in ("Infinity", "-Infinity", "NaN") and isinstance(value, str):
        return value
    if type(value) not in (int, float) or value != value or abs(value) == float("inf"):
        wrong(where, f"expected a number, found {str(value)[:80]!r}")
    return float(value)


def plain(value: Any, where: str) -> str:
    """Take one line of printable ASCII."""
    if not isinstance(value, str) or not _PLAIN.fullmatch(value):
        wrong(where, "expected one line of printable text")
    return value


def word(value: Any, where: str) -> str:
    """Take an identifier, keywords and reserved names included."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        unsafe(where, f"{str(value)[:80]!r} is not a plain identifier")
    return value


def name(value: Any, where: str) -> str:
    """Take a name that becomes a variable in the code torch generates, so an identifier and nothing else."""
    if not isinstance(value, str):
        wrong(where, f"expected a name, found {type(value).__name__}")
    if not _WORD.fullmatch(value) or keyword.iskeyword(value) or value in _RESERVED:
        unsafe(
            where,
            f"the name {value[:80]!r} would be pasted into generated code and is not a plain identifier",
        )
    return value


def union(value: Any, where: str) -> tuple[str, Any]:
    """Take a one-entry object: a tag and its value."""
    entries = list(mapping(value, where).items())
    if len(entries) != 1:
        wrong(where, f"expected exactly one entry, found {len(entries)}")
    return entries[0]
