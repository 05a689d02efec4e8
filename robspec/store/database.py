"""A file of byte strings by key: whole or not there, whatever happens to the process that writes.

SQLite in its write-ahead mode keeps that promise; every value carries its own digest besides, so that a file that was
damaged later gives nothing rather than something else.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import platformdirs

LIMIT = 1 << 30
"""Bytes that are kept; what was used least recently goes first."""
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
  key BLOB PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (key BLOB PRIMARY KEY, used REAL NOT NULL) WITHOUT ROWID;
"""
"""When a value was used stands beside it: SQLite writes a row anew, with the value, when any part of it changes."""
_VERSION = 2
_PAGE = 1 << 16
"""Bytes: values are megabytes, and of small pages each is read for itself."""
_T = TypeVar("_T")


def patiently(work: Callable[[], _T], seconds: float = _BUSY_SECONDS) -> _T:
    """Do what another process may hinder for a moment, again and again if need be.

    SQLite waits by itself only where waiting cannot be in vain; elsewhere, as when another process opens the file or
    dies, it says at once that the file is locked.

    Args:
        work: one statement, or several that may be done twice.
        seconds: how long.

    Raises:
        sqlite3.Error: what it raised last.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(0.01)


def default_path() -> Path:
    """The store of this user."""
    return Path(platformdirs.user_cache_dir("robspec")) / "store.sqlite"


class Store:
    """An open store; whatever goes wrong with the file turns it off, and `trouble` says what it was.

    Several processes may use one file at once.

    Args:
        path: the file, created with its folder if missing.
        limit: bytes of values that are kept.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path, self.limit = path, limit
        self.trouble = ""
        self._size = 0
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            patiently(partial(self._prepare, self._connection))
        except (OSError, sqlite3.Error) as error:
            self._off(error)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA trusted_schema = OFF")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 1:
            connection.execute("DROP TABLE IF EXISTS kept")  # what it held is computed anew
        elif version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"it was written by another version of robspec ({version})")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        (self._size,) = connection.execute("SELECT COALESCE(SUM(size), 0) FROM kept").fetchone()

    def _off(self, error: Exception) -> None:
        self.trouble = str(error)
        self.close()

    def get(self, key: bytes) -> bytes | None:
        """Read a value; None where there is none, or where it is not what was written."""
        if self._connection is None:
            return None
        try:
            row = self._do("SELECT value, digest FROM kept WHERE key = ?", key).fetchone()
            if row is None:
                return None
            value, digest = row
            if not isinstance(value, bytes) or hashlib.sha256(key + value).digest() != digest:
                self._do("DELETE FROM kept WHERE key = ?", key)
                return None
            self._do("INSERT OR REPLACE INTO uses VALUES (?, ?)", key, time.time())
        except sqlite3.Error as error:
            self._off(error)
            return None
        return value

    def put(self, key: bytes, kind: str, value: bytes) -> None:
        """Keep a value under a key, in place of what was there; larger ones than the limit are not kept."""
        if self._connection is None or len(value) > self.limit:
            return
        digest = hashlib.sha256(key + value).digest()
        try:
            self._do("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", key, kind, len(value), digest, value)
            self._do("INSERT OR REPLACE INTO uses VALUES (?, ?)", key, time.time())
            self._size += len(value)
            if self._size > self.limit:
                self.prune(self.limit)
        except (sqlite3.Error, OverflowError) as error:
            self._off(error)

    def _do(self, statement: str, *given: object) -> sqlite3.Cursor:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return patiently(partial(self._connection.execute, statement, given))

    def prune(self, limit: int) -> int:
        """Drop what was used least recently until at most so many bytes are kept.

        Returns:
            How many values were dropped.
        """
        if self._connection is None:
            return 0
        total, dropped = 0, []
        try:
            asked = "SELECT key, size FROM kept LEFT JOIN uses USING (key) ORDER BY used DESC, key"
            rows = self._connection.execute(asked).fetchall()
            for key, size in rows:
                total += size
                if total > limit:
                    dropped.append((key,))
                    total -= size
            with self._connection:
                self._do("BEGIN IMMEDIATE")
                self._connection.executemany("DELETE FROM kept WHERE key = ?", dropped)
                self._do("DELETE FROM uses WHERE key NOT IN (SELECT key FROM kept)")
            self._size = total
        except sqlite3.Error as error:
            self._off(error)
        return len(dropped)

    def summary(self) -> dict[str, tuple[int, int]]:
        """Count values and their bytes, by kind."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute("SELECT kind, COUNT(*), SUM(size) FROM kept GROUP BY kind").fetchall()
        except sqlite3.Error as error:
            self._off(error)
            return {}
        return {str(kind): (int(count), int(size)) for kind, count, size in rows}

    def close(self) -> None:
        """Close the file; nothing is read or kept any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
