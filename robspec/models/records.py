"""The zip container: stored records under one folder, each within the file, none twice, none compressed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from robspec.models.errors import DamagedModel
from robspec.models.strict import unsafe, wrong

ZIP_MAGIC = b"PK\x03\x04"


_END = b"PK\x05\x06"
_END_SIZE = 22


def record_names(blob: bytes, where: str) -> frozenset[str]:
    """List the records of an archive, with and without their top folder, reading none.

    Raises:
        DamagedModel: E0203.
    """
    with _opened(blob, where) as archive:
        full = [e.filename for e in archive.infolist()]
    return frozenset(full) | frozenset(name.partition("/")[2] for name in full)


@contextmanager
def _opened(blob: bytes, where: str) -> Iterator[zipfile.ZipFile]:
    """The archive that fills the whole file; one inside another, seen when a file is cut, is not it."""
    end = blob.rfind(_END)
    comment = int.from_bytes(blob[end + 20 : end + 22], "little")
    try:
        if end < 0 or end + _END_SIZE + comment != len(blob):
            raise zipfile.BadZipFile("it does not end where its last record says")
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            if min((e.header_offset for e in archive.infolist()), default=0) != 0:
                raise zipfile.BadZipFile("it does not begin where the file begins")
            yield archive
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, OverflowError) as error:
        raise DamagedModel(
            where, f"the archive is truncated or damaged: {error}", "copy the file again and compare its hash"
        ) from error


def read_records(blob: bytes, where: str) -> dict[str, bytes]:
    """Read every record of an archive.

    Args:
        blob: the file's bytes.
        where: the file, for the error.

    Returns:
        Content by name, the common top folder removed.

    Raises:
        DamagedModel: E0203, truncated or a wrong checksum.
        UnsafeArchive: E0207, a compressed or overlapping record, a name used twice or leading elsewhere.
        InconsistentArchive: E0212, not one top folder.
    """
    records: dict[str, bytes] = {}
    folders = set()
    with _opened(blob, where) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
        if sum(e.file_size for e in entries) > len(blob):
            unsafe(where, "its records claim more bytes than the file has")
        for entry in entries:
            folder, _, name = entry.filename.partition("/")
            folders.add(folder)
            parts = entry.filename.split("/")
            if not name or "\\" in entry.filename or any(p in ("", ".", "..") for p in parts):
                unsafe(where, f"the record name {entry.filename[:80]!r} is not a path inside the archive")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                unsafe(where, f"the record {name[:80]!r} is compressed; torch writes none so")
            if entry.flag_bits & 1:
                unsafe(where, f"the record {name[:80]!r} is encrypted")
            if name in records:
                unsafe(where, f"the record {name[:80]!r} appears twice")
            records[name] = archive.read(entry)
    if len(folders) != 1:
        wrong(where, f"its records lie under {len(folders)} folders, not one")
    return records
