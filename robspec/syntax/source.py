"""Reading a specification file, distrustfully."""

from __future__ import annotations

from pathlib import Path

from robspec.diagnostics import Source
from robspec.syntax.errors import SpecFileNotText, SpecFileTooLarge, SpecFileUnreadable

MAX_BYTES = 1 << 20
_UTF8_BOM = b"\xef\xbb\xbf"


def read_source(path: Path | str) -> Source:
    """Read a specification file.

    Args:
        path: the file.

    Returns:
        Its text, without byte order mark.

    Raises:
        SpecFileUnreadable: E0010, missing, a directory, not permitted.
        SpecFileNotText: E0011, not UTF-8.
        SpecFileTooLarge: E0012, more than 1 MiB.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise SpecFileUnreadable(name, "this is a directory", "name the .rspec file in it") from None
    except FileNotFoundError:
        raise SpecFileUnreadable(name, "there is no such file", "check the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecFileUnreadable(name, f"the file cannot be read: {reason}", "check path and permissions") from None
    return decode(data, name)


def decode(data: bytes, name: str) -> Source:
    """Turn the bytes of a specification into its source.

    Args:
        data: at most 1 MiB and one byte.
        name: what messages call it.

    Raises:
        SpecFileNotText: E0011, not UTF-8.
        SpecFileTooLarge: E0012, more than 1 MiB.
    """
    if len(data) > MAX_BYTES:
        raise SpecFileTooLarge(name, "the file is larger than 1 MiB", "is this a specification?")
    try:
        text = data.removeprefix(_UTF8_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8 text"
        raise SpecFileNotText(name, what, "save the file as UTF-8 text; is this a specification?") from None
    if "\0" in text:
        raise SpecFileNotText(name, "the file holds NUL bytes", "is this a specification?")
    return Source(text, name)
